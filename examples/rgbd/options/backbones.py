"""Which encoders a network takes: names alone, for command lines that are parsed without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from examples.rgbd.options.groups import NetworkOptions

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "resnet": ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    "vgg": ("vgg11", "vgg16"),
}
"""The encoders of the families that a network can be bound to, the smallest first."""

BOUND: Mapping[str, tuple[tuple[str, ...], str]] = {
    "acnet": (("resnet",), "resnet50"),
    "fcn": (("vgg",), "vgg16"),
    "depth_aware_cnn": (("vgg", "resnet"), "vgg16"),
    "ls_deconvnet": (("vgg",), "vgg16"),
}
"""Of networks that not every encoder fits, the families that do, and what it was published with."""


def with_default_backbone(options: NetworkOptions, name: str, *, small: bool) -> NetworkOptions:
    """Options for a network by name, with an encoder that fits it in place of one that does not.

    Args:
        options: the defaults.
        name: of the network that is asked for.
        small: take the smallest encoder that fits, not what the network was published with.
    """
    if name not in BOUND:
        return options  # any fits; an unknown name is refused later, with those that there are
    families, published = BOUND[name]
    if any(options.backbone in FAMILIES[family] for family in families):
        return options
    return replace(options, backbone=FAMILIES[families[0]][0] if small else published)
