"""The two sets of pixels on which everything is defined, and the dtype of every map."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ._bits import array_of


def labelled_pixels(target: Tensor, ignore_index: int) -> Tensor:
    """V_y: the pixels that carry a label. ``target`` must be int64 (uint8 would wrap -100)."""
    labels = array_of(target)
    return target != ignore_index if labels is None else torch.from_numpy(labels != ignore_index)


def depth_pixels(target_depth: Tensor) -> Tensor:
    """V_d: the pixels whose true depth is known, that is finite and positive."""
    depth = array_of(target_depth)
    if depth is None:
        return (target_depth > 0) & (target_depth < torch.inf)
    return torch.from_numpy((depth > 0) & (depth < np.inf))


def over_peak(values: Tensor) -> Tensor:
    """Divide each image's values, at least 0, by their largest, which may be 0."""
    if values.numel() == 0:
        return values
    peak = values.flatten(1).amax(1).reshape(-1, *[1] * (values.ndim - 1))
    return values / torch.where(peak == 0, 1, peak)


def map_dtype(input: Tensor) -> torch.dtype:
    """float64 for a float64 prediction, float32 for anything else."""
    return torch.float64 if input.dtype == torch.float64 else torch.float32


def count_pixels(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """The number of pixels in a set, at least 1, so that an empty set divides to 0 and not NaN."""
    flags = array_of(pixels)
    if flags is None:
        return pixels.sum().clamp(min=1).to(dtype)
    # torch adds up bools as integers of 64 bits, in a map of its own.
    return torch.tensor(max(1, np.count_nonzero(flags)), dtype=dtype, device=pixels.device)
