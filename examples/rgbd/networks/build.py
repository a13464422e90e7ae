"""From names, as a command line has them, to a network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import nn

from examples.rgbd.networks.efficientnet_lite import EFFICIENTNET_LITES, EfficientNetLiteEncoder
from examples.rgbd.networks.encoder import (
    ALL_LEVELS,
    CONVNEXTS,
    RESNETS,
    ConvNextEncoder,
    FourScaleEncoder,
    ResNetEncoder,
)
from examples.rgbd.networks.kinds import NetworkKind, kind_of
from examples.rgbd.networks.mobilenet import MOBILENETS, MobileNetV2Encoder
from examples.rgbd.networks.streams import MultiStreamEncoder, change_stem
from examples.rgbd.networks.timm_encoder import PREFIX, TimmEncoder
from examples.rgbd.networks.vgg import VGGS, VGGEncoder

Encoder = (
    ResNetEncoder
    | ConvNextEncoder
    | EfficientNetLiteEncoder
    | MobileNetV2Encoder
    | VGGEncoder
    | TimmEncoder
)

FAMILIES: Mapping[str, Any] = {
    "resnet": RESNETS,
    "convnext": CONVNEXTS,
    "efficientnet": EFFICIENTNET_LITES,
    "mobilenet": MOBILENETS,
    "vgg": VGGS,
}
"""Names of encoders, by family."""
OUTPUT_STRIDES: Mapping[str, tuple[int, ...]] = {"resnet": (8, 16, 32), "vgg": (8, 32)}
"""Of the families that have others than 32."""
WITH_BATCH_NORM = ("resnet", "efficientnet", "mobilenet")


def family_of(backbone: str) -> str:
    """The family of an encoder; all of timm's are one.

    Raises:
        ValueError: an unknown name.
    """
    if backbone.startswith(PREFIX):
        return "timm"
    for family, names in FAMILIES.items():
        if backbone in names:
            return family
    known = [name for names in FAMILIES.values() for name in names] + [f"{PREFIX}NAME"]
    raise ValueError(f"Expected `backbone` to be one of {', '.join(known)}, but got {backbone!r}.")


def freezes_norm(backbone: str) -> bool:
    """Whether the encoder has a batch norm that is frozen when it is pre-trained."""
    return family_of(backbone) in WITH_BATCH_NORM


def build_encoder(
    name: str = "resnet50",
    *,
    pretrained: str | None = None,
    freeze_norm: bool | None = None,
    fold_norm: bool = False,
    output_stride: int = 32,
    zero_residual: bool = False,
    levels: Collection[int] = ALL_LEVELS,
    vgg: Mapping[str, Any] | None = None,
) -> Encoder:
    """Make an encoder by name.

    Args:
        name: a name of ``FAMILIES``, or ``timm/NAME``.
        pretrained: where its weights are, see the encoder; ``None`` starts from random ones.
        freeze_norm: freeze the batch norm; ``None`` freezes pre-trained ones only.
        fold_norm: fold the batch norm into the convolutions.
        output_stride: 32, 16 or 8 for a ResNet, 32 or 8 for VGG; the others have 32 only.
        zero_residual: of a ResNet from scratch, see ``ResNetEncoder``; the others have none.
        levels: the maps that are read, see ``ConvNextEncoder``; the others build nothing for them.
        vgg: further settings of ``VGGEncoder``.

    Raises:
        ValueError: an unknown name, weights that cannot be used, or an option that the encoder
            does not have.
    """
    family = family_of(name)
    if output_stride != 32 and family not in OUTPUT_STRIDES:
        raise ValueError(
            f"Expected `output_stride` to be 32 for {name!r}, but got {output_stride}: did you "
            "mean a ResNet?"
        )
    if family == "timm":
        if fold_norm:
            raise ValueError(f"Expected no `fold_norm` for {name!r}, whose layers are timm's own.")
        name = name.removeprefix(PREFIX)
        return TimmEncoder(name, pretrained=pretrained, freeze_norm=bool(freeze_norm))
    if family not in WITH_BATCH_NORM:
        if freeze_norm or fold_norm:
            option = "freeze_norm" if freeze_norm else "fold_norm"
            raise ValueError(
                f"Expected `{option}` for an encoder with batch norm, but got it for {name!r}, "
                f"which has {'layer norm' if family == 'convnext' else 'no norm'}."
            )
        if family == "convnext":
            return ConvNextEncoder(name, pretrained=pretrained, levels=levels)
        settings = {"output_stride": output_stride, **(vgg or {})}
        return VGGEncoder(name, pretrained=pretrained, **settings)
    norm = {
        "freeze_norm": pretrained is not None if freeze_norm is None else freeze_norm,
        "fold_norm": fold_norm,
    }
    if family == "efficientnet":
        return EfficientNetLiteEncoder(name, pretrained=pretrained, **norm)
    if family == "mobilenet":
        return MobileNetV2Encoder(name, pretrained=pretrained, **norm)
    return ResNetEncoder(
        name,
        pretrained=pretrained,
        output_stride=output_stride,
        zero_residual=zero_residual,
        **norm,
    )


def build_network(
    name: str = "refinenet",
    backbone: str | FourScaleEncoder | None = None,
    *,
    num_classes: int,
    pretrained: str | None = None,
    freeze_norm: bool | None = None,
    fold_norm: bool = False,
    output_stride: int | None = None,
    zero_residual: bool = False,
    **options: Any,
) -> nn.Module:
    """Make a network by name.

    Args:
        name: a key of ``NETWORKS``, such as ``refinenet`` (the paper's).
        backbone: name of an encoder, see ``build_encoder``, or an encoder of your own; ``None`` is
            what the network was published with.
        num_classes: channels of the logits.
        pretrained: model name or folder of the encoder's weights; ``None`` starts from random ones.
            Of a network of several encoders all get them.
        freeze_norm: freeze the encoder's batch norm; ``None`` freezes pre-trained ones only.
        fold_norm: fold the encoder's batch norm into its convolutions.
        output_stride: of the encoder; ``None`` is what the network was published with (or the next
            smaller one that the encoder has, and 32 where it has no other).
        zero_residual: of a ResNet from scratch: begin each block as its shortcut alone.
        **options: those of the network's class and of its shapes, such as ``num_sides``, ``width``,
            ``predict_depth``, ``input``. An option that is ``None`` is left at its default.

    Returns:
        A module from images (B, 3, H, W), and depth where ``input`` is not ``"rgb"``, to
        ``lwm_loss.MultiTaskOutput``, with attributes ``encoder``, ``num_classes``, ``num_sides``
        and, if it can read depth, ``input``.

    Raises:
        ValueError: an unknown network, encoder or option, or weights that cannot be used.
        TypeError: an encoder of your own that does not fit.
    """
    kind = kind_of(name, backbone)
    chosen = {key: value for key, value in options.items() if value is not None}
    if chosen.get("input") == "rgb" and kind.inputs == ("rgb",):
        del chosen["input"]  # it reads nothing else
    unknown = sorted(chosen.keys() - kind.options)
    if unknown:
        raise ValueError(
            f"Expected the options of {name!r} to be among {', '.join(sorted(kind.options))}, "
            f"but got {', '.join(unknown)}."
        )
    if backbone is None or isinstance(backbone, str):
        backbone = _encoder_of(
            kind,
            name,
            kind.backbone if backbone is None else backbone,
            chosen,
            pretrained=pretrained,
            freeze_norm=freeze_norm,
            fold_norm=fold_norm,
            output_stride=output_stride,
            zero_residual=zero_residual,
        )
    elif (pretrained, freeze_norm, fold_norm, output_stride) != (None, None, False, None):
        raise ValueError(
            "Expected `pretrained`, `freeze_norm`, `fold_norm` and `output_stride` with the name "
            f"of an encoder only, but got them with a {type(backbone).__name__}, which is already made."
        )
    return kind.network(backbone, num_classes, **kind.arguments(chosen))


def _encoder_of(
    kind: NetworkKind,
    name: str,
    backbone: str,
    options: Mapping[str, Any],
    *,
    output_stride: int | None,
    **settings: Any,
) -> Any:
    """Make the encoder, or the encoders, that a network needs."""
    family = family_of(backbone)
    if kind.families and family not in kind.families:
        fitting = [each for key in kind.families for each in FAMILIES[key]]
        raise ValueError(
            f"Expected `backbone` of {name!r} to be one of {', '.join(fitting)}, but got "
            f"{backbone!r}."
        )
    if output_stride is None:
        strides = OUTPUT_STRIDES.get(family, (32,))
        output_stride = max((each for each in strides if each <= kind.output_stride), default=32)
    vgg = dict(kind.vgg)
    if "fully_connected" in vgg and "width" in options:
        vgg["fully_connected"] = vgg["fully_connected"]._replace(width=options["width"])
    streams = {}
    wanted = kind.streams.get(options.get("input", kind.input), {"rgb": 3})
    for stream, channels in wanted.items():
        encoder = build_encoder(
            backbone, output_stride=output_stride, levels=kind.levels, vgg=vgg, **settings
        )
        change_stem(encoder, channels)
        streams[stream] = encoder
    if "merge" in streams:
        del streams["merge"].embedder  # it is fed by the others
    return streams["rgb"] if len(streams) == 1 else MultiStreamEncoder(**streams)
