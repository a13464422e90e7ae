"""From names, as a command line has them, to a network."""

from __future__ import annotations

import inspect
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

from torch import nn

from examples.rgbd.networks.deeplabv3 import MultiTaskDeepLabV3
from examples.rgbd.networks.efficientnet_lite import EFFICIENTNET_LITES, EfficientNetLiteEncoder
from examples.rgbd.networks.encoder import (
    CONVNEXTS,
    RESNETS,
    ConvNextEncoder,
    FourScaleEncoder,
    ResNetEncoder,
)
from examples.rgbd.networks.light_refinenet import MultiTaskLightRefineNet
from examples.rgbd.networks.multitask import MultiTaskRefineNet
from examples.rgbd.networks.pspnet import MultiTaskPSPNet


class NetworkKind(NamedTuple):
    """A network by name.

    Attributes:
        network: its class, called with (encoder, num_classes, **options).
        output_stride: of the encoder that it was published with.
        fixed: names of options that make the network what it is, and cannot be chosen.
    """

    network: type[nn.Module]
    output_stride: int
    fixed: frozenset[str] = frozenset()

    @property
    def options(self) -> frozenset[str]:
        """Names of the options that ``build_network`` takes for this network."""
        plain, shapes = _options_of(self.network)
        return plain.union(*(field_names(shape) for shape in shapes.values())) - self.fixed

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
    "refinenet": NetworkKind(MultiTaskRefineNet, 32),
    "light_refinenet": NetworkKind(
        MultiTaskLightRefineNet, 32, fixed=frozenset({"kernel_size", "adapt_units", "output_units"})
    ),
    "deeplabv3": NetworkKind(MultiTaskDeepLabV3, 16),
    "pspnet": NetworkKind(MultiTaskPSPNet, 8),
}


def build_encoder(
    name: str = "resnet50",
    *,
    pretrained: str | None = None,
    freeze_norm: bool | None = None,
    fold_norm: bool = False,
    output_stride: int = 32,
) -> ResNetEncoder | ConvNextEncoder | EfficientNetLiteEncoder:
    """Make an encoder by name.

    Args:
        name: a key of ``RESNETS``, ``CONVNEXTS`` or ``EFFICIENTNET_LITES``.
        pretrained: where its weights are, see the encoder; ``None`` starts from random ones.
        freeze_norm: freeze the batch norm; ``None`` freezes pre-trained ones only.
        fold_norm: fold the batch norm into the convolutions.
        output_stride: 32, or 16 or 8 for a ResNet.

    Raises:
        ValueError: an unknown name, weights that cannot be used, or an option that the encoder
            does not have.
    """
    known = [*RESNETS, *CONVNEXTS, *EFFICIENTNET_LITES]
    if name not in known:
        raise ValueError(f"Expected `backbone` to be one of {', '.join(known)}, but got {name!r}.")
    if output_stride != 32 and name not in RESNETS:
        raise ValueError(
            f"Expected `output_stride` to be 32 for {name!r}, but got {output_stride}: did you "
            "mean a ResNet?"
        )
    if name in CONVNEXTS:
        if freeze_norm or fold_norm:
            option = "freeze_norm" if freeze_norm else "fold_norm"
            raise ValueError(
                f"Expected `{option}` for an encoder with batch norm, but got it for {name!r}, "
                "which has layer norm."
            )
        return ConvNextEncoder(name, pretrained=pretrained)
    frozen = pretrained is not None if freeze_norm is None else freeze_norm
    if name in EFFICIENTNET_LITES:
        return EfficientNetLiteEncoder(
            name, pretrained=pretrained, freeze_norm=frozen, fold_norm=fold_norm
        )
    return ResNetEncoder(
        name, pretrained=pretrained, freeze_norm=frozen, fold_norm=fold_norm,
        output_stride=output_stride,
    )  # fmt: skip


def build_network(
    name: str = "refinenet",
    backbone: str | FourScaleEncoder = "resnet50",
    *,
    num_classes: int,
    pretrained: str | None = None,
    freeze_norm: bool | None = None,
    fold_norm: bool = False,
    output_stride: int | None = None,
    **options: Any,
) -> nn.Module:
    """Make a multi-task network by name.

    Args:
        name: a key of ``NETWORKS``: ``refinenet`` (the paper's), ``light_refinenet``,
            ``deeplabv3`` or ``pspnet``.
        backbone: name of an encoder, see ``build_encoder``, or an encoder of your own.
        num_classes: channels of the logits.
        pretrained: model name or folder of the encoder's weights; ``None`` starts from random ones.
        freeze_norm: freeze the encoder's batch norm; ``None`` freezes pre-trained ones only.
        fold_norm: fold the encoder's batch norm into its convolutions.
        output_stride: of the encoder; ``None`` is what the network was published with: 32 for the
            two RefineNets, 16 for DeepLabv3, 8 for PSPNet (and 32 for any encoder but a ResNet).
        **options: those of the network's class and of its shapes, such as ``num_sides``, ``width``,
            ``predict_depth``. An option that is ``None`` is left at its default.

    Returns:
        A module from images (B, 3, H, W) to ``lwm_loss.MultiTaskOutput``, with attributes
        ``encoder``, ``num_classes`` and ``num_sides``.

    Raises:
        ValueError: an unknown network, encoder or option, or weights that cannot be used.
        TypeError: an encoder of your own that does not fit ``FourScaleEncoder``.
    """
    if name not in NETWORKS:
        raise ValueError(f"Expected `name` to be one of {', '.join(NETWORKS)}, but got {name!r}.")
    kind = NETWORKS[name]
    chosen = {key: value for key, value in options.items() if value is not None}
    unknown = sorted(chosen.keys() - kind.options)
    if unknown:
        raise ValueError(
            f"Expected the options of {name!r} to be among {', '.join(sorted(kind.options))}, "
            f"but got {', '.join(unknown)}."
        )
    if isinstance(backbone, str):
        if output_stride is None:
            output_stride = kind.output_stride if backbone in RESNETS else 32
        backbone = build_encoder(
            backbone, pretrained=pretrained, freeze_norm=freeze_norm, fold_norm=fold_norm,
            output_stride=output_stride,
        )  # fmt: skip
    elif (pretrained, freeze_norm, fold_norm, output_stride) != (None, None, False, None):
        raise ValueError(
            "Expected `pretrained`, `freeze_norm`, `fold_norm` and `output_stride` with the name "
            f"of an encoder only, but got them with a {type(backbone).__name__}, which is already made."
        )
    return kind.network(backbone, num_classes, **kind.arguments(chosen))
