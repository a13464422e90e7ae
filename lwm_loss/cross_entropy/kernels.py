"""The CUDA form in Triton: kernels that read the logits once forward and once backward.

A program holds some pixels of one image and walks over the classes in chunks. At a lower
resolution than the labels a chunk is interpolated from its four neighbours as it is loaded.
Backward of that visits every pixel once as well: a program holds patches, the pixels between four
neighbours, and sums up what each of the four gets. The sums of the patches around a score are
added in a fixed order, so that no atomic addition makes two runs differ.
"""

import triton
import triton.language as tl

# Triton reads annotations of its own here (older releases not as strings, so this module has no
# `from __future__ import annotations`), and line breaks of call sites are the author's.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-untyped"
# ruff: noqa: ANN001, ANN201, ANN202, N803
# fmt: off


@triton.jit
def _axis(position, source, size):
    """Bilinear neighbours of an output position: (above, below, share of below)."""
    at = (position.to(tl.float32) + 0.5) * (source / size) - 0.5
    at = tl.maximum(at, 0.0)
    above = tl.minimum(at.to(tl.int32), source - 1)
    below = tl.minimum(above + 1, source - 1)
    return above, below, at - above.to(tl.float32)


@triton.jit
def _patch(index, source, size):
    """The output positions [first, end) whose neighbour above is source `index`, in integers."""
    index = index.to(tl.int64)
    # floor((2 p + 1) source / (2 size) - 1 / 2) = index, solved for p
    first = ((2 * index + 1) * size + source - 1) // (2 * source)
    end = ((2 * index + 3) * size + source - 1) // (2 * source)
    first = tl.where(index == 0, 0, first)  # the border is clamped to the first source
    return first.to(tl.int32), tl.minimum(end, size).to(tl.int32)


@triton.jit
def _share_below(position, index, source, size):
    """Interpolation weight of source `index + 1`, for which the last source stands in itself."""
    at = tl.maximum((position.to(tl.float32) + 0.5) * (source / size) - 0.5, 0.0)
    return at - index.to(tl.float32)


@triton.jit
def _corners(plane, top, bottom, left, right, mask):
    """The scores of four neighbours: top left and right, bottom left and right."""
    a = tl.load(plane + (top + left)[None, :], mask=mask, other=0.0).to(tl.float32)
    b = tl.load(plane + (top + right)[None, :], mask=mask, other=0.0).to(tl.float32)
    c = tl.load(plane + (bottom + left)[None, :], mask=mask, other=0.0).to(tl.float32)
    d = tl.load(plane + (bottom + right)[None, :], mask=mask, other=0.0).to(tl.float32)
    return a, b, c, d


@triton.jit
def _blend(a, b, c, d, across, down, present):
    """The score between four neighbours: -inf for a class that is none.

    Products as in torch's own interpolation. A difference of two neighbours would be NaN where
    both are -inf, and where one is infinite whose share the other one does not need.
    """
    upper = a * (1.0 - across) + b * across
    lower = c * (1.0 - across) + d * across
    return tl.where(present, upper * (1.0 - down) + lower * down, -float("inf"))


@triton.jit
def _scores(
    base, cls, classes, stride_c, stride_h, stride_w, row, column, inside,
    h, w, height, width, UPSAMPLE: tl.constexpr,
):
    """Scores of a chunk of classes, (CHUNK, BLOCK) in float32: -inf for a class that is none."""
    present = (cls < classes)[:, None]
    mask = present & inside[None, :]
    plane = base + cls.to(tl.int64)[:, None] * stride_c
    if not UPSAMPLE:
        at = row.to(tl.int64) * stride_h + column.to(tl.int64) * stride_w
        x = tl.load(plane + at[None, :], mask=mask, other=0.0).to(tl.float32)
        return tl.where(present, x, -float("inf"))
    top, bottom, down = _axis(row, h, height)
    left, right, across = _axis(column, w, width)
    top = top.to(tl.int64) * stride_h
    bottom = bottom.to(tl.int64) * stride_h
    left = left.to(tl.int64) * stride_w
    right = right.to(tl.int64) * stride_w
    a, b, c, d = _corners(plane, top, bottom, left, right, mask)
    return _blend(a, b, c, d, across[None, :], down[None, :], present)


@triton.jit
def _summed(weight_sum, classes, WEIGHTED: tl.constexpr):
    """The sum of the class weights, which are 1 if there are none."""
    if WEIGHTED:
        return tl.load(weight_sum)
    return classes * 1.0  # a single class is a constant to the compiler and has no `.to`


@triton.jit
def forward_kernel(
    logits, target, weight, weight_sum, loss, wrong, highest, map_size,
    classes, h, w, height, width, stride_b, stride_c, stride_h, stride_w,
    ignore_index, smoothing,
    WEIGHTED: tl.constexpr, SMOOTH: tl.constexpr, UPSAMPLE: tl.constexpr,
    BLOCK: tl.constexpr, CHUNK: tl.constexpr,
):
    """Each program owns some pixels of an image and keeps their running maximum and sum."""
    pixels = height * width
    blocks = tl.cdiv(pixels, BLOCK)
    program = tl.program_id(0)
    image = (program // blocks).to(tl.int64)
    pixel = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < pixels
    row, column = pixel // width, pixel % width
    at = image * pixels + pixel
    label = tl.load(target + at, mask=inside, other=ignore_index)
    labelled = inside & (label != ignore_index)
    base = logits + image * stride_b

    peak = tl.full((BLOCK,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    true = tl.zeros((BLOCK,), tl.float32)
    uniform = tl.zeros((BLOCK,), tl.float32)
    passed = tl.zeros((BLOCK,), tl.float32)  # the sum of the class weights so far
    first = tl.zeros((BLOCK,), tl.int32)
    first_nan = tl.zeros((BLOCK,), tl.int32) + classes
    for start in range(0, classes, CHUNK):
        cls = start + tl.arange(0, CHUNK)
        x = _scores(
            base, cls, classes, stride_c, stride_h, stride_w, row, column, inside,
            h, w, height, width, UPSAMPLE,
        )
        chunk_peak = tl.max(x, axis=0)
        # The lowest class that reaches the maximum: argmax with the first index on a tie.
        reaches = x == chunk_peak[None, :]
        chunk_first = tl.min(tl.where(reaches, cls[:, None], classes), axis=0)
        first = tl.where(chunk_peak > peak, chunk_first, first)
        chunk_nan = tl.min(tl.where(x != x, cls[:, None], classes), axis=0)
        first_nan = tl.minimum(first_nan, chunk_nan)
        higher = tl.maximum(peak, chunk_peak)
        # As long as all scores are -inf there is nothing to subtract.
        shift = tl.where(higher == -float("inf"), 0.0, higher)
        total = total * tl.exp(peak - shift) + tl.sum(tl.exp(x - shift[None, :]), axis=0)
        before = peak
        peak = higher
        true += tl.sum(tl.where(cls.to(tl.int64)[:, None] == label[None, :], x, 0.0), axis=0)
        if SMOOTH:
            # Below the maximum so far, and not as they are: an offset that all scores have in
            # common would leave no digits for what they differ by.
            even = tl.where(cls < classes, 1.0, 0.0)
            if WEIGHTED:
                even = tl.load(weight + cls, mask=cls < classes, other=0.0).to(tl.float32)
            lowered = tl.where(before == -float("inf"), 0.0, before - shift)
            below = tl.where((cls < classes)[:, None], x - shift[None, :], 0.0)
            uniform += passed * lowered + tl.sum(below * even[:, None], axis=0)
            passed += tl.sum(even, axis=0)
    value = (peak - true) + tl.log(total)  # in this order exact near 0
    if WEIGHTED:
        value *= tl.load(weight + tl.where(labelled, label, 0), mask=inside, other=0.0)
    if SMOOTH:
        # Not in steps from the one to the other: between two infinities that would be NaN.
        summed = _summed(weight_sum, classes, WEIGHTED)
        even = (summed * tl.log(total) - uniform) / classes
        value = (1.0 - smoothing) * value + smoothing * even
    # Like argmax, a NaN counts as the highest score.
    first = tl.where(first_nan < classes, first_nan, first)
    # Ignored pixels are written as well: the memory comes uninitialised.
    tl.store(loss + at, tl.where(labelled, value, 0.0), mask=inside)
    tl.store(wrong + at, (labelled & (first.to(tl.int64) != label)).to(tl.uint8), mask=inside)
    tl.store(highest + at, peak, mask=inside)
    tl.store(highest + map_size + at, tl.where(labelled, 1.0 / total, 0.0), mask=inside)


@triton.jit
def _pixel_scales(
    grad, target, weight, weight_sum, highest, map_size, at, inside, classes, ignore_index, smoothing,
    WEIGHTED: tl.constexpr,
):
    """Per pixel: label, maximum, and the factors of exponentials, one-hot and of smoothing."""
    label = tl.load(target + at, mask=inside, other=ignore_index)
    labelled = inside & (label != ignore_index)
    scale = tl.where(labelled, tl.load(grad + at, mask=inside, other=0.0), 0.0)
    true_scale = scale * (1.0 - smoothing)
    if WEIGHTED:
        true_scale *= tl.load(weight + tl.where(labelled, label, 0), mask=inside, other=0.0)
    even = smoothing / classes
    total_scale = true_scale + scale * even * _summed(weight_sum, classes, WEIGHTED)
    peak = tl.load(highest + at, mask=inside, other=0.0)
    peak_scale = total_scale * tl.load(highest + map_size + at, mask=inside, other=0.0)
    return label, labelled, peak, scale, true_scale, peak_scale


@triton.jit
def _class_scale(weight, cls, classes, smoothing, WEIGHTED: tl.constexpr):
    """What label smoothing takes from each class."""
    even = smoothing / classes
    if WEIGHTED:
        return even * tl.load(weight + cls, mask=cls < classes, other=0.0).to(tl.float32)
    return tl.where(cls < classes, even, 0.0)


@triton.jit
def _gradient(x, cls, label, labelled, peak, scale, true_scale, peak_scale, class_scale):
    """The gradient of scores at the size of the labels, from what the two functions above give."""
    value = tl.exp(x - peak[None, :]) * peak_scale[None, :]
    value -= tl.where(cls.to(tl.int64)[:, None] == label[None, :], true_scale[None, :], 0.0)
    return tl.where(labelled[None, :], value - class_scale[:, None] * scale[None, :], 0.0)


@triton.jit
def backward_kernel(
    grad, logits, target, weight, weight_sum, highest, map_size, result,
    classes, height, width, stride_b, stride_c, stride_h, stride_w,
    ignore_index, smoothing,
    WEIGHTED: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr,
):
    """Each program owns some pixels of an image: one read and one write of their scores."""
    pixels = height * width
    blocks = tl.cdiv(pixels, BLOCK)
    program = tl.program_id(0)
    image = (program // blocks).to(tl.int64)
    pixel = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = pixel < pixels
    row, column = pixel // width, pixel % width
    label, labelled, peak, scale, true_scale, peak_scale = _pixel_scales(
        grad, target, weight, weight_sum, highest, map_size, image * pixels + pixel, inside,
        classes, ignore_index, smoothing, WEIGHTED,
    )
    place = row.to(tl.int64) * stride_h + column.to(tl.int64) * stride_w
    for start in range(0, classes, CHUNK):
        cls = start + tl.arange(0, CHUNK)
        at = image * stride_b + cls.to(tl.int64)[:, None] * stride_c + place[None, :]
        mask = (cls < classes)[:, None] & inside[None, :]
        x = tl.load(logits + at, mask=mask, other=0.0).to(tl.float32)
        even = _class_scale(weight, cls, classes, smoothing, WEIGHTED)
        value = _gradient(x, cls, label, labelled, peak, scale, true_scale, peak_scale, even)
        tl.store(result + at, value, mask=mask)


@triton.jit
def upsampled_backward_kernel(
    grad, logits, target, weight, weight_sum, highest, map_size, corners,
    corner_size, classes, h, w, height, width, stride_b, stride_c, stride_h, stride_w,
    ignore_index, smoothing,
    WEIGHTED: tl.constexpr, BLOCK: tl.constexpr, CHUNK: tl.constexpr,
):
    """Each program owns some patches of a chunk of classes: what they give to their corners."""
    sources = h * w
    blocks = tl.cdiv(sources, BLOCK)
    chunks = tl.cdiv(classes, CHUNK)
    program = tl.program_id(0)
    image = (program // (blocks * chunks)).to(tl.int64)
    source = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    cls = ((program // blocks) % chunks) * CHUNK + tl.arange(0, CHUNK)
    exists = source < sources
    present = (cls < classes)[:, None]
    mask = present & exists[None, :]
    i, j = source // w, source % w

    top, left = i.to(tl.int64) * stride_h, j.to(tl.int64) * stride_w
    bottom = tl.minimum(i + 1, h - 1).to(tl.int64) * stride_h
    right = tl.minimum(j + 1, w - 1).to(tl.int64) * stride_w
    plane = logits + image * stride_b + cls.to(tl.int64)[:, None] * stride_c
    a, b, c, d = _corners(plane, top, bottom, left, right, mask)

    first_row, end_row = _patch(i, h, height)
    first_column, end_column = _patch(j, w, width)
    rows = tl.max(tl.where(exists, end_row - first_row, 0), axis=0)
    columns = tl.max(tl.where(exists, end_column - first_column, 0), axis=0)
    even = _class_scale(weight, cls, classes, smoothing, WEIGHTED)
    given_a = tl.zeros((CHUNK, BLOCK), tl.float32)
    given_b = tl.zeros((CHUNK, BLOCK), tl.float32)
    given_c = tl.zeros((CHUNK, BLOCK), tl.float32)
    given_d = tl.zeros((CHUNK, BLOCK), tl.float32)
    for dy in range(0, rows):
        row = first_row + dy
        row_inside = exists & (row < end_row)
        down = _share_below(row, i, h, height)[None, :]
        given_down = tl.where((i < h - 1)[None, :], down, 0.0)
        at_row = image * height * width + row.to(tl.int64) * width
        given_left = tl.zeros((CHUNK, BLOCK), tl.float32)
        given_right = tl.zeros((CHUNK, BLOCK), tl.float32)
        for dx in range(0, columns):
            column = first_column + dx
            inside = row_inside & (column < end_column)
            across = _share_below(column, j, w, width)[None, :]
            given_across = tl.where((j < w - 1)[None, :], across, 0.0)
            label, labelled, peak, scale, true_scale, peak_scale = _pixel_scales(
                grad, target, weight, weight_sum, highest, map_size, at_row + column, inside,
                classes, ignore_index, smoothing, WEIGHTED,
            )
            x = _blend(a, b, c, d, across, down, present)
            value = _gradient(
                x, cls, label, labelled, peak, scale, true_scale, peak_scale, even,
            )
            given_left += value * (1.0 - given_across)
            given_right += value * given_across
        given_a += given_left * (1.0 - given_down)
        given_b += given_right * (1.0 - given_down)
        given_c += given_left * given_down
        given_d += given_right * given_down
    # corners: (above, below) x (left, right) x (images, classes, h, w)
    at = (image * classes + cls.to(tl.int64)[:, None]) * sources + source[None, :]
    tl.store(corners + at, given_a, mask=mask)
    at += corner_size
    tl.store(corners + at, given_b, mask=mask)
    at += corner_size
    tl.store(corners + at, given_c, mask=mask)
    at += corner_size
    tl.store(corners + at, given_d, mask=mask)
