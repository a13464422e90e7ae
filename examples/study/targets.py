"""Labels and depth on the grids that the decoders learn from and are scored on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import lwm_loss.functional as LF
from examples.rgbd.data import SAMPLE_VOID as VOID

LEARN, SCORE = 8, 4
"""A grid has one point in the middle of each block of so many pixels of the image's size."""

EDGE_RATIO = 0.15
"""A jump of log-depth between neighbours that makes a depth edge."""

SMALLEST_SHARE = 0.1
"""The second class of a region with two classes has at least this share of its pixels."""


class Target(NamedTuple):
    """One frame's truth on one grid.

    Attributes:
        label: uint8 (h, w), 255 = void.
        depth: float32 (h, w), levels in [1, 256], 0 = missing.
    """

    label: NDArray[np.uint8]
    depth: NDArray[np.float32]


def grid_of(image_size: tuple[int, int], block: int) -> tuple[int, int]:
    """(h, w) of the grid of an image of this size."""
    height, width = image_size
    return height // block, width // block


def centres(values: NDArray[Any], grid: tuple[int, int]) -> NDArray[Any]:
    """The values (H, W) in the middle of each block of a grid (h, w): no label is interpolated."""
    rows, columns = (
        ((2 * np.arange(cells) + 1) * size // (2 * cells))
        for cells, size in zip(grid, values.shape)
    )
    chosen: NDArray[Any] = values[rows[:, None], columns]
    return chosen


def target_on(
    label: NDArray[np.uint8] | NDArray[np.uint16],
    metres: NDArray[np.float32],
    limits: tuple[float, float],
    grid: tuple[int, int],
) -> Target:
    """A frame's truth on a grid; depth in metres becomes levels by `rescale_depth`."""
    depth = torch.from_numpy(centres(metres, grid).astype(np.float32))
    return Target(
        centres(label, grid).astype(np.uint8), LF.rescale_depth(depth, *limits).float().numpy()
    )


def label_boundaries(label: Tensor) -> Tensor:
    """Pixels (B, h, w) with another class to the left, right, above or below, and their neighbours."""
    return LF.label_boundaries(label, radius=1, ignore_index=VOID)


def depth_edges(depth: Tensor) -> Tensor:
    """Pixels (B, h, w) at a jump of the true log-depth between neighbours, and their neighbours."""
    return LF.depth_edges(depth, threshold=EDGE_RATIO, radius=1)


def mixed_flat_regions(label: Tensor, depth: Tensor, num_classes: int) -> Tensor:
    """Pixels of depth-aware regions without a depth edge that hold two or more classes (Fig. 5).

    Args:
        label: (B, h, w), 255 = void.
        depth: (B, h, w) levels.
        num_classes: C.

    Returns:
        bool (B, h, w). The second class has at least a tenth of the region's labelled pixels.
    """
    regions = LF.depth_aware_regions(depth).flatten()
    labels = label.flatten().long()
    counted = (regions >= 0) & (labels != VOID)
    _, region = torch.unique(torch.where(counted, regions, -1), return_inverse=True)
    number = int(region.max()) + 1
    slot = region * num_classes + torch.where(counted, labels, 0)
    table = torch.bincount(slot, counted.double(), number * num_classes).view(number, num_classes)
    second = table.topk(2, dim=1).values[:, 1]
    edges = torch.bincount(region, depth_edges(depth).flatten().double(), number)
    mixed = (second >= SMALLEST_SHARE * table.sum(1)) & (second > 0) & (edges == 0)
    return (mixed[region] & counted).view(label.shape)
