"""What `verify` looks at in a single frame."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.dataset import Files, FrameSource
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.frame import void_of

POSES = ("as it is", "mirrored", "upside down", "turned by 180 degrees")
TOO_NEAR = 0.3
"""Metres; hardly anything in a room is nearer to the camera."""
_STRIDE = 2
_FRAME = 8  # pixels at the border (after striding) that are left out: the white frame of NYUDv2
_ROUNDING = 1e-6  # of far: what a depth in steps may exceed it by in float32
_FEWEST = 300  # border pixels of labels below which nothing can be told


@dataclass(frozen=True)
class FrameFacts:
    """Facts about one frame.

    Attributes:
        name: the frame.
        files: where it lies.
        size: (height, width).
        histogram: int64 (C + 1,), pixels of each class and, last, of void.
        rows: float64 (C + 1,), sum of the relative row (0 top, 1 bottom) over pixels of each value.
        depth: least, median and greatest depth in metres; NaN where there is none.
        missing: share of pixels without depth.
        near: share of the pixels with depth that are nearer than `TOO_NEAR`.
        outside: share of the pixels with depth that lie outside the data set's near and far.
        recession: how much farther the lowest quarter of the frame is than the second from above,
            in mean log-depth. It is below 0 where a floor or a table leads towards the camera.
        image_fit: how well label borders lie on edges of the image, in each of `POSES`; None
            where there are too few borders.
        depth_fit: the same for edges of the depth.
        digest: of the image's pixels.
    """

    name: str
    files: Files
    size: tuple[int, int]
    histogram: NDArray[np.int64]
    rows: NDArray[np.float64]
    depth: tuple[float, float, float]
    missing: float
    near: float
    outside: float
    recession: float
    image_fit: tuple[float, ...] | None
    depth_fit: tuple[float, ...] | None
    digest: bytes


def frame_facts(dataset: FrameSource, index: int) -> FrameFacts | str:
    """The facts, or the sentence that says why the frame cannot be read."""
    try:
        sample = dataset[index]
        files = dataset.files(index)
    except DataError as error:
        return str(error)
    label = sample.label
    height, width = label.shape
    count = len(dataset.classes)
    places = np.where(label == void_of(label), count, label).ravel()
    histogram = np.bincount(places, minlength=count + 1)
    place = (np.arange(height) + 0.5) / height
    weights = np.broadcast_to(place[:, None], label.shape).ravel()
    seen = sample.depth[sample.depth > 0]
    grey = sample.image.astype(np.float32).mean(-1)
    middle = float(np.median(seen)) if seen.size else 1.0
    log_depth = np.log(np.where(sample.depth > 0, sample.depth, middle))
    near, far = dataset.depth_limits
    rounding = _ROUNDING * far
    outside = (seen < near - rounding) | (seen > far + rounding)
    quarter = -(-height // 4)
    return FrameFacts(
        name=sample.name,
        files=files,
        size=(height, width),
        histogram=histogram,
        rows=np.bincount(places, weights, minlength=count + 1).astype(np.float64),
        depth=(float(seen.min()), middle, float(seen.max())) if seen.size else (math.nan,) * 3,
        missing=1 - seen.size / label.size,
        near=float((seen < TOO_NEAR).mean()) if seen.size else 0.0,
        outside=float(outside.mean()) if seen.size else 0.0,
        recession=float(log_depth[-quarter:].mean() - log_depth[height // 4 :][:quarter].mean()),
        image_fit=fit(grey, label),
        depth_fit=fit(log_depth, label),
        digest=hashlib.blake2b(sample.image.tobytes(), digest_size=16).digest(),
    )


def _steps(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Absolute differences to the right and down, cut at their 95th percentile, in [0, 1]."""
    right = np.abs(np.diff(values, axis=1))[:-1]
    down = np.abs(np.diff(values, axis=0))[:, :-1]
    cut = [np.maximum(np.quantile(step, 0.95), 1e-6) for step in (right, down)]
    return np.minimum(right / cut[0], 1), np.minimum(down / cut[1], 1)


def _borders(label: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the label changes to the right and down, one pixel to either side included."""
    right = (label[:, 1:] != label[:, :-1])[:-1]
    down = (label[1:] != label[:-1])[:, :-1]
    right = right | np.roll(right, 1, 1) | np.roll(right, -1, 1)
    down = down | np.roll(down, 1, 0) | np.roll(down, -1, 0)
    for border in (right, down):
        border[:_FRAME] = border[-_FRAME:] = False
        border[:, :_FRAME] = border[:, -_FRAME:] = False
    return right, down


def fit(values: NDArray[np.float32], label: NDArray[Any]) -> tuple[float, ...] | None:
    """Mean strength of edges below the borders of the labels, for each way to turn the labels.

    Args:
        values: float (H, W), grey values or log-depth.
        label: uint8 or uint16 (H, W).

    Returns:
        One number in [0, 1] for each of `POSES`, or None where there are too few borders.
    """
    values, label = values[::_STRIDE, ::_STRIDE], label[::_STRIDE, ::_STRIDE]
    if min(label.shape) <= 3 * _FRAME or (label == void_of(label)).all():
        return None
    right, down = _steps(values)
    fits = []
    for turned in (label, label[:, ::-1], label[::-1], label[::-1, ::-1]):
        border_right, border_down = _borders(turned)
        count = np.count_nonzero(border_right) + np.count_nonzero(border_down)
        if count < _FEWEST:
            return None
        fits.append(float((right[border_right].sum() + down[border_down].sum()) / count))
    return tuple(fits)
