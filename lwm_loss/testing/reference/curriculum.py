"""Eqs. 6 to 8: which weights an epoch keeps."""

from __future__ import annotations

import numpy as np

from .pixel_sets import Array, Float, pixels, pixels_of


def curriculum_threshold(weight_map: Array, progress: float, mask: Array | None = None) -> Float:
    """eta_e of each image: ``u1 + e / E (u2 - u1)``, u1 the lower median of M and u2 its maximum.

    Both are taken over the mask (V_y); an image without a pixel in it has threshold 0.

    >>> curriculum_threshold(np.array([[[0.0, 1.0, 2.0, 6.0]]]), 0.5).tolist()
    [3.5]
    """
    thresholds = np.zeros(weight_map.shape[0])
    for image in range(weight_map.shape[0]):
        inside = sorted(
            float(weight_map[pixel])
            for pixel in pixels_of(image, weight_map.shape)
            if mask is None or mask[pixel]
        )
        if inside:
            u1, u2 = inside[(len(inside) - 1) // 2], inside[-1]
            thresholds[image] = u1 + progress * (u2 - u1)
    return thresholds


def curriculum_filter(weight_map: Array, progress: float, mask: Array | None = None) -> Float:
    """Eq. 8: M where ``M < eta_e`` (strictly) and 0 elsewhere; all of M from ``e >= E`` on.

    >>> curriculum_filter(np.array([[[0.0, 1.0, 2.0, 6.0]]]), 0.5).tolist()
    [[[0.0, 1.0, 2.0, 0.0]]]
    """
    threshold = curriculum_threshold(weight_map, progress, mask)
    kept = np.zeros(weight_map.shape)
    for pixel in pixels(weight_map.shape):
        value = float(weight_map[pixel])
        if progress >= 1.0 or value < threshold[pixel[0]]:
            kept[pixel] = value
    return kept
