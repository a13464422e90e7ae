"""The paper's objective on whatever outputs a backbone has."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lwm_loss import HardPixelMiningLoss, LossWeightModule, MultiTaskOutput


def mining_loss(output: Any, target: Tensor, depth: Tensor, ignore_index: int = 255) -> Tensor:
    r"""Compute the objective from what a backbone returns: log-depth and sides may be lacking.

    It is Eq. 5. Without a predicted log-depth pixels are weighted by Z alone, and there is no L_d. A
    log-depth or a side output whose shape does not fit counts as lacking.

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
    weighting = LossWeightModule(
        fusion="dse" if log_depth is None else "sum", ignore_index=ignore_index
    )
    objective = HardPixelMiningLoss(len(sides), weighting=weighting, ignore_index=ignore_index)
    if log_depth is None:
        # The true one, which is never wrong: L_d is 0 and has no gradient.
        log_depth = torch.where(depth > 0, depth, 1).nan_to_num(posinf=1).log()
    return objective(logits, target, log_depth, depth, side_logits=sides).total
