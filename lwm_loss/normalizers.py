"""The divisor n of every mean."""

from __future__ import annotations

import torch
from torch import Tensor

from ._checks import fail, shape_of
from ._pixels import count_pixels


def divisor(normalizer: Tensor | float | None, pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Compute the divisor n: ``normalizer`` if given, else the number of ``pixels``.

    It is never 0, so that an empty batch gives 0.
    """
    if normalizer is None:
        return count_pixels(pixels, dtype)
    n = torch.as_tensor(normalizer, device=pixels.device).to(dtype)
    if n.numel() != 1:
        raise fail("a normalizer of one element", f"shape {shape_of(n)}")
    n = n.reshape(())
    return torch.where(n > 0, n, 1)
