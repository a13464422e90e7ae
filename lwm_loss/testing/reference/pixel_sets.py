"""Where pixels are, and which have a label or a depth: V_y and V_d."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]
Pixel = tuple[int, ...]


def pixels(size: Sequence[int]) -> Iterator[Pixel]:
    """Every pixel position of an image of this size, in reading order.

    >>> list(pixels((1, 2)))
    [(0, 0), (0, 1)]
    """
    return itertools.product(*(range(extent) for extent in size))


def pixels_of(image: int, shape: Sequence[int]) -> Iterator[Pixel]:
    """Every position of one image in maps of shape ``(B, *S)``.

    >>> list(pixels_of(3, (5, 1, 2)))
    [(3, 0, 0), (3, 0, 1)]
    """
    return ((image, *pixel) for pixel in pixels(shape[1:]))


def at_class(pixel: Pixel, j: int) -> Pixel:
    """Where logits ``(B, C, *S)`` hold the score of class j for a position of ``(B, *S)``.

    >>> at_class((3, 0, 1), 2)
    (3, 2, 0, 1)
    """
    return (pixel[0], j, *pixel[1:])


def labelled_pixels(image: int, target: Array, ignore_index: int) -> list[Pixel]:
    """The pixels of one image in V_y.

    >>> labelled_pixels(0, np.array([[[4, -100]]]), -100)
    [(0, 0, 0)]
    """
    return [p for p in pixels_of(image, target.shape) if int(target[p]) != ignore_index]


def labelled_count(target: Array, ignore_index: int = -100) -> int:
    """The n of Eqs. 1, 4 and 8: the labelled pixels of the batch.

    >>> labelled_count(np.array([[[0, 3, -100]]]))
    2
    """
    return sum(int(target[pixel]) != ignore_index for pixel in pixels(target.shape))


def without_channel(depth: Array) -> Array:
    """A depth map ``(B, 1, *S)`` as ``(B, *S)``; four axes, the second of one, are such a map.

    >>> without_channel(np.ones((2, 1, 4, 5))).shape, without_channel(np.ones((2, 3, 4, 5))).shape
    ((2, 4, 5), (2, 3, 4, 5))
    """
    return depth[:, 0] if depth.ndim >= 4 and depth.shape[1] == 1 else depth


def with_channel(depth: Array, target: Array) -> Array:
    """A depth map with its channel ``(B, 1, *S)``, whichever way it came.

    Beside labels even a volume of one slice, ``(B, 1, H, W)``, is told from an image and channel.

    >>> labels = np.zeros((2, 1, 4, 5), dtype=int)
    >>> with_channel(np.ones((2, 1, 4, 5)), labels).shape
    (2, 1, 1, 4, 5)
    """
    return depth[:, None] if depth.ndim == target.ndim else depth


def has_depth(depth: float, allowed: bool = True) -> bool:
    """Whether a pixel belongs to V_d: finite positive target depth inside the caller's mask.

    >>> [has_depth(depth) for depth in (2.0, 0.0, -1.0, math.nan, math.inf)]
    [True, False, False, False, False]
    """
    return allowed and math.isfinite(depth) and depth > 0.0


def depth_pixels(target_depth: Array, depth_mask: Array | None = None) -> npt.NDArray[np.bool_]:
    """V_d as a map of booleans, ``(B, *S)``.

    >>> depth_pixels(np.array([[[3.0, 0.0, np.nan]]])).tolist()
    [[[True, False, False]]]
    """
    depth = without_channel(target_depth)
    mask = None if depth_mask is None else without_channel(depth_mask)
    valid = np.zeros(depth.shape, dtype=np.bool_)
    for pixel in pixels(depth.shape):
        valid[pixel] = has_depth(float(depth[pixel]), mask is None or bool(mask[pixel]))
    return valid
