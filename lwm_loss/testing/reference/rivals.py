"""Table IV: the rivals, as loss weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .pixel_sets import Array, Float, labelled_pixels, pixels
from .segmentation_loss import cross_entropy


def true_class_probability(logits: Array, target: Array, ignore_index: int = -100) -> Float:
    """Probability of the true class at each labelled pixel, 1 elsewhere.

    >>> true_class_probability(np.zeros((1, 4, 1, 1)), np.array([[[2]]])).tolist()
    [[[0.25]]]
    """
    probability: Float = np.exp(-cross_entropy(logits, target, ignore_index=ignore_index))
    return probability


def ohem_weight(
    logits: Array,
    target: Array,
    threshold: float = 0.7,
    min_kept: int = 10_000,
    ignore_index: int = -100,
) -> Float:
    """Online hard example mining: 1 where the true class is improbable, 0 elsewhere.

    That is ``p_true < threshold``, or among the image's ``min_kept`` lowest, ties included.

    >>> logits = np.array([[[[0.0, 5.0, 9.0]], [[0.0, 0.0, 0.0]]]])
    >>> ohem_weight(logits, np.zeros((1, 1, 3), dtype=int), min_kept=2).tolist()
    [[[1.0, 1.0, 0.0]]]
    """
    probability = true_class_probability(logits, target, ignore_index)
    weight = np.zeros(target.shape)
    for image in range(target.shape[0]):
        inside = labelled_pixels(image, target, ignore_index)
        for pixel in inside:
            lower = sum(probability[other] < probability[pixel] for other in inside)
            weight[pixel] = float(probability[pixel] < threshold or lower < min_kept)
    return weight


def focal_weight(
    logits: Array, target: Array, gamma: float = 2.0, ignore_index: int = -100
) -> Float:
    """Focal loss as a weight: ``(1 - p_true) ** gamma`` on V_y, 0 elsewhere.

    >>> focal_weight(np.zeros((1, 2, 1, 1)), np.array([[[0]]])).tolist()
    [[[0.25]]]
    """
    probability = true_class_probability(logits, target, ignore_index)
    weight = np.zeros(target.shape)
    for pixel in pixels(target.shape):
        if int(target[pixel]) != ignore_index:
            weight[pixel] = (1.0 - float(probability[pixel])) ** gamma
    return weight


def loss_max_pooling(losses: Sequence[float], ratio: float = 0.3, p: float = 1.7) -> list[float]:
    """Loss max-pooling of one image (Rota Bulo et al., CVPR 2017).

    The weights w that maximise ``sum(w * losses)`` under ``norm_p(w) <= n ** (-1 / q)`` and
    ``max(w) <= tau``, with ``tau = n ** (-1 / q) * m ** (-1 / p)`` and m supporting pixels.

    >>> [round(w, 6) for w in loss_max_pooling([1.0, 2.0, 3.0], ratio=1.0)]
    [0.333333, 0.333333, 0.333333]
    """
    n = len(losses)
    q = p / (p - 1.0)
    m = max(ratio * n, 1.0)
    tau = n ** (-1.0 / q) * m ** (-1.0 / p)
    ascending = sorted(range(n), key=lambda i: losses[i])
    below, level, running = 0, 0.0, 0.0
    for i, index in enumerate(ascending, start=1):
        running += losses[index] ** q
        c = m - n + i
        if c > 0.0 and c * losses[index] ** q <= running:
            below, level = i, (running / c) ** (1.0 / q)
    weight = [tau] * n
    for index in ascending[:below]:
        # A loss of zero at level zero gains nothing from weight; zero keeps the norm's constraint.
        weight[index] = tau * (losses[index] / level) ** (q - 1.0) if level > 0.0 else 0.0
    return weight


def loss_max_pooling_weight(
    logits: Array, target: Array, ratio: float = 0.3, p: float = 1.7, ignore_index: int = -100
) -> Float:
    """Loss max-pooling on the cross-entropy, times each image's labelled pixels; 0 outside V_y.

    Eq. 4 then gives the mean over images, weighted by their labelled pixels.

    >>> loss_max_pooling_weight(np.zeros((1, 2, 1, 1)), np.array([[[0]]])).tolist()
    [[[1.0]]]
    """
    loss = cross_entropy(logits, target, ignore_index=ignore_index)
    weight = np.zeros(target.shape)
    for image in range(target.shape[0]):
        inside = labelled_pixels(image, target, ignore_index)
        if inside:
            pooled = loss_max_pooling([float(loss[pixel]) for pixel in inside], ratio, p)
            for pixel, value in zip(inside, pooled, strict=True):
                weight[pixel] = len(inside) * value
    return weight
