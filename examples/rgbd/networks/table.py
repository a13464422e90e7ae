"""The rows of the paper's Table I, counted without weights: parameters and multiply-adds."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from examples.rgbd.networks.build import build_network
from examples.rgbd.networks.inputs import InputKind
from examples.rgbd.networks.kinds import kind_of


class Row(NamedTuple):
    """A row of Table I, or a variant of one.

    Attributes:
        title: what the network is called; "after" where the facts are few.
        group: of Table I: S (segmentation alone), P (depth as privileged information, not at test
            time) or D (depth at test time); "ours" is the paper's network.
        name: of ``NETWORKS``.
        backbone: the encoder.
        options: of ``build_network``.
    """

    title: str
    group: str
    name: str
    backbone: str
    options: Mapping[str, Any] = MappingProxyType({})


NO_DEPTH = {"predict_depth": False}
ALONE = {**NO_DEPTH, "num_sides": 0}
ROWS = (
    Row("RefineNet", "S", "refinenet", "resnet50", ALONE),
    Row("RefineNet", "S", "refinenet", "resnet152", ALONE),
    Row("PSPNet", "S", "pspnet", "resnet152", NO_DEPTH),
    Row("DeepLabv3", "S", "deeplabv3", "resnet152", NO_DEPTH),
    Row("light-weight RefineNet", "P", "light_refinenet", "resnet152"),
    Row("light-weight RefineNet, shared", "P", "light_refinenet", "mobilenet_v2"),
    Row("RDFNet (P)", "P", "rdfnet", "resnet152", {**NO_DEPTH, "input": "rgb"}),
    Row("after TRL", "P", "trl", "resnet50"),
    Row("after PAP", "P", "pap", "resnet50", {"predict_normals": True}),
    Row("hard pixel mining", "ours", "refinenet", "resnet50"),
    Row("hard pixel mining", "ours", "refinenet", "resnet152"),
    Row("FCN-32s", "D", "fcn", "vgg16", {**NO_DEPTH, "input": "rgb"}),
    Row("FCN-32s", "D", "fcn", "vgg16", {**NO_DEPTH, "input": "rgb-hha"}),
    Row("after LS-DeconvNet", "D", "ls_deconvnet", "vgg16", NO_DEPTH),
    Row("depth-aware CNN", "D", "depth_aware_cnn", "vgg16", {**NO_DEPTH, "input": "rgb-hha"}),
    Row("after depth-aware CNN", "D", "depth_aware_cnn", "resnet152", NO_DEPTH),
    Row("after CFN", "D", "cfn", "resnet152", NO_DEPTH),
    Row("ACNet", "D", "acnet", "resnet50", NO_DEPTH),
    Row("RDFNet", "D", "rdfnet", "resnet50", NO_DEPTH),
    Row("RDFNet", "D", "rdfnet", "resnet101", NO_DEPTH),
    Row("RDFNet", "D", "rdfnet", "resnet152", NO_DEPTH),
)


class Counts(NamedTuple):
    """What a network costs.

    Attributes:
        input: what the network reads.
        parameters: their number.
        multiply_adds: of convolutions and matrix products, for one image in evaluation.
    """

    input: InputKind
    parameters: int
    multiply_adds: int


def count(row: Row, num_classes: int, size: tuple[int, int] = (480, 640)) -> Counts:
    """Count a network on torch's meta device: nothing is allocated and nothing is computed.

    Args:
        row: the network.
        num_classes: C.
        size: (height, width) of the image.
    """
    with torch.device("meta"):
        network = build_network(row.name, row.backbone, num_classes=num_classes, **row.options)
        network.eval()
        reads: InputKind = row.options.get("input", kind_of(row.name, row.backbone).input)
        seen = [torch.empty(1, 3, *size)]
        if reads != "rgb":
            seen.append(torch.empty(1, 4 if reads == "rgb-hha" else 1, *size))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(*seen)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Counts(reads, parameters, counter.get_total_flops() // 2)


def table(num_classes: int, size: tuple[int, int] = (480, 640)) -> str:
    """All rows as text."""
    head = ("network", "group", "--network", "backbone", "input", "parameters", "GMAC")
    lines = [head]
    for row in ROWS:
        counts = count(row, num_classes, size)
        cost = f"{counts.multiply_adds / 1e9:.1f}"
        plain = (row.title, row.group, row.name, row.backbone, counts.input)
        lines.append((*plain, f"{counts.parameters:,}", cost))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index >= 5 else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
