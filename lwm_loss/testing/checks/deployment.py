"""A backbone in low precision and compiled."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ..calls import copied, gradients, outputs, parts, run
from ..compilation import compiled, expect_no_readback
from ..expect import expect_finite, expect_same, not_finite
from ..mining_loss import mining_loss
from ..registry import backbone_check
from ..subjects.network import BackboneProbe


@backbone_check(
    "two dtypes in one operation that autocast does not know (index_add, scatter, an assignment to "
    "a slice, a custom function), a .half(), an epsilon that bfloat16 rounds away, or a sum that "
    "float16 cannot hold",
    run=partial(
        BackboneProbe.for_all_pictures,
        kinds=("noise", "bright", "bytes", "black"),
        corners=("noise", "bytes"),
    ),
)
def check_bfloat16_autocast(
    model: nn.Module, image: Tensor, target: Tensor, depth: Tensor, kind: str
) -> None:
    """Under bfloat16 autocast a network runs, and outputs and gradients are finite."""
    if not_finite(outputs(copied(model), image)):
        return  # check_finite_outputs says so
    with torch.autocast(image.device.type, torch.bfloat16):
        output = run(model, image)
        loss = mining_loss(output, target, depth)
    expect_finite(parts(output), f"{{}} for an image of {kind!r}")
    expect_finite(gradients(model, loss), f"{{}} for an image of {kind!r}")


@backbone_check(
    "a Python branch or loop on tensor values, .item(), .tolist(), float(tensor) or numpy in "
    "forward, print or a logger, boolean indexing, or a value kept from the first call",
    run=BackboneProbe.in_both_modes,
)
def check_torch_compile(model: nn.Module, image: Tensor) -> None:
    """Compiled (aot_eager, fullgraph) a network equals itself, without a graph break.

    In evaluation outputs are compared; in training the forward must be one graph too. Nor may a
    forward read values back from a tensor, which would stall a device. A forward in plain torch
    comes first. Compiled code of the whole process is forgotten (torch._dynamo.reset).
    """
    # The first call of a network may prepare what later calls rely on.
    expected = outputs(model, image)
    with compiled(model, "eager" if model.training else "aot_eager") as fast:
        found = outputs(fast, image)
    with torch.no_grad():
        expect_no_readback(lambda fake: model(fake(image.clone())))
    if not model.training:
        expect_same(found, expected, 1e-4, "compiled, {}")
