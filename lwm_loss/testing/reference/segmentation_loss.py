"""Eq. 1: the segmentation loss, pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .pixel_sets import Array, Float, at_class, pixels


def log_softmax(scores: Sequence[float]) -> list[float]:
    """``log p_j`` of one pixel from its scores.

    >>> log_softmax([0.0, 0.0]) == [-math.log(2.0)] * 2
    True
    """
    highest = max(scores)
    log_sum = highest + math.log(math.fsum(math.exp(score - highest) for score in scores))
    return [score - log_sum for score in scores]


def cross_entropy(
    logits: Array,
    target: Array,
    *,
    ignore_index: int = -100,
    class_weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> Float:
    """Eq. 1 before the mean: ``-log p`` of the true class at each labelled pixel, 0 elsewhere.

    Class weights and label smoothing are torch's: with smoothing ``s`` the one-hot label becomes
    ``(1 - s) y + s / c``, and each class's term is multiplied by its weight.

    >>> cross_entropy(np.zeros((1, 2, 1, 2)), np.array([[[1, -100]]])).round(6).tolist()
    [[[0.693147, 0.0]]]
    """
    classes = logits.shape[1]
    weight = [1.0] * classes if class_weight is None else list(class_weight)
    loss = np.zeros(target.shape)
    for pixel in pixels(target.shape):
        label = int(target[pixel])
        if label == ignore_index:
            continue
        log_p = log_softmax([float(logits[at_class(pixel, j)]) for j in range(classes)])
        for j in range(classes):
            y = (1.0 - label_smoothing) * (j == label) + label_smoothing / classes
            if y != 0.0:
                loss[pixel] -= weight[j] * y * log_p[j]
    return loss
