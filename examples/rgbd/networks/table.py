"""The rows of the paper's Table I, counted without weights: parameters, multiply-adds, memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

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
        training_bytes: of a training step of one image in float32: what the network keeps for its
            backward pass, the weights, their gradients and their momentum. Computed, not measured:
            the loss, workspaces of convolutions and the allocator's own come on top.
    """

    input: InputKind
    parameters: int
    multiply_adds: int
    training_bytes: int


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
        products = multiply_adds(network, seen)
        kept = bytes_kept(network.train(), seen)
    weights = list(network.parameters())
    state = 3 * sum(each.numel() * each.element_size() for each in weights)
    return Counts(
        reads,
        sum(each.numel() for each in weights),
        products,
        kept + state,
    )


def multiply_adds(network: nn.Module, seen: Sequence[Tensor]) -> int:
    """Count the multiply-adds of convolutions and matrix products in a forward pass."""
    with torch.no_grad(), _Products() as counter:
        network(*seen)
    return int(counter.flops) // 2


class _Products(TorchDispatchMode):
    """Counts by torch's own formulas; ``FlopCounterMode`` hooks every module, which takes longer."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=result)
        return result


def bytes_kept(network: nn.Module, seen: Sequence[Tensor]) -> int:
    """What a forward pass in training keeps for the backward pass, without the weights."""
    own = {each.untyped_storage()._cdata for each in network.parameters()}
    kept: dict[int, int] = {}  # a storage that several functions keep is there once

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # The result holds the graph, without which a storage would be freed and its place taken.
        result = network(*seen)
    del result
    return sum(kept.values())


def table(num_classes: int, size: tuple[int, int] = (480, 640)) -> str:
    """All rows as text; GiB are those of a training step of one image, see `Counts`."""
    head = ("network", "group", "--network", "backbone", "input", "parameters", "GMAC", "GiB")
    lines = [head]
    for row in ROWS:
        counts = count(row, num_classes, size)
        cost = f"{counts.multiply_adds / 1e9:.1f}"
        plain = (row.title, row.group, row.name, row.backbone, counts.input)
        memory = f"{counts.training_bytes / 2**30:.1f}"
        lines.append((*plain, f"{counts.parameters:,}", cost, memory))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index >= 5 else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
