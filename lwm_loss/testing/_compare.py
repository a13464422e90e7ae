"""Are two results the same, and if not, where and by how much do they differ?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def difference(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float
) -> str | None:
    """The first result that differs by more than its largest value times the tolerance, in words.

    Not-a-number equals itself: that it is there at all is another check's business.
    """
    if list(found) != list(expected):
        return f"it returned {list(found)} in place of {list(expected)}"
    for name, tensor in found.items():
        words = tensor_difference(name, tensor, expected[name], tolerance)
        if words:
            return words
    return None


def tensor_difference(
    name: str, found: Tensor, expected: Tensor, tolerance: float, absolute: float = 0.0
) -> str | None:
    """As `difference`, for one tensor, and up to ``absolute`` in any case."""
    if found.shape != expected.shape:
        return f"{name} has shape {tuple(found.shape)} in place of {tuple(expected.shape)}"
    if found.numel() == 0:
        return None
    # A half-precision subject cannot agree to more digits than it has.
    digits = [torch.finfo(x.dtype).eps for x in (found, expected) if x.is_floating_point()]
    tolerance = max([tolerance, *(20 * eps for eps in digits)])
    left, right = found.detach().double().cpu(), expected.detach().double().cpu()
    finite = torch.where(right.isfinite(), right.abs(), 0)
    allowed = max(tolerance * float(finite.max()), absolute)
    same = (left == right) | (left.isnan() & right.isnan())
    gap = torch.where(same, 0, (left - right).abs().nan_to_num(nan=torch.inf))
    worst = int(gap.argmax())
    if float(gap.flatten()[worst]) <= allowed:
        return None
    index = tuple(int(axis) for axis in torch.unravel_index(torch.tensor(worst), gap.shape))
    where = f" at {index}" if index else ""
    return (
        f"{name} is {float(left.flatten()[worst]):.6g} in place of "
        f"{float(right.flatten()[worst]):.6g}{where}"
    )
