"""The public names of this package, which takes them from here once one is asked for."""

from examples.rgbd.networks.acnet import ACNet
from examples.rgbd.networks.build import (
    FAMILIES,
    build_encoder,
    build_network,
    family_of,
    freezes_norm,
)
from examples.rgbd.networks.cfn import CFN
from examples.rgbd.networks.deeplabv3 import MultiTaskDeepLabV3
from examples.rgbd.networks.depth_aware import depth_aware_avg_pool2d, depth_aware_conv2d
from examples.rgbd.networks.depth_aware_cnn import DepthAwareCNN
from examples.rgbd.networks.efficientnet_lite import EFFICIENTNET_LITES, EfficientNetLiteEncoder
from examples.rgbd.networks.encoder import (
    CONVNEXTS,
    RESNETS,
    ConvNextEncoder,
    FourScaleEncoder,
    ResNetEncoder,
)
from examples.rgbd.networks.fcn import FCN
from examples.rgbd.networks.head import BoundedLogDepth, DepthOutput, LogDepthHead, MultiScaleHead
from examples.rgbd.networks.inputs import (
    DepthFromImage,
    InputKind,
    reads_depth,
    run_network,
    second_input,
)
from examples.rgbd.networks.kinds import NETWORKS, kind_of
from examples.rgbd.networks.learning_rates import parameter_groups
from examples.rgbd.networks.light_refinenet import MultiTaskLightRefineNet
from examples.rgbd.networks.ls_deconvnet import LSDeconvNet
from examples.rgbd.networks.mobilenet import MOBILENETS, MobileNetV2Encoder
from examples.rgbd.networks.multitask import MultiTaskRefineNet
from examples.rgbd.networks.pap import PAP
from examples.rgbd.networks.pspnet import MultiTaskPSPNet
from examples.rgbd.networks.rdfnet import RDFNet
from examples.rgbd.networks.refinenet import DecoderShape, RefineNetDecoder
from examples.rgbd.networks.shared_light_refinenet import SharedLightRefineNet
from examples.rgbd.networks.streams import MultiStreamEncoder
from examples.rgbd.networks.trl import TRL
from examples.rgbd.networks.vgg import VGGS, FullyConnected, VGGEncoder

__all__ = [
    "CFN",
    "CONVNEXTS",
    "EFFICIENTNET_LITES",
    "FAMILIES",
    "FCN",
    "MOBILENETS",
    "NETWORKS",
    "PAP",
    "RESNETS",
    "TRL",
    "VGGS",
    "ACNet",
    "BoundedLogDepth",
    "ConvNextEncoder",
    "DecoderShape",
    "DepthAwareCNN",
    "DepthFromImage",
    "DepthOutput",
    "EfficientNetLiteEncoder",
    "FourScaleEncoder",
    "FullyConnected",
    "InputKind",
    "LSDeconvNet",
    "LogDepthHead",
    "MobileNetV2Encoder",
    "MultiScaleHead",
    "MultiStreamEncoder",
    "MultiTaskDeepLabV3",
    "MultiTaskLightRefineNet",
    "MultiTaskPSPNet",
    "MultiTaskRefineNet",
    "RDFNet",
    "RefineNetDecoder",
    "ResNetEncoder",
    "SharedLightRefineNet",
    "VGGEncoder",
    "build_encoder",
    "build_network",
    "depth_aware_avg_pool2d",
    "depth_aware_conv2d",
    "family_of",
    "freezes_norm",
    "kind_of",
    "parameter_groups",
    "reads_depth",
    "run_network",
    "second_input",
]
