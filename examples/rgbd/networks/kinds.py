"""The networks by name, and what each needs of its encoder."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

from torch import nn

from examples.rgbd.networks.acnet import ACNet
from examples.rgbd.networks.cfn import CFN
from examples.rgbd.networks.deeplabv3 import MultiTaskDeepLabV3
from examples.rgbd.networks.depth_aware_cnn import DepthAwareCNN
from examples.rgbd.networks.encoder import ALL_LEVELS
from examples.rgbd.networks.fcn import FCN
from examples.rgbd.networks.light_refinenet import MultiTaskLightRefineNet
from examples.rgbd.networks.ls_deconvnet import LSDeconvNet
from examples.rgbd.networks.mobilenet import MobileNetV2Encoder
from examples.rgbd.networks.multitask import MultiTaskRefineNet
from examples.rgbd.networks.pap import PAP
from examples.rgbd.networks.pspnet import MultiTaskPSPNet
from examples.rgbd.networks.rdfnet import RDFNet
from examples.rgbd.networks.shared_light_refinenet import SharedLightRefineNet
from examples.rgbd.networks.trl import TRL
from examples.rgbd.networks.vgg import LARGE_FOV, FullyConnected

RGB_STREAM: Mapping[str, Mapping[str, int]] = {"rgb": {"rgb": 3}}
DEEPLAB_VGG = {"output_stride": 8, "pool_size": 3, "fully_connected": LARGE_FOV}


class NetworkKind(NamedTuple):
    """A network by name.

    Attributes:
        network: its class, called with (encoder, num_classes, **options).
        output_stride: of the encoder that it was published with.
        fixed: names of options that make the network what it is, and cannot be chosen.
        backbone: name of the encoder that it was published with.
        families: families of encoders that fit, as ``FAMILIES`` has them; none named, any fits.
        streams: by what the network reads, the channels of each encoder.
        levels: of the encoder's maps that the network reads, 0 for the finest.
        vgg: settings of ``VGGEncoder``. With ``fully_connected`` layers there is an option
            ``width``, the channels of these.
    """

    network: type[nn.Module]
    output_stride: int = 32
    fixed: frozenset[str] = frozenset()
    backbone: str = "resnet50"
    families: tuple[str, ...] = ()
    streams: Mapping[str, Mapping[str, int]] = RGB_STREAM
    levels: tuple[int, ...] = ALL_LEVELS
    vgg: Mapping[str, Any] = {}

    @property
    def options(self) -> frozenset[str]:
        """Names of the options that ``build_network`` takes for this network."""
        plain, shapes = _options_of(self.network)
        if "fully_connected" in self.vgg:
            plain |= {"width"}
        return plain.union(*(field_names(shape) for shape in shapes.values())) - self.fixed

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the network can read."""
        return tuple(self.streams)

    @property
    def input(self) -> str:
        """What the network reads by default."""
        default = inspect.signature(self.network).parameters.get("input")
        return "rgb" if default is None else str(default.default)

    def arguments(self, options: dict[str, Any]) -> dict[str, Any]:
        """Sort ``options`` into the keyword arguments of the network's class."""
        plain, shapes = _options_of(self.network)
        arguments = {name: value for name, value in options.items() if name in plain}
        for name, shape in shapes.items():
            changes = {key: options[key] for key in field_names(shape) & options.keys()}
            arguments[name] = replace(shape, **changes)
        return arguments


def field_names(shape: Any) -> frozenset[str]:
    """Names of the fields of a dataclass."""
    return frozenset(each.name for each in fields(shape))


def _options_of(network: type[nn.Module]) -> tuple[frozenset[str], dict[str, Any]]:
    """The keyword-only arguments of a network, of its bases too where it passes them on.

    Returns:
        The names of plain arguments, and the default of each argument that is a frozen dataclass,
        such as ``DecoderShape``, by its name.
    """
    plain: set[str] = set()
    shapes: dict[str, Any] = {}
    for each in network.__mro__:
        parameters = inspect.signature(each).parameters.values()
        for parameter in parameters:
            if parameter.kind is not parameter.KEYWORD_ONLY:
                continue
            if is_dataclass(parameter.default):
                shapes.setdefault(parameter.name, parameter.default)
            else:
                plain.add(parameter.name)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return frozenset(plain), shapes


NETWORKS = {
    "refinenet": NetworkKind(MultiTaskRefineNet),
    "light_refinenet": NetworkKind(
        MultiTaskLightRefineNet, fixed=frozenset({"kernel_size", "adapt_units", "output_units"})
    ),
    "deeplabv3": NetworkKind(MultiTaskDeepLabV3, 16, levels=(3,)),
    "pspnet": NetworkKind(MultiTaskPSPNet, 8, levels=(3,)),
    "rdfnet": NetworkKind(
        RDFNet,
        streams={
            "rgb": {"rgb": 3},
            "rgbd": {"rgb": 3, "depth": 3},
            "rgb-hha": {"rgb": 3, "depth": 3},
        },
    ),
    "acnet": NetworkKind(
        ACNet, families=("resnet",), streams={"rgbd": {"rgb": 3, "depth": 1, "merge": 3}}
    ),
    "fcn": NetworkKind(
        FCN,
        backbone="vgg16",
        families=("vgg",),
        streams={"rgb": {"rgb": 3}, "rgbd": {"rgb": 4}, "rgb-hha": {"rgb": 3, "depth": 3}},
        vgg={"fully_connected": FullyConnected()},
    ),
    "depth_aware_cnn": NetworkKind(
        DepthAwareCNN,
        output_stride=8,
        backbone="vgg16",
        families=("vgg", "resnet"),
        streams={"rgbd": {"rgb": 3}, "rgb-hha": {"rgb": 3, "depth": 3}},
        vgg=DEEPLAB_VGG,
    ),
    "trl": NetworkKind(TRL),
    "pap": NetworkKind(PAP),
    "ls_deconvnet": NetworkKind(
        LSDeconvNet,
        output_stride=8,
        backbone="vgg16",
        families=("vgg",),
        streams={"rgbd": {"rgb": 3, "depth": 3}, "rgb-hha": {"rgb": 3, "depth": 3}},
        vgg=DEEPLAB_VGG,
    ),
    "cfn": NetworkKind(CFN, backbone="resnet152", streams={"rgbd": {"rgb": 3}}),
}
"""Every network that ``build_network`` makes. On MobileNetV2 ``light_refinenet`` is another one."""

SHARED_LIGHT_REFINENET = NetworkKind(
    SharedLightRefineNet, backbone="mobilenet_v2", families=("mobilenet",)
)


def kind_of(name: str, backbone: object = None) -> NetworkKind:
    """The network of that name, on that backbone.

    Raises:
        ValueError: an unknown name.
    """
    if name not in NETWORKS:
        raise ValueError(f"Expected `name` to be one of {', '.join(NETWORKS)}, but got {name!r}.")
    if name == "light_refinenet" and (
        backbone == "mobilenet_v2" or isinstance(backbone, MobileNetV2Encoder)
    ):
        return SHARED_LIGHT_REFINENET
    return NETWORKS[name]
