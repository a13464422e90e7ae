"""Reading pictures of colour, labels and depth, with one clear sentence where it cannot be done.

Nothing here guesses. A file that is not what its place in the layout says is refused, because a
label map or a depth unit that is read wrongly ruins a training run without a word.
"""

from __future__ import annotations

import io
import warnings
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from examples.rgbd.data.errors import DataError

MAX_PIXELS = 50_000_000
"""Larger pictures are refused before they are decompressed."""

_COLOUR_MODES = {"RGB", "RGBA", "L", "LA", "P", "PA", "CMYK", "YCbCr"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_bytes(path: Path, kind: str) -> bytes:
    """The content of a file that has to be there and must not be empty.

    Raises:
        DataError: if it cannot be read or is empty.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"Expected {kind} at {path}, but there is no such file: is the folder incomplete, or "
            "in another layout?"
        ) from None
    except OSError as error:
        raise DataError(
            f"Expected {kind} at {path}, but reading failed: {error.strerror}."
        ) from None
    if not content:
        raise DataError(
            f"Expected {kind} in {path}, but the file is empty (0 bytes): was a copy interrupted?"
        )
    return content


def _check_png(content: bytes) -> None:
    """Check every chunk's sum: the decoder does not, and would return altered pixels."""
    place = len(_PNG_SIGNATURE)
    while True:
        length = int.from_bytes(content[place : place + 4], "big")
        end = place + 8 + length
        if end + 4 > len(content):
            raise OSError("the PNG ends before its IEND chunk")
        kind = content[place + 4 : place + 8]
        if zlib.crc32(content[place + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            raise OSError(
                f"the checksum of the PNG's {kind.decode('ascii', 'replace')} chunk is wrong"
            )
        if kind == b"IEND":
            return
        place = end + 4


def decode(content: bytes, path: Path, kind: str) -> Image.Image:
    """Decode a PNG or JPEG that lies in memory; `path` is for messages only.

    Raises:
        DataError: if it is neither, is damaged or truncated, or has more than `MAX_PIXELS` pixels.
    """
    try:
        if content.startswith(_PNG_SIGNATURE):
            _check_png(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"Expected {kind} of at most {MAX_PIXELS:,} pixels in {path}, but got "
                    f"{image.width} x {image.height}."
                )
            image.load()
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(
            f"Expected {kind} of at most {MAX_PIXELS:,} pixels in {path}, but its header "
            "announces far more: is the file damaged?"
        ) from None
    # A damaged file may raise nearly anything: OSError, SyntaxError, struct.error, zlib.error, ...
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "it is neither a PNG nor a JPEG"
        raise DataError(
            f"Expected {kind} in {path}, but it cannot be decoded ({reason}): is the file damaged "
            "or truncated?"
        ) from None
    return image


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read a colour picture.

    Grey, palette, CMYK and transparent pictures are converted; 16-bit ones are refused.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        DataError: one sentence that names the file.
    """
    image = decode(read_bytes(path, "an image"), path, "an image")
    if image.mode not in _COLOUR_MODES:
        raise DataError(
            f"Expected an 8-bit colour image in {path}, but got mode {image.mode}: is it a depth "
            "map?"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.array(image.convert("RGB"))


def read_indices(path: Path) -> NDArray[np.uint8]:
    """Read a picture of class numbers as they are stored, 8 bits each.

    Returns:
        uint8 (H, W); of a palette picture the indices, not the colours.

    Raises:
        DataError: one sentence that names the file.
    """
    image = decode(read_bytes(path, "a label map"), path, "a label map")
    if image.mode not in ("L", "P"):
        likely = (
            "are these the 894 original classes?"
            if image.mode.startswith("I")
            else "is it the coloured copy of the labels?"
        )
        raise DataError(
            f"Expected a label map of one 8-bit channel in {path}, but got mode {image.mode}: "
            f"{likely}"
        )
    return np.array(image)


def read_depth_png(path: Path) -> NDArray[np.uint16]:
    """Read the raw 16-bit numbers of a depth picture.

    Raises:
        DataError: one sentence that names the file; for 8-bit depth it says why that is useless.
    """
    image = decode(read_bytes(path, "a depth map"), path, "a depth map")
    if image.mode in ("L", "P"):
        raise DataError(
            f"Expected 16-bit depth in {path}, but got 8 bits: depth stretched to 0..255 for each "
            "image, as DFormer's data has it, is not metric and cannot be turned back into metres."
        )
    if not image.mode.startswith("I"):
        raise DataError(
            f"Expected depth of one 16-bit channel in {path}, but got mode {image.mode}: is it a "
            "colour or HHA coded copy?"
        )
    return np.array(image).astype(np.uint16)
