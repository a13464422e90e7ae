"""Eqs. 4, 5 and 9: the weighted loss, side outputs, and the whole objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .depth_error import log_depth_mse
from .pixel_sets import Array, Float, labelled_count, pixels, with_channel
from .segmentation_loss import cross_entropy
from .weighting import Mining, curriculum_filter, loss_weight


def weighted_loss(
    weight: Array,
    loss: Array,
    target: Array,
    *,
    ignore_index: int = -100,
    normalizer: float | None = None,
    class_weight: Sequence[float] | None = None,
) -> float:
    """Eq. 4: ``sum(M * loss) / n`` over V_y; 0 for an empty V_y.

    n is the caller's, or V_y's size, with class weights the sum of those of its labels.

    >>> weighted_loss(np.array([[[2.0, 1.0]]]), np.array([[[3.0, 5.0]]]), np.array([[[0, -100]]]))
    6.0
    """
    inside = [pixel for pixel in pixels(target.shape) if int(target[pixel]) != ignore_index]
    total = math.fsum(float(weight[pixel]) * float(loss[pixel]) for pixel in inside)
    if normalizer is None and class_weight is not None:
        normalizer = math.fsum(class_weight[int(target[pixel])] for pixel in inside)
    elif normalizer is None:
        normalizer = float(labelled_count(target, ignore_index))
    return total / (normalizer or 1.0)


def upsample(logits: Array, size: Sequence[int]) -> Float:
    """Linear interpolation, ``align_corners=False``: output i samples ``(i + 1/2) in / out - 1/2``.

    >>> upsample(np.array([[[[0.0, 4.0]]]]), (1, 4)).tolist()
    [[[[0.0, 1.0, 3.0, 4.0]]]]
    """
    resized = logits.astype(np.float64)
    for axis, outside in enumerate(size, start=2):  # each axis by itself, for they are separable
        inside, slices = resized.shape[axis], []
        for i in range(outside):
            source = max((i + 0.5) * inside / outside - 0.5, 0.0)
            below = min(math.floor(source), inside - 1)
            above, share = min(below + 1, inside - 1), source - below
            slices.append(
                (1.0 - share) * resized.take(below, axis) + share * resized.take(above, axis)
            )
        resized = np.stack(slices, axis)
    return resized


def resize_nearest(values: Array, size: Sequence[int]) -> Array:
    """A per-pixel map ``(B, *S)`` at another size: output i takes input ``floor(i * in / out)``.

    >>> resize_nearest(np.array([[[1, 2, 3, 4, 5]]]), (1, 2)).tolist()
    [[[1, 3]]]
    """
    for axis, outside in enumerate(size, start=1):
        inside = values.shape[axis]
        values = values.take([i * inside // outside for i in range(outside)], axis)
    return values


class Terms(NamedTuple):
    """The terms of Eqs. 5 and 9; ``sides`` before beta, ``weight`` as it was applied to L_h."""

    total: float
    segmentation: float
    depth: float
    hard: float
    sides: tuple[float, ...]
    weight: Float


def total_loss(
    logits: Array,
    target: Array,
    pred_depth: Array,
    target_depth: Array,
    side_logits: Sequence[Array] = (),
    *,
    alpha: float = 1.0,
    beta: float = 0.1,
    mining: Mining | None = None,
    progress: float = 1.0,
    resize: str = "logits",
    depth_mask: Array | None = None,
    class_weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    normalizer: float | None = None,
    depth_normalizer: float | None = None,
) -> Terms:
    """Eq. 9, L_T; from ``progress = e / E >= 1`` on it is Eq. 5, L_HPM.

    A side output is compared at the target's size (``resize="logits"``) or at its own size with
    the nearest label and depths (``resize="target"``).

    >>> one, zeros = np.ones((1, 1, 1)), np.zeros((1, 2, 1, 1))
    >>> terms = total_loss(zeros, np.array([[[1]]]), one, one, [zeros])
    >>> round(terms.segmentation, 4), terms.depth, round(terms.hard, 4), round(terms.total, 4)
    (0.6931, 1.0, 1.3863, 3.2181)
    """
    mining = mining or Mining()
    classes: dict[str, Any] = {"ignore_index": mining.ignore_index, "class_weight": class_weight}
    if depth_mask is None:
        depth_mask = np.ones(target.shape, bool)
    depths = [with_channel(each, target) for each in (pred_depth, target_depth, depth_mask)]
    maps = [target, *(depth[:, 0] for depth in depths)]

    def weighted(weight: Array, scores: Array, labels: Array) -> float:
        loss = cross_entropy(scores, labels, label_smoothing=label_smoothing, **classes)
        return weighted_loss(weight, loss, labels, normalizer=normalizer, **classes)

    def mined(scores: Array) -> tuple[float, Float]:
        labels, predicted, true, mask = (resize_nearest(each, scores.shape[2:]) for each in maps)
        weight = loss_weight(scores, labels, predicted, true, mining, depth_mask=mask).weight
        kept = curriculum_filter(weight, progress, labels != mining.ignore_index)
        return weighted(kept, scores, labels), kept

    l_s = weighted(np.ones(target.shape), logits, target)
    predicted, true, mask = depths
    l_d = log_depth_mse(
        predicted,
        true,
        log_input=mining.log_input,
        depth_mask=mask,
        normalizer=depth_normalizer,
    )
    l_h, kept = mined(logits)
    l_hk = [
        mined(upsample(side, target.shape[1:]) if resize == "logits" else side)[0]
        for side in side_logits
    ]
    total = l_s + l_d + alpha * l_h + beta * math.fsum(l_hk)
    return Terms(total, l_s, l_d, l_h, tuple(l_hk), kept)
