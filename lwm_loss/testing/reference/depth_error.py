"""Eq. 2 and section III-B1: the depth loss, and the depth prediction error R."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .pixel_sets import Array, Float, depth_pixels, has_depth, pixels, pixels_of, without_channel


def rescale_depth(
    depth: Array, near: float, far: float, depth_range: tuple[float, float] = (1.0, 256.0)
) -> Float:
    """Metres, linearly from ``[near, far]`` to the levels of D* and clamped; missing ones as 0.

    >>> rescale_depth(np.array([0.5, 5.5, 99.0, 0.0, np.nan]), near=0.5, far=10.5).tolist()
    [1.0, 128.5, 256.0, 0.0, 0.0]
    """
    low, high = depth_range
    levels = np.zeros(depth.shape)
    for pixel in pixels(depth.shape):
        metres = float(depth[pixel])
        if has_depth(metres):
            level = low + (metres - near) / (far - near) * (high - low)
            levels[pixel] = min(max(level, low), high)
    return levels


def log_depth_error(
    pred_depth: Array,
    target_depth: Array,
    *,
    log_input: bool = True,
    depth_mask: Array | None = None,
) -> Float:
    """``log D - log D*`` on V_d and 0 elsewhere: R_i of Eq. 2, with its sign.

    >>> log_depth_error(np.array([[[1.0, 1.0]]]), np.array([[[1.0, 0.0]]])).tolist()
    [[[1.0, 0.0]]]
    """
    predicted, depth = without_channel(pred_depth), without_channel(target_depth)
    valid = depth_pixels(target_depth, depth_mask)
    error = np.zeros(depth.shape)
    for pixel in pixels(depth.shape):
        if valid[pixel]:
            value = float(predicted[pixel])
            log_d = value if log_input else math.log(value)
            error[pixel] = log_d - math.log(float(depth[pixel]))
    return error


def log_depth_mse(
    pred_depth: Array, target_depth: Array, *, normalizer: float | None = None, **options: Any
) -> float:
    """Eq. 2: the mean over V_d of the squared log-depth error; 0 where no pixel has depth.

    ``options`` are those of `log_depth_error`.

    >>> log_depth_mse(np.array([[[2.0, 7.0]]]), np.array([[[1.0, 0.0]]]))
    4.0
    """
    error = log_depth_error(pred_depth, target_depth, **options)
    total = math.fsum(float(error[pixel]) ** 2 for pixel in pixels(error.shape))
    count = int(depth_pixels(target_depth, options.get("depth_mask")).sum())
    return total / (normalizer if normalizer is not None else max(count, 1))


def depth_prediction_error(
    pred_depth: Array, target_depth: Array, *, normalize: bool = True, **options: Any
) -> Float:
    """R = ``|log D - log D*|`` on V_d, divided by its maximum within each image; 0 outside V_d.

    A NaN in the prediction makes the maximum NaN, and with it the image's whole map on V_d.
    ``options`` are those of `log_depth_error`.

    >>> log_d, depth = np.array([[[1.0, 2.0, 9.0]]]), np.array([[[1.0, 1.0, 0.0]]])
    >>> depth_prediction_error(log_d, depth).tolist()
    [[[0.5, 1.0, 0.0]]]
    """
    signed = log_depth_error(pred_depth, target_depth, **options)
    valid = depth_pixels(target_depth, options.get("depth_mask"))
    dpe = np.zeros(signed.shape)
    for image in range(signed.shape[0]):
        peak = 0.0
        for pixel in pixels_of(image, signed.shape):
            error = abs(float(signed[pixel]))
            dpe[pixel] = error
            if error > peak or math.isnan(error):
                peak = error
        if normalize and peak != 0.0:
            for pixel in pixels_of(image, signed.shape):
                if valid[pixel]:
                    dpe[pixel] /= peak
    return dpe
