"""Pairs of pixels that differ, and what lies near them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def mark_pairs(
    values: Tensor,
    known: Tensor,
    axes: range,
    radius: int,
    differ: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Mark both pixels of each pair, ``radius`` apart along an axis, whose known values differ."""
    found = torch.zeros_like(known)
    for axis in axes:
        pairs = values.shape[axis] - radius
        if pairs <= 0:
            continue
        near, far = ((axis, start, pairs) for start in (0, radius))
        jump = differ(values.narrow(*near), values.narrow(*far))
        jump = jump & known.narrow(*near) & known.narrow(*far)
        found.narrow(*near).logical_or_(jump)
        found.narrow(*far).logical_or_(jump)
    return found


def widen(found: Tensor, radius: int) -> Tensor:
    """Mark every pixel that is no further than ``radius`` along each axis from a marked one."""
    for axis in range(1, found.ndim):
        found = F.pad(found, [0, 0] * (found.ndim - 1 - axis) + [radius, radius])
        # Whether any of so many neighbours is marked; two such windows make one up to twice as wide.
        width = 1
        while width < 2 * radius + 1:
            step = min(width, 2 * radius + 1 - width)
            count = found.shape[axis] - step
            found = found.narrow(axis, 0, count) | found.narrow(axis, step, count)
            width += step
    return found
