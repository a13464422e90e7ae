"""The CPU form: blocks of rows that stay in cache, and nothing but log-sum-exp kept for backward.

Plain cross-entropy writes a log-softmax of the logits' size and reads it again twice. Here a
block is read from memory once, everything about its pixels is computed while it is in cache, and
backward does the same with one read and one write. Logits at a lower resolution than the labels
are interpolated block by block and never exist at full size: the columns of one image at a time
(a fraction of the full size), the rows within the block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from .._pixels import labelled_pixels, map_dtype

# Elements of a block for each thread. What goes over a block several times does so in a near cache,
# with 1 MiB of float32. A gradient written where it stays is memory that was never touched: there
# fewer steps cost less.
NEAR_ELEMENTS = 1 << 18
FRESH_ELEMENTS = 1 << 20
# Columns that are interpolated by one matrix product: more would multiply by more zeros.
BAND = 128


def forward(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, Delta and log-sum-exp of every pixel; loss and Delta are 0 where ignored."""
    dtype = map_dtype(logits)
    label, labelled = labels(target, ignore_index)
    if weight is not None:
        weight = weight.to(dtype)
    # What every pixel needs of its scores, gathered block by block; the arithmetic on these maps
    # is done once for all of them.
    peak, true, other = (torch.empty(target.shape, dtype=dtype) for _ in range(3))
    uniform = torch.empty_like(peak) if label_smoothing > 0 else None
    near, scratch = Scratch(), Scratch()
    for image, rows, block in blocks(logits, target, NEAR_ELEMENTS):
        block = near.hold(block)
        index = label[image, rows][None]
        torch.amax(block, 0, out=peak[image, rows])
        log_probability = torch.log_softmax(block, 0, out=scratch.like(block))
        torch.gather(log_probability, 0, index, out=true[image, rows][None])
        if uniform is not None:
            uniform[image, rows] = (
                log_probability.sum(0)
                if weight is None
                else torch.tensordot(weight, log_probability, 1)
            )
        log_probability.scatter_(0, index, -torch.inf)
        best_other = torch.amax(log_probability, 0, out=other[image, rows])
        # A tie is rare with scores of 32 bits, and only then the order of the classes matters.
        if torch.eq(best_other, true[image, rows]).any():
            at_peak = torch.eq(block, peak[image, rows], out=log_probability)
            best_other.masked_fill_(first_class(at_peak) == index[0], -torch.inf)
    # Log-softmax keeps the order of the scores. A NaN is below nothing and so counts as wrong.
    wrong = torch.lt(other, true).logical_not_().logical_and_(labelled)
    # At the maximum log-softmax is minus what the log-sum-exp exceeds the maximum by.
    log_sum_exp = peak.sub_(torch.maximum(other, true))
    loss = torch.sub(0, true, out=true)
    if weight is not None:
        loss.mul_(weight[label])
    if uniform is not None:
        loss.lerp_(uniform.div_(-logits.shape[1]), label_smoothing)
    return loss.masked_fill_(labelled.logical_not_(), 0), wrong, log_sum_exp


def backward(
    grad: Tensor,
    logits: Tensor,
    target: Tensor,
    log_sum_exp: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    label_smoothing: float,
) -> Tensor:
    """Gradient of the logits from that of the loss: g (softmax - one-hot), one block at a time."""
    dtype = map_dtype(logits)
    label, labelled = labels(target, ignore_index)
    scale = torch.where(labelled, grad.to(dtype), 0)
    # The gradient of a score: total_scale * softmax, less true_scale at the label, less what
    # label smoothing takes from every class.
    true_scale = total_scale = scale
    class_scale: Tensor | float = label_smoothing / logits.shape[1]
    if label_smoothing > 0:
        true_scale = scale * (1 - label_smoothing)
    if weight is not None:
        weight = weight.to(dtype)
        true_scale = true_scale * weight[label]
        class_scale = (class_scale * weight).reshape(-1, *[1] * (target.ndim - 1))
        total_scale = true_scale + scale * class_scale.sum()
    lift = true_scale.neg()
    sink = GradientSink(logits, target)
    for image, rows, block in blocks(logits, target, sink.block_elements):
        part = sink.buffer(image, rows, block)
        torch.sub(block, log_sum_exp[image, rows], out=part)
        part.exp_().mul_(total_scale[image, rows])
        if label_smoothing > 0:
            part.sub_(class_scale * scale[image, rows])
        part.scatter_add_(0, label[image, rows][None], lift[image, rows][None])
        sink.add(image, rows, part)
    return sink.result


def labels(target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Labels that may be used as an index, and which of them are real."""
    labelled = labelled_pixels(target, ignore_index)
    return torch.where(labelled, target, 0), labelled


def first_class(chosen: Tensor) -> Tensor:
    """The lowest class of those marked by 1, (C, *rows): it has the highest rank."""
    classes = len(chosen)
    rank = torch.arange(classes, 0, -1, dtype=chosen.dtype).reshape(-1, *[1] * (chosen.ndim - 1))
    return classes - chosen.mul_(rank).amax(0)


class Scratch:
    """One buffer for all blocks, made anew only where the shape changes."""

    def __init__(self) -> None:
        self.buffer: Tensor | None = None

    def like(self, block: Tensor) -> Tensor:
        if self.buffer is None or self.buffer.shape != block.shape:
            self.buffer = torch.empty_like(block, memory_format=torch.contiguous_format)
        return self.buffer

    def hold(self, block: Tensor) -> Tensor:
        """The block itself if it lies in one piece, else a copy that does."""
        return block if block.is_contiguous() else self.like(block).copy_(block)


class Interpolation:
    """Bilinear interpolation along one axis, as `interpolate(align_corners=False)` defines it.

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


def interpolations(logits: Tensor, target: Tensor) -> tuple[Interpolation, Interpolation] | None:
    """Along rows and columns, where the logits are not at the size of the target."""
    if logits.shape[2:] == target.shape[1:]:
        return None
    (h, w), (height, width) = logits.shape[2:], target.shape[1:]
    dtype = map_dtype(logits)
    return Interpolation(h, height, dtype), Interpolation(w, width, dtype)


def blocks(logits: Tensor, target: Tensor, elements: int) -> Iterator[tuple[int, slice, Tensor]]:
    """(image, rows, scores of these rows at the size of the target), in arithmetic's dtype."""
    dtype = map_dtype(logits)
    height = target.shape[1]
    elements_a_row = max(1, logits.shape[1] * target[0, 0].numel())
    step = max(1, elements * torch.get_num_threads() // elements_a_row)
    axes = interpolations(logits, target)
    for image, scores in enumerate(logits):
        if axes is not None:
            scores = axes[1].columns(scores.to(dtype))
        for start in range(0, height, step):
            rows = slice(start, min(start + step, height))
            if axes is None:
                yield image, rows, scores[:, rows].to(dtype)
            else:
                yield image, rows, axes[0].rows(scores, rows)


class GradientSink:
    """Where the gradient of a block goes: into its rows, or through the interpolation."""

    def __init__(self, logits: Tensor, target: Tensor) -> None:
        self.result = torch.empty_like(logits)
        self.dtype = map_dtype(logits)
        self.height = target.shape[1]
        self.scratch = Scratch()
        self.axes = interpolations(logits, target)
        if self.axes is not None:
            shape = (logits.shape[1], logits.shape[2], target.shape[2])
            self.columns = torch.zeros(shape, dtype=self.dtype)

    @property
    def in_place(self) -> bool:
        """Whether dtype and size allow to compute where the result lies."""
        return self.axes is None and self.result.dtype == self.dtype

    @property
    def block_elements(self) -> int:
        return FRESH_ELEMENTS if self.in_place else NEAR_ELEMENTS

    def buffer(self, image: int, rows: slice, block: Tensor) -> Tensor:
        """Where to compute."""
        return self.result[image, :, rows] if self.in_place else self.scratch.like(block)

    def add(self, image: int, rows: slice, part: Tensor) -> None:
        """Takes what was computed in the buffer."""
        if self.axes is not None:
            self.axes[0].rows_backward(part, rows, self.columns)
            if rows.stop == self.height:
                self.result[image] = self.axes[1].columns_backward(self.columns)
                self.columns.zero_()
        elif not self.in_place:
            self.result[image, :, rows] = part
