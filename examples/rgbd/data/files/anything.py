"""Files of the many kinds that people's own folders hold: pictures, TIFF and numpy arrays.

The readers of the known layouts (`images`) are stricter: there a file of another kind is a sign
that something else is wrong. Here ``dataset.json`` has said what the numbers mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.files.arrays import load_array
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import FORMATS, decode, orientation_of, read_bytes, read_image

IMAGE_ENDINGS = (
    ".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".npy",
)  # fmt: skip


def read_any_image(path: Path) -> NDArray[np.uint8]:
    """Read a colour image: what Pillow reads, or an array (H, W, 3) of uint8 or of 0..1.

    Raises:
        DataError: one sentence that names the file.
    """
    if path.suffix.lower() != ".npy":
        return read_image(path, FORMATS)
    array = load_array(path, "an image")
    if array.ndim != 3 or array.shape[2] != 3:
        raise DataError(f"Expected an image (H, W, 3) in {path}, but got shape {array.shape}.")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array, dtype=np.uint8)
    if (
        array.dtype.kind == "f"
        and np.isfinite(array).all()
        and 0 <= array.min() <= array.max() <= 1
    ):
        scaled: NDArray[np.uint8] = np.rint(array * np.float64(255)).astype(np.uint8)
        return scaled
    raise DataError(
        f"Expected an image of uint8, or of numbers from 0 to 1, in {path}, but got {array.dtype} "
        f"from {array.min():.4g} to {array.max():.4g}."
    )


def read_numbers(path: Path, kind: str, whole: bool = False) -> NDArray[Any]:
    """Read one number for each pixel, as it is stored.

    Args:
        path: a PNG, TIFF, BMP or PGM of one channel (of a palette picture the indices are taken), or
            a ``.npy`` array (H, W) or (H, W, 1).
        kind: for the message.
        whole: only whole numbers will do, as for labels.

    Returns:
        (H, W), integers or floating-point numbers in the machine's own order of bytes.

    Raises:
        DataError: one sentence that names the file.
    """
    if path.suffix.lower() == ".npy":
        array = load_array(path, kind)
        if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
            array = array[0] if array.shape[0] == 1 else array[..., 0]
    else:
        array = _read_picture(path, kind)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise DataError(
            f"Expected {kind} of one number a pixel in {path}, but got {array.dtype} of shape "
            f"{array.shape}: is it a coloured copy?"
        )
    if whole and array.dtype.kind == "f":
        if not (np.isfinite(array).all() and (array == np.floor(array)).all()):
            raise DataError(
                f"Expected {kind} of whole numbers in {path}, but got fractions: is it depth, or a "
                "network's scores?"
            )
        array = array.astype(np.int64)
    # In this machine's order of bytes: what compares the dtype with 16 bits need not know of others.
    return array.astype(
        np.uint8 if array.dtype.kind == "b" else array.dtype.newbyteorder("="), copy=False
    )


def _read_picture(path: Path, kind: str) -> NDArray[Any]:
    content = read_bytes(path, kind)
    if content.startswith(b"\xff\xd8"):
        raise DataError(
            f"Expected {kind} as a PNG, TIFF or .npy in {path}, but got a JPEG: its compression "
            "alters numbers."
        )
    image = decode(content, path, kind, formats=("PNG", "TIFF", "BMP", "PPM"))
    if orientation_of(image) != 1:
        raise DataError(
            f"Expected {kind} as it is stored in {path}, but its EXIF data ask for it to be "
            "turned: was it saved by a photo program?"
        )
    if content.startswith(b"\x89PNG") and image.mode in ("L", "1") and content[24] < 8:
        raise DataError(  # the decoder would stretch them to 0..255
            f"Expected {kind} of 8 or 16 bits in {path}, but got {content[24]}, which stand for "
            "shades of grey: did a program that makes files smaller rewrite it?"
        )
    if image.mode not in ("L", "P") and not image.mode.startswith(("I", "F")):
        raise DataError(
            f"Expected {kind} of one channel in {path}, but got mode {image.mode}: is it a "
            "coloured copy?"
        )
    array = np.array(image)
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # which have no more than 16 bits
        array = array.astype(np.uint16)
    return array
