"""The paper's objective on whatever outputs a backbone has, and labels and depth to go with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lwm_loss import HardPixelMiningLoss, LossTerms, LossWeightModule, MultiTaskOutput

from .scenes import Scene

IGNORED = 255
# The first line of a snippet that computes it.
LOSS = "from lwm_loss.testing import mining_loss\n"


def mining_loss(output: Any, target: Tensor, depth: Tensor, ignore_index: int = 255) -> Tensor:
    r"""Eq. 5 on the outputs that a backbone has: its log-depth and its side outputs may be lacking.

    Without a predicted log-depth pixels are weighted by Z alone, and there is no L_d. A log-depth
    or a side output whose shape does not fit counts as lacking.

    Args:
        output: what the backbone returned, as :class:`lwm_loss.MultiTaskOutput` reads it.
        target: labels (B, \*S), at the size of the logits.
        depth: true depth (B, \*S).
        ignore_index: the label of pixels that do not count.

    Returns:
        The total, a scalar.

    Example:
        >>> target = torch.zeros(1, 2, 2, dtype=torch.long)
        >>> mining_loss(torch.zeros(1, 2, 2, 2), target, torch.ones(1, 2, 2))    # log 2
        tensor(0.6931)
    """
    logits, log_depth, sides = MultiTaskOutput.of(output)
    size = logits.shape[2:]
    if log_depth is not None and log_depth.shape[1:] not in (size, (1, *size)):
        log_depth = None
    sides = [side for side in sides if side.ndim == 4 and side.shape[:2] == logits.shape[:2]]
    objective = HardPixelMiningLoss(
        num_sides=len(sides),
        weighting=LossWeightModule(
            fusion="dse" if log_depth is None else "sum", ignore_index=ignore_index
        ),
        ignore_index=ignore_index,
    )
    if log_depth is None:
        # The true one, which is never wrong: L_d is 0 and has no gradient.
        log_depth = torch.where(depth > 0, depth, 1).nan_to_num(posinf=1).log()
    terms: LossTerms = objective(logits, target, log_depth, depth, side_logits=sides)
    return terms.total


def truth(logits: Tensor, *, ignored: str = "target[:, 0]", missing: str = "depth[:, -1]") -> Scene:
    """Labels and depth that a few steps can learn: two classes, one rare, and a sloping floor.

    Args:
        logits: tell batch, classes and size.
        ignored: the pixels without a label, as an expression to assign to.
        missing: the pixels without depth, likewise.
    """
    batch, classes, height, width = logits.shape
    device = "" if logits.device.type == "cpu" else f", device={str(logits.device)!r}"
    lines = [
        f"target = torch.zeros(({batch}, {height}, {width}), dtype=torch.int64{device})",
        f"target[..., {width - width // 4} :] = {classes - 1}",
        f"{ignored} = {IGNORED}",
        f"depth = 20 + torch.arange({width}.0{device}).repeat({batch}, {height}, 1)",
        f"{missing} = nan",
    ]
    return Scene("\n".join(lines))
