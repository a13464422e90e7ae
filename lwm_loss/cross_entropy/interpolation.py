"""Bilinear interpolation of one image at a time, as small matrix products."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

# Columns that are interpolated by one matrix product: more would multiply by more zeros.
BAND = 128


def is_finite(values: Tensor) -> bool:
    """Whether all values are finite, told by their sum. An overflowing sum counts as not finite."""
    return math.isfinite(float(values.sum()))


class Axis:
    """Interpolation along one axis, as `interpolate(align_corners=False)` defines it.

    A small matrix product for each band of the result: a pixel is made of two source pixels, a
    band of pixels of a few more.
    """

    def __init__(self, source: int, size: int, dtype: torch.dtype) -> None:
        # torch itself supplies the shares of every pixel: they are the interpolated identity.
        identity = torch.eye(source, dtype=dtype)[None]
        matrix = F.interpolate(identity, size, mode="linear", align_corners=False)[0]
        self.matrix = matrix.t().contiguous()
        self.reach = source / size

    def band(self, pixels: slice) -> tuple[slice, Tensor]:
        """The source pixels that some pixels are made of, and their shares."""
        start = max(0, math.floor((pixels.start + 0.5) * self.reach - 0.5))
        stop = min(self.matrix.shape[1], math.floor((pixels.stop - 0.5) * self.reach - 0.5) + 2)
        source = slice(min(start, stop - 1), stop)
        return source, self.matrix[pixels, source]

    def rows(self, columns: Tensor, rows: slice) -> Tensor:
        """Some rows (C, rows, W) of an image whose columns (C, h, W) are interpolated already."""
        source, shares = self.band(rows)
        return shares @ columns[:, source]

    def rows_backward(self, grad: Tensor, rows: slice, columns: Tensor) -> None:
        """Adds the gradient of some rows to that of the columns."""
        source, shares = self.band(rows)
        columns[:, source] += shares.t() @ grad

    def columns(self, scores: Tensor) -> Tensor:
        """(C, h, w) to (C, h, W)."""
        size = self.matrix.shape[0]
        result = scores.new_empty(*scores.shape[:2], size)
        for start in range(0, size, BAND):
            band = slice(start, min(start + BAND, size))
            source, shares = self.band(band)
            result[..., band] = scores[..., source] @ shares.t()
        return result

    def columns_backward(self, grad: Tensor) -> Tensor:
        """The gradient of (C, h, w) from that of (C, h, W)."""
        size, source_size = self.matrix.shape
        result = grad.new_zeros(*grad.shape[:2], source_size)
        for start in range(0, size, BAND):
            band = slice(start, min(start + BAND, size))
            source, shares = self.band(band)
            result[..., source] += grad[..., band] @ shares
        return result


class Upsampling:
    """From images (C, h, w) to blocks of rows (C, rows, W) and back.

    The columns of one image are interpolated at a time, a fraction of the full size, and the rows
    within a block. A matrix product also multiplies by zeros, which would spread a NaN or an
    infinity to pixels that are not made of it. An image that is not finite is therefore left to
    torch's own interpolation, at full size.
    """

    def __init__(self, source: torch.Size, size: torch.Size, dtype: torch.dtype) -> None:
        self.source, self.size = source, size
        self.by_row = Axis(source[0], size[0], dtype)
        self.by_column = Axis(source[1], size[1], dtype)


class UpsampledImage:
    """The rows of one image at full size."""

    def __init__(self, upsampling: Upsampling, scores: Tensor) -> None:
        self.upsampling = upsampling
        self.finite = is_finite(scores)
        if self.finite:
            self.columns = upsampling.by_column.columns(scores)
        else:
            full = F.interpolate(
                scores[None], upsampling.size, mode="bilinear", align_corners=False
            )
            self.full = full[0]

    def rows(self, rows: slice) -> Tensor:
        if self.finite:
            return self.upsampling.by_row.rows(self.columns, rows)
        return self.full[:, rows]


class UpsampledGradient:
    """Takes the gradient of the rows of one image and returns that of its source."""

    def __init__(self, upsampling: Upsampling, like: Tensor, finite: bool) -> None:
        self.upsampling = upsampling
        self.finite = finite
        height = like.shape[1] if finite else upsampling.size[0]
        self.sum = like.new_zeros(like.shape[0], height, upsampling.size[1])

    def add(self, rows: slice, part: Tensor) -> None:
        if self.finite:
            self.upsampling.by_row.rows_backward(part, rows, self.sum)
        else:
            self.sum[:, rows] = part

    def result(self) -> Tensor:
        """The gradient of (C, h, w)."""
        if self.finite:
            return self.upsampling.by_column.columns_backward(self.sum)
        size, source = list(self.upsampling.size), list(self.upsampling.source)
        shape = [1, self.sum.shape[0], *source]
        grad: Tensor = torch.ops.aten.upsample_bilinear2d_backward(
            self.sum[None], size, shape, False, None, None
        )
        return grad[0]
