"""From the numbers in a file to classes and metres."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.files.errors import DataError

if TYPE_CHECKING:
    from examples.rgbd.data.dataset import Files

Classes = Any
"""NDArray[np.uint8] with up to 255 classes, NDArray[np.uint16] with more."""
MILLIMETRE = 0.001  # in metres
INDOOR = (0.1, 30.0)
"""Metres between which the farthest point of a room lies; one read in the wrong unit does not."""
_STEPS = (1000, 256, 100, 10)  # millimetres; as KITTI; centimetres; decimetres
_HOLE = 65535  # of 16 bits: what a sensor or a program writes where it saw nothing


def to_classes(
    stored: NDArray[np.integer],
    classes: int,
    first: int,
    path: Path | str,
    voids: Sequence[int] | None = None,
) -> Classes:
    """Turn stored label numbers into classes 0 .. C-1 and the dtype's largest number for void.

    Args:
        stored: label numbers, any integer dtype.
        classes: how many there are, C.
        first: the number that stands for class 0.
        path: for the message.
        voids: the numbers that stand for void. By default 0 if `first` is 1, and 255 if it is 0.

    Returns:
        uint8 with up to 255 classes, else uint16.

    Raises:
        DataError: if a number is none of them. Where 0 means void, a 255 is rejected too: it shows
            that the labels were already shifted to start at 0.
    """
    dtype: type[np.uint8] | type[np.uint16] = np.uint8 if classes <= 255 else np.uint16
    void = int(np.iinfo(dtype).max)
    voids = ((0,) if first else (255,)) if voids is None else voids
    low, top = int(stored.min(initial=0)), int(stored.max(initial=0))
    # The table is as wide as the numbers need, so that 894 classes never wrap around 256.
    below = max(-min(low, *voids, 0), 0)
    if below > 2**16 or top > 2**20:
        wrong = low if below > 2**16 else top
        raise DataError(_unknown(wrong, classes, first, voids, path))
    table = np.full(below + max(top, first + classes - 1, *voids, 0) + 1, -1, np.int32)
    table[below + first : below + first + classes] = np.arange(classes)
    for number in voids:
        table[below + number] = void
    result = table[stored.astype(np.int64) + below]
    if (result < 0).any():
        wrong = low if low < 0 else int(stored[result < 0].max())
        raise DataError(_unknown(wrong, classes, first, voids, path))
    classes_of: Classes = result.astype(dtype)
    return classes_of


def _unknown(wrong: int, classes: int, first: int, voids: Sequence[int], path: Path | str) -> str:
    likely = "is this another set of classes, or another layout?"
    if first and wrong == 255:
        likely = f"are these already 0..{classes - 1} with 255 for void?"
    elif not first and wrong == classes:
        likely = f"are these 1..{classes} with 0 for void?"
    void = ", ".join(map(str, voids)) or "no number"
    return (
        f"Expected labels {first}..{first + classes - 1} and {void} for void in {path}, but found "
        f"{wrong}: {likely}"
    )


def missing_at(stored: NDArray[Any], numbers: Sequence[float]) -> NDArray[np.bool_]:
    """Where there is no depth: not finite, negative, or one of the numbers."""
    missing: NDArray[np.bool_] = ~np.isfinite(stored)
    if stored.dtype.kind != "u":
        missing |= stored < 0
    for number in numbers:
        missing |= stored == number
    return missing


def steps_per_metre(far: float) -> int:
    """Steps to a metre with which 16 bits hold depth up to `far` metres: 1000 if they can."""
    return next((steps for steps in _STEPS if far * steps < _HOLE), 1)


def to_sixteen_bits(depth: NDArray[np.float32], steps: float) -> NDArray[np.uint16]:
    """Depth as 16-bit numbers, `steps` to its unit; 0 stays 0, and 65535, a hole, is avoided."""
    stored: NDArray[np.uint16] = np.minimum(np.rint(depth * float(steps)), _HOLE - 1).astype(
        np.uint16
    )
    return stored


def to_metres(
    stored: NDArray[Any],
    unit: float,
    path: Path | str,
    missing: Sequence[float] = (),
    plausible: tuple[float, float] | None = INDOOR,
) -> NDArray[np.float32]:
    """Depth in metres, 0 where it is missing.

    Args:
        stored: depth (H, W) in units of `unit` metres. Not finite or not positive is missing, and
            so is 65535, the largest number of 16 bits.
        unit: metres to one stored step, such as 0.001.
        path: for the message.
        missing: further numbers that stand for no depth.
        plausible: metres between which the farthest point has to lie; None for any scene.

    Raises:
        DataError: the unit is evidently another one.
    """
    if stored.dtype == np.uint16:
        missing = (*missing, _HOLE)
    depth: NDArray[np.float32] = stored.astype(np.float32) * np.float32(unit)
    usable = ~missing_at(stored, missing) & (depth > 0) & np.isfinite(depth)
    if not usable.all():
        depth = np.where(usable, depth, np.float32(0))
    farthest = float(depth.max(initial=0))
    if plausible is not None and usable.any() and not plausible[0] <= farthest <= plausible[1]:
        raise DataError(
            f"Expected indoor depth of {plausible[0]} to {plausible[1]:.0f} m in {path}, but its "
            f"largest value comes to {farthest:.4g} m: is the depth stored in another unit?"
        )
    return depth


def check_sizes(
    image: NDArray[np.uint8],
    label: NDArray[np.generic],
    depth: NDArray[np.float32],
    files: Files,
) -> None:
    """Refuse label or depth whose size is not the image's.

    Raises:
        DataError: one sentence that names the file and, where it can be seen, the cause.
    """
    from examples.rgbd.data.files.images import orientation

    height, width = image.shape[:2]
    turned = orientation(files.image)
    if turned in (2, 3, 4) or (turned > 4 and height == width):
        raise DataError(
            f"Expected an image that is stored as it is to be seen in {files.image}, but its EXIF "
            f"data (orientation {turned}) ask for it to be turned, and it cannot be seen whether "
            "the label was made before or after that: store it as the label was made, without "
            "EXIF data."
        )
    for kind, array, path in (("labels", label, files.label), ("depth", depth, files.depth)):
        if array.shape != (height, width):
            got = " x ".join(str(extent) for extent in array.shape)
            likely = "do the files belong to the same frame?"
            if array.shape == (width, height) and turned > 4:
                likely = (
                    f"{files.image} carries EXIF data by which it is turned, and the {kind} fit it "
                    "as it is stored; remove its EXIF data, and leave the pixels as they are."
                )
            raise DataError(
                f"Expected {kind} of the image's size {height} x {width} in {path}, but got {got}: "
                f"{likely}"
            )
