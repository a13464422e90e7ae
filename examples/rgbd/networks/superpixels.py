"""Super-pixels by local k-means on a grid (after SLIC, Achanta et al., 2012), of static shapes."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from examples.rgbd.networks.layers import ceil_div


class Superpixels(NamedTuple):
    """Which cell of a grid each pixel belongs to.

    Attributes:
        ids: int64 (B, h, w), in [0, rows x columns).
        rows: height of the grid.
        columns: width of the grid.
    """

    ids: Tensor
    rows: int
    columns: int

    def mean(self, feature: Tensor) -> Tensor:
        """Average (B, C, h, w) within each super-pixel: (B, C, rows, columns), 0 where it is empty."""
        batch, channels = feature.shape[:2]
        index = self.ids.flatten(1).unsqueeze(1)
        table = feature.new_zeros(batch, channels, self.rows * self.columns)
        total = table.scatter_add(2, index.expand(-1, channels, -1), feature.flatten(2))
        ones = torch.ones_like(index, dtype=feature.dtype)
        count = feature.new_zeros(batch, 1, self.rows * self.columns).scatter_add(2, index, ones)
        return (total / count.clamp(min=1)).reshape(batch, channels, self.rows, self.columns)

    def spread(self, values: Tensor) -> Tensor:
        """Give each pixel its super-pixel's value: (B, C, rows, columns) to (B, C, h, w)."""
        batch, channels = values.shape[:2]
        index = self.ids.flatten(1).unsqueeze(1).expand(-1, channels, -1)
        return values.flatten(2).gather(2, index).reshape(batch, channels, *self.ids.shape[1:])


@torch.no_grad()
def superpixels(
    guide: Tensor, cell: int, *, compactness: float = 1.0, iterations: int = 3
) -> Superpixels:
    """Assign each pixel to one of the nine cells around it, by its guide and its place.

    Args:
        guide: (B, G, h, w), such as normalised colours and metres.
        cell: side length of a cell of the grid, in pixels.
        compactness: weight of the distance in cells against that of the guide.
        iterations: steps of k-means.

    Returns:
        The assignment; the grid has ceil(h / cell) x ceil(w / cell) cells.
    """
    batch, _, height, width = guide.shape
    rows, columns = ceil_div(height, cell), ceil_div(width, cell)
    ys = torch.arange(height, device=guide.device)
    xs = torch.arange(width, device=guide.device)
    grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij")).to(guide.dtype)
    place = grid * (compactness**0.5 / cell)
    seen = torch.cat([guide, place.expand(batch, -1, -1, -1)], 1)
    home_y, home_x = (ys // cell)[:, None], (xs // cell)[None, :]
    own = (home_y * columns + home_x).expand(batch, -1, -1)
    found = Superpixels(own, rows, columns)
    for _ in range(iterations):
        centres = F.pad(found.mean(seen), (1, 1, 1, 1), value=torch.inf)
        distances, ids = [], []
        for dy in range(3):
            for dx in range(3):
                near = centres[:, :, home_y + dy, home_x + dx]
                distances.append((seen - near).square().sum(1))
                ids.append(((home_y + dy - 1) * columns + home_x + dx - 1).expand(height, width))
        nearest = torch.stack(distances).argmin(0)
        found = Superpixels(
            torch.stack(ids).expand(batch, -1, -1, -1).gather(1, nearest[:, None])[:, 0],
            rows,
            columns,
        )
    return found
