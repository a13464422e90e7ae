"""The CPU form: blocks of rows that stay in cache, and two numbers a pixel kept for backward.

Plain cross-entropy writes a log-softmax of the logits' size and reads it again twice. Here a
block is read from memory once, everything about its pixels is computed while it is in cache, and
backward does the same with one read and one write. Logits at a lower resolution than the labels
are interpolated block by block and never exist at full size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .._bits import as_bool, narrow_labels, zero_where_ignored
from .._pixels import map_dtype
from . import two_classes
from .interpolation import UpsampledGradient, UpsampledImage, Upsampling, is_finite
from .pages import prefer_large_pages
from .settings import Settings

# Elements of a block for each thread: 1 MiB of float32. A block is read several times and should
# stay in cache; smaller blocks take more steps, each with a fixed cost.
BLOCK_ELEMENTS = 1 << 18

LOG2_E = math.log2(math.e)


def forward(logits: Tensor, target: Tensor, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    r"""Loss and Delta of every pixel (B, \*S), and what backward needs of it, (2, B, \*S).

    The latter is the highest score of the pixel and its probability. One log-sum-exp would not
    do: where all scores have a large offset in common, its rounding is as large. Loss, Delta and
    the probability are 0 at ignored pixels. Of two classes it is the derivative of the loss by the
    second score, (1, B, \*S).
    """
    if not two_classes.fits(logits, target, settings):
        return _forward(logits, target, settings)
    of_two = two_classes.forward(logits, target, settings)
    if of_two is None:
        loss, wrong, top = _forward(logits, target, settings)
        wide = logits.to(loss.dtype)
        derivatives = _backward(torch.ones_like(loss), wide, target, top, settings)
        of_two = loss, wrong, derivatives[None, :, 1].contiguous()
    return of_two


def backward(
    grad: Tensor, logits: Tensor, target: Tensor, top: Tensor, settings: Settings
) -> Tensor:
    """Gradient of the logits from that of the loss."""
    if two_classes.fits(logits, target, settings):
        return two_classes.backward(grad, logits, target, top, settings)
    return _backward(grad, logits, target, top, settings)


def _forward(logits: Tensor, target: Tensor, settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Gather what every pixel needs of its scores block by block; the rest is done on whole maps."""
    dtype, smoothing = map_dtype(logits), settings.label_smoothing
    narrow, labelled = narrow_labels(target, settings.ignore_index, dtype)
    mask = labelled.neg()
    label = narrow.bitwise_and(mask).long()
    weight = None if settings.weight is None else settings.weight.to(dtype)
    top = torch.empty(2, *target.shape, dtype=dtype)
    peak, total = top
    true = torch.empty(target.shape, dtype=dtype)
    other = torch.empty_like(true)
    uniform = torch.empty_like(true) if smoothing > 0 else None
    near, scratch = Scratch(), Scratch()
    # Where the score of class 0 of each pixel is in the memory of a block.
    width = target[0, 0].numel()
    first_of_row = torch.arange(target.shape[1])[:, None] * (logits.shape[1] * width)
    order = first_of_row.add(torch.arange(width)).flatten()
    for image, rows, block in blocks(logits, target):
        block = near.hold(block, dtype)
        # Scores are taken relative to the highest of the pixel. One that is lower stays below 0.
        highest = torch.amax(block, 0, out=peak[image, rows])
        relative = torch.sub(block, highest, out=scratch.like(block, dtype))
        own_label = label[image, rows].flatten()
        place = torch.add(order[: len(own_label)], own_label, alpha=width)
        flat = relative.transpose(0, 1).reshape(-1)  # a view
        own = true[image, rows]
        torch.index_select(flat, 0, place, out=own.view(-1))
        if uniform is not None:
            uniform[image, rows] = (
                relative.sum(0) if weight is None else torch.tensordot(weight, relative, 1)
            )
        flat.index_fill_(0, place, -torch.inf)
        best_other = torch.amax(relative, 0, out=other[image, rows])
        torch.sum(exp_(relative), 0, out=total[image, rows])
        # A tie for the highest score is rare, and only then the order of the classes matters.
        if float((best_other + own).amax()) == 0:
            at_peak = torch.eq(block, highest, out=relative)
            best_other.masked_fill_(first_class(at_peak) == label[image, rows], -torch.inf)
    wrong = as_bool(torch.ge(other, true, out=other).to(labelled.dtype).bitwise_and_(labelled))
    if not is_finite(true):
        _compare_again(wrong, true, logits, label)
        wrong.logical_and_(as_bool(labelled))
    log_total = torch.log(total.add_(exp_(other.copy_(true))), out=other)
    # The probability of the highest score.
    zero_where_ignored(total.reciprocal_(), mask)
    loss = torch.sub(log_total, true, out=true)
    if weight is not None:
        loss.mul_(weight[label])
    if uniform is not None:
        classes = logits.shape[1] if weight is None else weight.sum()
        # Not `lerp_`: between two infinities that would be NaN.
        loss.mul_(1 - smoothing)
        loss.sub_(uniform.sub_(log_total.mul_(classes)).mul_(smoothing / logits.shape[1]))
    return zero_where_ignored(loss, mask), wrong, top


def _backward(
    grad: Tensor, logits: Tensor, target: Tensor, top: Tensor, settings: Settings
) -> Tensor:
    """Compute g (softmax - one-hot), one block at a time."""
    dtype, smoothing = map_dtype(logits), settings.label_smoothing
    narrow, labelled = narrow_labels(target, settings.ignore_index, dtype)
    mask = labelled.neg()
    label = narrow.bitwise_and_(mask) if narrow is not target else narrow.bitwise_and(mask)
    label = label.long()
    grad = grad.to(dtype, copy=True, memory_format=torch.contiguous_format)
    scale = zero_where_ignored(grad, mask)
    # The gradient of a score: total_scale * softmax, less true_scale at the label, less what
    # label smoothing takes from every class.
    true_scale = total_scale = scale
    class_scale = torch.full((logits.shape[1],), smoothing / logits.shape[1], dtype=dtype)
    if smoothing > 0:
        true_scale = scale * (1 - smoothing)
    if settings.weight is not None:
        weight = settings.weight.to(dtype)
        true_scale = true_scale * weight[label]
        class_scale = class_scale * weight
    if smoothing > 0:
        total_scale = true_scale + scale * class_scale.sum()
    elif settings.weight is not None:
        total_scale = true_scale
    class_scale = class_scale.reshape(-1, *[1] * (target.ndim - 1))
    peak, probability = top
    peak_scale = total_scale * probability
    minus_true_scale = true_scale.neg()
    # Scores at ignored pixels may be anything, and 0 * NaN is NaN.
    ignored = None if is_finite(top) else as_bool(labelled).logical_not()
    result = GradientBlocks(logits, target, (peak_scale, minus_true_scale, scale))
    for image, rows, block in blocks(logits, target):
        part = result.buffer(image, rows, block)
        torch.sub(block, peak[image, rows], out=part)
        exp_(part).mul_(peak_scale[image, rows])
        if smoothing > 0:
            part.addcmul_(class_scale, scale[image, rows], value=-1)
        part.scatter_add_(0, label[image, rows][None], minus_true_scale[image, rows][None])
        if ignored is not None:
            part.masked_fill_(ignored[image, rows], 0)
        result.add(image, rows, part)
    return result.whole


def exp_(scores: Tensor) -> Tensor:
    """Take the exponential of scores in place.

    torch leaves `exp` to MKL, which takes twice as long as torch's own `exp2` on a processor of AMD,
    and thirty times as long for a result that is hardly a normal number. The product is rounded: of
    exp(-20) the last digit or two may differ.
    """
    return scores.mul_(LOG2_E).exp2_()


def first_class(chosen: Tensor) -> Tensor:
    """The lowest class of those marked by 1, (C, *rows): it has the highest rank."""
    classes = len(chosen)
    rank = torch.arange(classes, 0, -1, dtype=chosen.dtype).reshape(-1, *[1] * (chosen.ndim - 1))
    return classes - chosen.mul_(rank).amax(0)


def _compare_again(wrong: Tensor, true: Tensor, logits: Tensor, label: Tensor) -> None:
    """Delta of the blocks that hold a NaN, by `argmax`, which takes a NaN for the highest score."""
    for image, rows, block in blocks(logits, label):
        if not is_finite(true[image, rows]):
            wrong[image, rows] = block.argmax(0) != label[image, rows]


class Scratch:
    """One buffer for all blocks, made anew only where the shape changes.

    In memory the rows come before the classes. torch cuts it at the same row for a map over all
    scores as for a sum over the classes, so that each thread finds its scores in its own cache.
    """

    def __init__(self) -> None:
        self.buffer: Tensor | None = None

    def like(self, block: Tensor, dtype: torch.dtype) -> Tensor:
        """A buffer of the block's shape."""
        if self.buffer is None or self.buffer.shape != block.shape:
            classes, rows, *row = block.shape
            self.buffer = torch.empty(rows, classes, *row, dtype=dtype).transpose(0, 1)
        return self.buffer

    def hold(self, block: Tensor, dtype: torch.dtype) -> Tensor:
        """The block itself if its rows are contiguous and of that dtype, else a copy that is."""
        if block.stride(-1) == 1 and block.dtype == dtype:
            return block
        return self.like(block, dtype).copy_(block)


def upsampling_of(logits: Tensor, target: Tensor) -> Upsampling | None:
    """How to bring the logits to the size of the target; None if they have it already."""
    source, size = logits.shape[2:], target.shape[1:]
    return None if source == size else Upsampling(source, size, map_dtype(logits))


def blocks(logits: Tensor, target: Tensor) -> Iterator[tuple[int, slice, Tensor]]:
    """(image, rows, scores of these rows at the size of the target) of all images in turn."""
    height = target.shape[1]
    elements_a_row = max(1, logits.shape[1] * target[0, 0].numel())
    most = max(1, BLOCK_ELEMENTS * torch.get_num_threads() // elements_a_row)
    step = -(-height // max(1, round(height / most)))  # blocks of nearly the same height
    upsampling = upsampling_of(logits, target)
    for image, scores in enumerate(logits):
        if upsampling is not None:
            upsampled = UpsampledImage(upsampling, scores.to(map_dtype(logits)))
        for start in range(0, height, step):
            rows = slice(start, min(start + step, height))
            yield image, rows, scores[:, rows] if upsampling is None else upsampled.rows(rows)


class GradientBlocks:
    """The gradient, block by block: each goes into its rows, or through the interpolation.

    ``scales`` are the maps that the gradient is computed from.
    """

    def __init__(self, logits: Tensor, target: Tensor, scales: tuple[Tensor, ...]) -> None:
        self.logits, self.scales = logits, scales
        self.whole = prefer_large_pages(torch.empty_like(logits))
        self.dtype = map_dtype(logits)
        self.height = target.shape[1]
        self.scratch = Scratch()
        self.upsampling = upsampling_of(logits, target)

    @property
    def in_place(self) -> bool:
        """Whether dtype and size allow to compute where the result lies."""
        return self.upsampling is None and self.whole.dtype == self.dtype

    def buffer(self, image: int, rows: slice, block: Tensor) -> Tensor:
        """Where to compute."""
        if self.in_place:
            return self.whole[image, :, rows]
        return self.scratch.like(block, self.dtype)

    def add(self, image: int, rows: slice, part: Tensor) -> None:
        """Takes what was computed in the buffer."""
        if self.upsampling is not None:
            if rows.start == 0:
                self.gradient = self._open(self.upsampling, image)
            self.gradient.add(rows, part)
            if rows.stop == self.height:
                self.whole[image] = self.gradient.result()
        elif not self.in_place:
            self.whole[image, :, rows] = part

    def _open(self, upsampling: Upsampling, image: int) -> UpsampledGradient:
        scores = self.logits[image].to(self.dtype)
        finite = all(
            is_finite(values) for values in (scores, *(map_[image] for map_ in self.scales))
        )
        return UpsampledGradient(upsampling, scores, finite)
