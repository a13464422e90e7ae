"""From the numbers in a file to classes and metres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.frame import VOID

MILLIMETRE = 0.001  # in metres
_FARTHEST = 30.0  # metres; no room is that deep, but one read in the wrong unit is
_NEAREST = 0.1


def to_classes(
    stored: NDArray[np.integer], classes: int, first: int, path: Path | str
) -> NDArray[np.uint8]:
    """Turn stored label numbers into classes 0 .. C-1 and 255 for void.

    Args:
        stored: label numbers, any integer dtype.
        classes: how many there are, C.
        first: the number that stands for class 0. With 1, number 0 is void; with 0, 255 is.
        path: for the message.

    Raises:
        DataError: if a number is none of them. That 255 is none where 0 is void tells labels that
            someone has already counted from 0.
    """
    # The table is as wide as the dtype needs, so that 894 classes never wrap around 256.
    top = int(stored.max(initial=0))
    low = int(stored.min(initial=0))
    table = np.full(max(top, VOID) + 1, -1, np.int16)
    table[first : first + classes] = np.arange(classes)
    void = 0 if first else VOID
    table[void] = VOID
    result = table[stored] if low >= 0 else np.full(1, -1, np.int16)
    if (result < 0).any():
        wrong = low if low < 0 else int(stored[result < 0].max())
        likely = "is this another set of classes, or another layout?"
        if first and wrong == VOID:
            likely = f"are these already 0..{classes - 1} with 255 for void?"
        elif not first and wrong == classes:
            likely = f"are these 1..{classes} with 0 for void?"
        raise DataError(
            f"Expected labels {first}..{first + classes - 1} and {void} for void in {path}, but "
            f"found {wrong}: {likely}"
        )
    return result.astype(np.uint8)


def to_metres(stored: NDArray[np.generic], unit: float, path: Path | str) -> NDArray[np.float32]:
    """Depth in metres, 0 where it is missing.

    Args:
        stored: depth (H, W) in units of `unit` metres; not finite or not positive is missing.
        unit: metres to one stored step, such as 0.001.
        path: for the message.

    Raises:
        DataError: if no pixel has depth, or the unit is evidently another one.
    """
    depth: NDArray[np.float32] = stored.astype(np.float32) * np.float32(unit)
    usable = np.isfinite(depth) & (depth > 0)
    if not usable.any():
        raise DataError(
            f"Expected depth in {path}, but no pixel has any: all are zero or not finite."
        )
    if not usable.all():
        depth = np.where(usable, depth, np.float32(0))
    farthest = float(depth.max())
    if not _NEAREST <= farthest <= _FARTHEST:
        raise DataError(
            f"Expected indoor depth of {_NEAREST} to {_FARTHEST:.0f} m in {path}, but its largest "
            f"value comes to {farthest:.4g} m: is the depth stored in another unit?"
        )
    return depth


def check_sizes(
    image: NDArray[np.uint8],
    label: NDArray[np.uint8],
    depth: NDArray[np.float32],
    label_path: Path | str,
    depth_path: Path | str,
) -> None:
    """Refuse label or depth whose size is not the image's.

    Raises:
        DataError: one sentence that names the file.
    """
    height, width = image.shape[:2]
    for kind, array, path in (("labels", label, label_path), ("depth", depth, depth_path)):
        if array.shape != (height, width):
            got = " x ".join(str(extent) for extent in array.shape)
            raise DataError(
                f"Expected {kind} of the image's size {height} x {width} in {path}, but got {got}: "
                "do the files belong to the same frame?"
            )
