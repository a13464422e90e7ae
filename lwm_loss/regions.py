"""Depth-aware local regions (section III-B2): cells times depth bins, and means over each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ._batch import check_depths
from ._bits import keep
from ._checks import PIXEL, Cells, check_cells, check_depth_range, fail, require_finite
from ._pixels import depth_pixels, over_peak
from .pixel_error import PixelError

__all__ = ["depth_aware_regions"]

# Each region has four slots, (not counted, counted) x (right, wrong), so that one scatter-add of
# ones fills every count.
KINDS = (2, 2)
SLOTS = math.prod(KINDS)
MOST_BINS = 1 << 24  # an image's table of such many would take a gigabyte


class Regions:
    """How an image is cut into depth-aware local regions: a grid of cells times bins of depth."""

    def __init__(
        self, cells: Cells, bin_size: float, depth_range: tuple[float, float] | Sequence[float]
    ) -> None:
        self.cells = check_cells(cells)
        self.bin_size = require_finite(bin_size, "bin_size", strict=True)
        self.depth_range = check_depth_range(depth_range)
        low, high = self.depth_range
        if (high - low) / self.bin_size > MOST_BINS:
            raise fail(f"`bin_size` to give at most {MOST_BINS} bins of depth", repr(bin_size))
        self.num_bins = max(1, math.ceil((high - low) / self.bin_size))
        # With whole numbers float32 finds the bin of every float32 depth exactly; with edges
        # that are no floats, like those of a bin size of 0.1, some would fall on the wrong side.
        self.whole = low % 1 == 0 and self.bin_size % 1 == 0 and high < 1 << 24

    def number(self, shape: torch.Size) -> int:
        """The regions of an image for depths of shape (B, *S): static, whatever they hold."""
        if isinstance(self.cells, str):
            return math.prod(shape[1:])
        return math.prod(self.cells) * self.num_bins

    def ids(self, target_depth: Tensor) -> Tensor:
        """Region of every pixel within its image, in [0, number).

        Where depth is missing the value is arbitrary. The integers are narrow where these suffice
        for the slots of :func:`assign_regions` as well.
        """
        shape, device = target_depth.shape, target_depth.device
        if isinstance(self.cells, str):
            return (
                torch.arange(math.prod(shape[1:]), device=device).reshape(shape[1:]).expand(shape)
            )
        if len(self.cells) > len(shape) - 1:
            raise fail(
                f"`cells` with at most {len(shape) - 1} axes for depth of shape {tuple(shape)}",
                repr(self.cells),
            )
        # (row * w + column) * bins + bin
        dtype = torch.int32 if SLOTS * self.number(shape) < 1 << 31 else torch.int64
        first, stride = torch.zeros((), dtype=torch.int64, device=device), self.num_bins
        for axis, cells in zip(range(len(shape) - 1, 0, -1), reversed(self.cells)):
            first = first.add(self._along(shape, axis, cells, device), alpha=stride)
            stride *= cells
        return self.bins(target_depth).to(dtype).add_(first.to(dtype))

    @staticmethod
    def _along(shape: torch.Size, axis: int, cells: int, device: torch.device) -> Tensor:
        """floor(position * cells / size) along one axis, in integers, broadcastable to shape."""
        size = shape[axis]
        cell = torch.arange(0, size * cells, cells, device=device) // max(size, 1)
        return cell.reshape([-1 if other == axis else 1 for other in range(len(shape))])

    def bins(self, target_depth: Tensor) -> Tensor:
        """(D* - lo) / d, whose floor is the bin, clamped to the bins there are."""
        narrow = self.whole or target_depth.device.type == "mps"  # which has no float64
        least = torch.float32 if narrow else torch.float64
        position = target_depth.to(torch.promote_types(target_depth.dtype, least))
        position = position.sub(self.depth_range[0]).div_(self.bin_size)
        # Clamped before the cast: an integer cannot hold every float, and NaN not at all.
        return position.nan_to_num_(0.0).clamp(0, self.num_bins - 1)

    def __repr__(self) -> str:
        return f"cells={self.cells!r}, bin_size={self.bin_size:g}, depth_range={self.depth_range}"


class RegionSlots(NamedTuple):
    """The part of Z that does not depend on a prediction: which slot counts each pixel.

    Attributes:
        counted: bool (B, *S), V_y and V_d.
        slots: (B, *S), index into the image's table for a correctly classified pixel; a
            misclassified pixel uses the next slot (index + 1). None if each pixel is a region.
        number: the number of regions in an image.
    """

    counted: Tensor
    slots: Tensor | None
    number: int

    def average(self, error: Tensor, kind: PixelError, dtype: torch.dtype) -> Tensor:
        """Compute Z from the error of every pixel, Delta or a soft one."""
        if error.dtype == torch.bool:
            return self.error_rate(error, dtype)
        return (self.relative_error if kind == "loss" else self.mean_error)(error, dtype)

    def error_rate(self, wrong: Tensor, dtype: torch.dtype) -> Tensor:
        """Compute Eq. 3 for every region at once: scatter-add of ones, one division, gather.

        Counts are exact integers, whose sums are the same in any order. Pixels that do not
        count have slots of their own with the rate 0, so that nothing is indexed by a mask.
        """
        if self.slots is None:
            return (wrong & self.counted).to(dtype)
        slot = (self.slots + wrong).long().flatten(1)
        # A CPU adds up floats at once, which are exact up to 2**24 pixels an image.
        exact = slot.device.type == "cpu" and slot.shape[1] < 1 << 24
        counts = torch.float32 if exact else torch.int64
        one = slot.new_ones((), dtype=counts).expand_as(slot)
        table = slot.new_zeros(slot.shape[0], SLOTS * self.number, dtype=counts)
        table = table.scatter_add(1, slot, one)
        right, wrongs = table.reshape(-1, self.number, *KINDS)[:, :, 1].unbind(-1)
        rate = wrongs.to(dtype) / (right + wrongs).clamp(min=1).to(dtype)
        none = torch.zeros_like(rate)
        rates = torch.stack((none, none, rate, rate), -1).flatten(1)
        return rates.gather(1, slot).reshape(wrong.shape)

    def mean_error(self, error: Tensor, dtype: torch.dtype) -> Tensor:
        """Compute the mean of a soft error in [0, 1] for every region at once.

        Errors are added as fixed-point integers, so that the mean is the same in any order. A NaN
        counts as 1, as it counts as wrong in :meth:`error_rate`.
        """
        # An image of 2**28 pixels still fits into 63 bits, and a pixel is rounded by 1.5e-11.
        unit = 1 << (24 if error.device.type == "mps" else 35)
        error = keep(error, self.counted).nan_to_num(1.0)
        if self.slots is None:
            return error.to(dtype)
        exact = torch.float32 if error.device.type == "mps" else torch.float64
        slot = self.slots.long().flatten(1)
        fixed = (error.to(exact) * unit).round().long().flatten(1)
        table = slot.new_zeros(slot.shape[0], SLOTS * self.number)
        count = table.scatter_add(1, slot, torch.ones_like(slot))
        mean = table.scatter_add(1, slot, fixed).to(exact) / (count.clamp(min=1) * unit)
        return mean.to(dtype).gather(1, slot).reshape(error.shape)

    def relative_error(self, loss: Tensor, dtype: torch.dtype) -> Tensor:
        """Compute each region's mean of a loss over the largest such mean of its image."""
        largest = torch.finfo(loss.dtype).max
        loss = keep(loss, self.counted).nan_to_num(largest, largest)
        mean = self.mean_error(over_peak(loss), dtype)
        return over_peak(mean)


def assign_regions(
    labelled: Tensor, target_depth: Tensor, known: Tensor, regions: Regions
) -> RegionSlots:
    """Assign each pixel its slot. With cells="pixel" Z is Delta itself and there are no slots."""
    counted = labelled & known
    number = regions.number(target_depth.shape)
    if regions.cells == PIXEL:
        return RegionSlots(counted, None, number)
    slots = regions.ids(target_depth).mul_(SLOTS).add_(counted, alpha=KINDS[1])
    return RegionSlots(counted, slots, number)


def depth_aware_regions(
    target_depth: Tensor,
    *,
    cells: Cells = (8, 8),
    bin_size: float = 10.0,
    depth_range: tuple[float, float] = (1.0, 256.0),
) -> Tensor:
    r"""The depth-aware local region :math:`P_k \cap B_t` of every pixel (section III-B2).

    Pixel (y, x) lies in cell (floor(y h / H), floor(x w / W)) and in the depth bin
    floor((D* - lo) / d), clamped to the ceil((hi - lo) / d) bins there are (at least one).

    Args:
        target_depth: true depth in the units of ``depth_range``, (B, \*S) or (B, 1, \*S); four
            dimensions are read as (B, 1, H, W) where the second is 1. Zero, negative, NaN and
            infinite values are missing depth.
        cells: grid (h, w), on a volume (d, h, w) or (h, w) with one cell in depth of the volume;
            ``"pixel"`` makes every pixel its own cell.
        bin_size: d, the width of a depth bin, in the units of ``depth_range``.
        depth_range: (lo, hi); depth outside of it falls into the first or last bin.

    Returns:
        Ids (B, \*S), int64, unique over the batch, in [0, B * cells * bins); -1 where depth is
        missing.

    Raises:
        TypeError: ``target_depth`` is not a floating point tensor.
        ValueError: a shape or an option is not as above.

    Example:
        >>> depth = torch.tensor([[[1.0, 11.0], [0.0, 256.0]]])
        >>> depth_aware_regions(depth, cells=(1, 1))
        tensor([[[ 0,  1],
                 [-1, 25]]])
    """
    regions = Regions(cells, bin_size, depth_range)
    (target_depth,) = check_depths({"target_depth": target_depth})
    ids = regions.ids(target_depth).long()
    image = torch.arange(ids.shape[0], device=ids.device).reshape(-1, *[1] * (ids.ndim - 1))
    ids = ids + image * regions.number(target_depth.shape)
    return torch.where(depth_pixels(target_depth), ids, -1)
