"""Eq. 3: depth-aware regions, and the segmentation error Z of any dense task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from .pixel_sets import (
    Array,
    Float,
    Pixel,
    at_class,
    depth_pixels,
    has_depth,
    pixels,
    with_channel,
    without_channel,
)
from .segmentation_loss import log_softmax

Region = tuple[int, Pixel, int]
Cells = tuple[int, ...] | Literal["pixel"]


def cell_of(pixel: Pixel, size: Sequence[int], cells: Cells) -> Pixel:
    """The cell P_k of a pixel: ``floor(position * cells / size)`` on each axis.

    Two numbers on a volume divide its last two axes; ``"pixel"`` makes each pixel a cell.

    >>> [cell_of((0, x), (1, 5), (1, 2)) for x in range(5)]
    [(0, 0), (0, 0), (0, 0), (0, 1), (0, 1)]
    """
    if cells == "pixel":
        return tuple(pixel)
    grid = (1,) * (len(size) - len(cells)) + tuple(cells)
    return tuple(at * count // extent for at, count, extent in zip(pixel, grid, size, strict=True))


def depth_bin(depth: float, bin_size: float, depth_range: tuple[float, float]) -> int:
    """The depth bin B_t of a depth: ``floor((D* - low) / d)``, clamped to the bins there are.

    >>> [depth_bin(level, 10.0, (1.0, 256.0)) for level in (0.5, 1.0, 10.9, 11.0, 256.0, 999.0)]
    [0, 0, 0, 1, 25, 25]
    """
    low, high = depth_range
    bins = max(1, math.ceil((high - low) / bin_size))
    return min(max(math.floor((depth - low) / bin_size), 0), bins - 1)


def depth_aware_regions(
    target_depth: Array,
    *,
    cells: Cells = (8, 8),
    bin_size: float = 10.0,
    depth_range: tuple[float, float] = (1.0, 256.0),
) -> dict[Pixel, Region]:
    """The region (image, cell, bin) of each pixel of V_d, keyed by position in ``(B, *S)``.

    >>> depth_aware_regions(np.array([[[5.0, 0.0, 25.0]]]), cells=(1, 1))
    {(0, 0, 0): (0, (0, 0), 0), (0, 0, 2): (0, (0, 0), 2)}
    """
    depth = without_channel(target_depth)
    regions: dict[Pixel, Region] = {}
    for pixel in pixels(depth.shape):
        level = float(depth[pixel])
        if has_depth(level):
            cell = cell_of(pixel[1:], depth.shape[1:], cells)
            regions[pixel] = (pixel[0], cell, depth_bin(level, bin_size, depth_range))
    return regions


def misclassified(input: Array, target: Array, *, ignore_index: int = -100) -> Float:
    """Delta: 1 where the highest score (the first on a tie) is not the label's, 0 elsewhere.

    ``input`` is logits ``(B, C, *S)`` or an integer map ``(B, *S)`` of predicted labels.

    >>> misclassified(np.array([[[[1.0, 0.0]], [[1.0, 2.0]]]]), np.array([[[1, 1]]])).tolist()
    [[[1.0, 0.0]]]
    """
    delta = np.zeros(target.shape)
    for pixel in pixels(target.shape):
        if int(target[pixel]) == ignore_index:
            continue
        if input.ndim == target.ndim:
            guess = int(input[pixel])
        else:
            scores = [float(input[at_class(pixel, j)]) for j in range(input.shape[1])]
            guess = scores.index(max(scores))
        delta[pixel] = float(guess != int(target[pixel]))
    return delta


def depth_aware_segmentation_error(
    input: Array,
    target: Array,
    target_depth: Array,
    *,
    ignore_index: int = -100,
    depth_mask: Array | None = None,
    **regions: Any,
) -> Float:
    """Eq. 3: the error rate of each region over its pixels in V_y and V_d, given to all of them.

    ``regions`` are the options of `depth_aware_regions`.

    >>> logits = np.array([[[[1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0]]]])
    >>> depth_aware_segmentation_error(
    ...     logits, np.array([[[0, 1, -100]]]), np.full((1, 1, 3), 5.0), cells=(1, 1)
    ... ).tolist()
    [[[0.5, 0.5, 0.0]]]
    """
    return mean_error_of_regions(
        misclassified(input, target, ignore_index=ignore_index),
        target != ignore_index,
        target_depth,
        depth_mask=depth_mask,
        **regions,
    )


def labels_of_pixel(target: Array, pixel: Pixel, task: str, ignore_index: int = -100) -> list[int]:
    """The labels of a pixel that count: a class, or a flag of each valid channel; [] if ignored.

    ``target`` is that of the task: classes ``(B, *S)`` or their probabilities ``(B, C, *S)``, one
    flag ``(B, 1, *S)``, or flags ``(B, C, *S)``, with -1 for a channel that is ignored.

    >>> labels_of_pixel(np.array([[[[1]], [[255]]]]), (0, 0, 0), "multilabel", 255)
    [1, -1]
    """
    if task == "multiclass" and target.ndim == len(pixel):
        label = int(target[pixel])
        return [] if label == ignore_index else [label]
    entries = [float(target[at_class(pixel, j)]) for j in range(target.shape[1])]
    if task == "multiclass":
        return [entries.index(max(entries))] if math.fsum(entries) != 0.0 else []
    flags = [-1 if entry == ignore_index else int(entry) for entry in entries]
    return flags if any(flag >= 0 for flag in flags) else []


def pixel_error(
    logits: Array, target: Array, task: str, error: str, ignore_index: int = -100
) -> Float:
    """The error ``(B, *S)`` that Z averages under a task; 0 where the pixel is ignored.

    ``error`` is ``"misclassified"``, ``"probability"`` (1 less that of the truth) or ``"loss"``.

    >>> scores, flags = np.array([[[[2.0]], [[-1.0]]]]), np.array([[[[1]], [[1]]]])
    >>> pixel_error(scores, flags, "multilabel", "misclassified").tolist()
    [[[0.5]]]
    """
    shape = (logits.shape[0], *logits.shape[2:])
    result = np.zeros(shape)
    for pixel in pixels(shape):
        truth = labels_of_pixel(target, pixel, task, ignore_index)
        if not truth:
            continue
        scores = [float(logits[at_class(pixel, j)]) for j in range(logits.shape[1])]
        if task == "multiclass":
            logs = log_softmax(scores)
            wrong = [float(scores.index(max(scores)) != truth[0])]
            log_p = [logs[truth[0]]]
            losses = [-log_p[0]]
            if target.ndim == logits.ndim:
                shares = [float(target[at_class(pixel, j)]) for j in range(len(scores))]
                losses = [-math.fsum(p * log for p, log in zip(shares, logs, strict=True))]
        else:
            valid = [(x, flag > 0) for x, flag in zip(scores, truth, strict=True) if flag >= 0]
            wrong = [float((x > 0) != flag) for x, flag in valid]
            losses = [
                math.log1p(math.exp(-abs(x))) + max(-x if flag else x, 0) for x, flag in valid
            ]
            log_p = [-loss for loss in losses]
        improbable = [1.0 - math.exp(log) for log in log_p]
        errors = {"misclassified": wrong, "probability": improbable, "loss": losses}[error]
        result[pixel] = math.fsum(errors) / len(errors)
    return result


def mean_error_of_regions(
    errors: Array,
    labelled: Array,
    target_depth: Array,
    *,
    depth_mask: Array | None = None,
    relative: bool = False,
    **regions: Any,
) -> Float:
    """The mean error of each region over its pixels in V_y and V_d, given to all of them.

    With ``relative`` means are divided by the largest of their image, as for ``error="loss"``.
    ``regions`` are the options of `depth_aware_regions`.

    >>> errors, depth = np.array([[[4.0, 2.0, 1.0]]]), np.array([[[5.0, 5.0, 25.0]]])
    >>> mean_error_of_regions(
    ...     errors, np.ones((1, 1, 3), bool), depth, cells=(1, 1), relative=True
    ... ).round(3).tolist()
    [[[1.0, 1.0, 0.333]]]
    """
    target_depth = with_channel(target_depth, labelled)
    depth_mask = None if depth_mask is None else with_channel(depth_mask, labelled)
    known = depth_pixels(target_depth, depth_mask)
    members: dict[Region, list[Pixel]] = {}
    for pixel, region in depth_aware_regions(target_depth, **regions).items():
        if known[pixel] and labelled[pixel]:
            members.setdefault(region, []).append(pixel)
    means = {
        region: math.fsum(float(errors[pixel]) for pixel in inside) / len(inside)
        for region, inside in members.items()
    }
    result = np.zeros(labelled.shape)
    for region, inside in members.items():
        mean = means[region]
        if relative:
            largest = max(other for at, other in means.items() if at[0] == region[0])
            mean = mean / largest if largest else 0.0
        for pixel in inside:
            result[pixel] = mean
    return result
