"""Networks that predict labels and, as a second task, depth: from an image alone."""

from examples.rgbd.networks.build import NETWORKS, build_encoder, build_network
from examples.rgbd.networks.deeplabv3 import MultiTaskDeepLabV3
from examples.rgbd.networks.efficientnet_lite import EFFICIENTNET_LITES, EfficientNetLiteEncoder
from examples.rgbd.networks.encoder import (
    CONVNEXTS,
    RESNETS,
    ConvNextEncoder,
    FourScaleEncoder,
    ResNetEncoder,
)
from examples.rgbd.networks.head import BoundedLogDepth, DepthOutput, MultiScaleHead
from examples.rgbd.networks.light_refinenet import MultiTaskLightRefineNet
from examples.rgbd.networks.multitask import MultiTaskRefineNet
from examples.rgbd.networks.parameter_groups import parameter_groups
from examples.rgbd.networks.pspnet import MultiTaskPSPNet
from examples.rgbd.networks.refinenet import DecoderShape, RefineNetDecoder

__all__ = [
    "CONVNEXTS",
    "EFFICIENTNET_LITES",
    "NETWORKS",
    "RESNETS",
    "BoundedLogDepth",
    "ConvNextEncoder",
    "DecoderShape",
    "DepthOutput",
    "EfficientNetLiteEncoder",
    "FourScaleEncoder",
    "MultiScaleHead",
    "MultiTaskDeepLabV3",
    "MultiTaskLightRefineNet",
    "MultiTaskPSPNet",
    "MultiTaskRefineNet",
    "RefineNetDecoder",
    "ResNetEncoder",
    "build_encoder",
    "build_network",
    "parameter_groups",
]
