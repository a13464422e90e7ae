"""The divisor n of every mean."""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

from ._checks import fail, shape_of
from ._labels import Labels
from ._pixels import count_pixels


def divisor(
    normalizer: Tensor | float | None,
    pixels: Tensor,
    dtype: torch.dtype,
    name: str = "normalizer",
) -> Tensor:
    """Compute the divisor n: ``normalizer`` if given, else the number of ``pixels``.

    It is never 0, so that an empty batch gives 0. A tensor, which is not read, becomes NaN if it is
    negative; a number of the host is refused.
    """
    if normalizer is None:
        return count_pixels(pixels, dtype)
    if not isinstance(normalizer, Tensor):
        n = check_normalizer(normalizer, name)
        return torch.full((), n if n > 0 else 1.0, dtype=dtype, device=pixels.device)
    if normalizer.numel() != 1:
        raise fail(f"a `{name}` of one element", f"shape {shape_of(normalizer)}")
    n_tensor = normalizer.detach().to(pixels.device, dtype).reshape(())
    return torch.where(n_tensor > 0, n_tensor, torch.where(n_tensor == 0, 1.0, torch.nan))


def check_normalizer(value: object, name: str) -> float:
    """Refuse a number of the host that cannot divide."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"Expected `{name}` to be a number or a tensor, but got {value!r:.80}.")
    if not math.isfinite(value) or value < 0:
        raise fail(f"`{name}` to be finite and at least 0", f"{float(value):g}")
    return float(value)


def weighted_count(labels: Labels, class_weight: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Compute n of labels: V_y, or with class weights the sum of those of its labels.

    That is how torch averages: over labels weighted by class, but over class probabilities not.
    """
    if class_weight is None or labels.given.is_floating_point():
        return count_pixels(labels.labelled, dtype)
    each = class_weight.detach().to(dtype)[labels.label.masked_fill(~labels.labelled, 0)]
    total = torch.where(labels.labelled, each, 0).sum()
    return torch.where(total == 0, 1, total)
