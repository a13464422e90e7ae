"""Section III-B3 and Eqs. 6 to 8: the fusion of R and Z into M, and what of M an epoch keeps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .depth_error import depth_prediction_error
from .pixel_sets import Array, Float, pixels, pixels_of, with_channel
from .segmentation_error import Cells, depth_aware_segmentation_error

FUSIONS: dict[str, Callable[[float, float], float]] = {
    "sum": lambda r, z: r + z,
    "product": lambda r, z: r * z,
    "max": lambda r, z: r if math.isnan(r) else max(r, z),
    "dpe": lambda r, z: r,
    "dse": lambda r, z: z,
}


def fuse(dpe: Array, dse: Array, mode: str = "sum") -> Float:
    """M = F(R, Z) pixel by pixel: ``"sum"``, ``"product"``, ``"max"``, or one map alone.

    >>> fuse(np.array([[[0.5]]]), np.array([[[0.25]]]), "product").tolist()
    [[[0.125]]]
    """
    fused = np.zeros(dpe.shape)
    for pixel in pixels(dpe.shape):
        fused[pixel] = FUSIONS[mode](float(dpe[pixel]), float(dse[pixel]))
    return fused


class Mining(NamedTuple):
    """The settings of the loss weight module."""

    cells: Cells = (8, 8)
    bin_size: float = 10.0
    depth_range: tuple[float, float] = (1.0, 256.0)
    fusion: str = "sum"
    ignore_index: int = -100
    log_input: bool = True


class Maps(NamedTuple):
    """R, Z and M, each ``(B, *S)``."""

    dpe: Float
    dse: Float
    weight: Float


def loss_weight(
    input: Array,
    target: Array,
    pred_depth: Array,
    target_depth: Array,
    mining: Mining | None = None,
    *,
    depth_mask: Array | None = None,
) -> Maps:
    """The loss weight module: R and Z, and M = F(R, Z) on V_y, 0 elsewhere.

    >>> one = np.ones((1, 1, 2))
    >>> loss_weight(np.zeros((1, 2, 1, 2)), np.array([[[1, -100]]]), one, one).weight.tolist()
    [[[2.0, 0.0]]]
    """
    mining = mining or Mining()
    dpe = depth_prediction_error(
        with_channel(pred_depth, target),
        with_channel(target_depth, target),
        log_input=mining.log_input,
        depth_mask=None if depth_mask is None else with_channel(depth_mask, target),
    )
    dse = depth_aware_segmentation_error(
        input,
        target,
        target_depth,
        cells=mining.cells,
        bin_size=mining.bin_size,
        depth_range=mining.depth_range,
        ignore_index=mining.ignore_index,
        depth_mask=depth_mask,
    )
    weight = fuse(dpe, dse, mining.fusion)
    weight[target == mining.ignore_index] = 0.0
    return Maps(dpe, dse, weight)


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
