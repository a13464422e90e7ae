"""Reading pictures of colour, labels and depth, with one clear sentence where it cannot be done.

Nothing here guesses. A file that is not what its place in the layout says is refused, because a
label map or a depth unit that is read wrongly ruins a training run without a word.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from examples.rgbd.data.files.errors import DataError
from examples.rgbd.reason import reason_of

MAX_PIXELS = 50_000_000
"""Larger pictures are refused before they are decompressed."""

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "PPM", "GIF")
"""What Pillow reads of the pictures that people keep; MPO, of two lenses, is among its JPEGs."""

_COLOUR_MODES = {"RGB", "RGBA", "1", "L", "LA", "P", "PA", "CMYK", "YCbCr"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8"
_CORRUPT = ("Corrupt JPEG data", "Premature end")  # how libjpeg's warnings begin
_GREY = 0  # colour type in the header of a PNG
_CHANNELS = {_GREY: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# First column and row, and steps, of each pass over the pixels.
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip


class _Header(NamedTuple):
    """The header of a PNG, as it lies at byte 16."""

    width: int
    height: int
    bits: int
    colour: int
    compression: int
    filtering: int
    interlaced: int

    @classmethod
    def of(cls, content: bytes) -> _Header:
        return cls(*struct.unpack_from(">IIBBBBB", content, 16))


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


def _pixel_chunks(content: bytes) -> list[bytes]:
    """The compressed pixels of a PNG, after a check of every chunk's sum: the decoder does not."""
    place = len(_PNG_SIGNATURE)
    pixels = []
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
        if kind == b"IDAT":
            pixels.append(content[place + 8 : end])
        if kind == b"IEND":
            return pixels
        place = end + 4


def _check_complete(header: _Header, pixels: list[bytes]) -> None:
    """Unpack the pixels of a PNG and see that none is missing."""
    expected = 0
    for left, top, across, down in _ADAM7 if header.interlaced else _WHOLE:
        columns = -(-(header.width - left) // across)
        rows = -(-(header.height - top) // down)
        if columns > 0 and rows > 0:
            bits = columns * _CHANNELS[header.colour] * header.bits
            expected += rows * (1 + -(-bits // 8))
    if len(zlib.decompressobj().decompress(b"".join(pixels), expected)) < expected:
        raise OSError("the PNG has too few pixels")


def _decode_jpeg(image: Image.Image, content: bytes) -> Image.Image:
    """The same picture, decoded by a reader that does not hide what libjpeg warns of.

    Pillow is silent where the compressed pixels end too early, hold a code that does not exist or
    go on behind the last block: libjpeg fills up with grey, or paints what comes out.

    Raises:
        OSError: libjpeg calls the data corrupt.
    """
    space = {"L": "GRAY", "RGB": "RGB"}.get(image.mode, "CMYK")
    try:
        pixels = simplejpeg.decode_jpeg(content, space, strict=True)
    except ValueError as error:
        if any(sign in str(error) for sign in _CORRUPT):
            raise OSError(str(error)) from None
        return image  # a kind of JPEG that it does not know, and Pillow may
    if space == "CMYK":  # Pillow turns it the right way round by itself
        return image
    decoded = Image.fromarray(pixels[..., 0] if space == "GRAY" else pixels)
    decoded.info = image.info  # the EXIF data
    return decoded


def decode(
    content: bytes, path: Path, kind: str, formats: tuple[str, ...] = ("PNG", "JPEG")
) -> Image.Image:
    """Decode a PNG or JPEG that lies in memory; `path` is for messages only.

    Raises:
        DataError: if it is neither, is damaged or truncated, or has more than `MAX_PIXELS` pixels.
    """
    try:
        pixels = _pixel_chunks(content) if content.startswith(_PNG_SIGNATURE) else []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(io.BytesIO(content), formats=formats)
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"Expected {kind} of at most {MAX_PIXELS:,} pixels in {path}, but got "
                    f"{image.width} x {image.height}."
                )
            if content.startswith(_JPEG_SIGNATURE):
                image = _decode_jpeg(image, content)
            image.load()
            image.getexif()
        if pixels:
            # The decoder leaves rows that are missing black. To unpack every picture a second
            # time would cost half as much again, so only those that end in black are.
            header = _Header.of(content)
            last = image.crop((0, image.height - 1, image.width, image.height))
            if header.interlaced or not np.asarray(last).any():
                _check_complete(header, pixels)
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(
            f"Expected {kind} of at most {MAX_PIXELS:,} pixels in {path}, but its header "
            "announces far more: is the file damaged?"
        ) from None
    # A damaged file may raise nearly anything: OSError, SyntaxError, struct.error, zlib.error, ...
    except Exception as error:
        reason = reason_of(error)
        if isinstance(error, UnidentifiedImageError):
            reason = {
                ("PNG",): "it is not a PNG",
                ("PNG", "JPEG"): "it is neither a PNG nor a JPEG",
            }.get(formats, "it is none of " + ", ".join(formats))
        raise DataError(
            f"Expected {kind} in {path}, but it cannot be decoded ({reason}): is the file damaged "
            "or truncated?"
        ) from None
    return image


def _read_numbers(path: Path, kind: str) -> tuple[Image.Image, _Header]:
    """A picture whose pixels are numbers: a PNG, since a JPEG would alter them."""
    content = read_bytes(path, kind)
    if content.startswith(_JPEG_SIGNATURE):
        raise DataError(
            f"Expected {kind} as a PNG in {path}, but got a JPEG: its compression alters numbers."
        )
    image = decode(content, path, kind, formats=("PNG",))
    if orientation_of(image) != 1:
        raise DataError(
            f"Expected {kind} as it is stored in {path}, but its EXIF data ask for it to be "
            "turned: was it saved by a photo program?"
        )
    return image, _Header.of(content)


def orientation_of(image: Image.Image) -> int:
    """How EXIF data ask for a picture to be turned, 1 (not at all) to 8."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return int(image.getexif().get(ExifTags.Base.Orientation, 1) or 1)


def orientation(path: Path) -> int:
    """The same of a file, 1 where it cannot be read or is no picture."""
    try:
        with path.open("rb") as stream:
            head = stream.read(2**16)
            # A PNG has to be read to its end for them; hardly any has them.
            if head.startswith(_PNG_SIGNATURE) and b"eXIf" not in head:
                return 1
            stream.seek(0)
            with Image.open(stream, formats=FORMATS) as image:
                return orientation_of(image)
    except Exception:  # what is wrong with the file is said where it is read
        return 1


def picture_size(path: Path) -> tuple[int, int]:
    """(height, width) as the picture is to be seen; only its header is read.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                turned = image.format == "TIFF"  # which Pillow turns by itself
    except Exception as error:
        reason = reason_of(error)
        raise DataError(f"Expected an image in {path}, but it cannot be read ({reason}).") from None
    return (width, height) if not turned and orientation(path) > 4 else (height, width)


def read_image(path: Path, formats: tuple[str, ...] = ("PNG", "JPEG")) -> NDArray[np.uint8]:
    """Read a colour picture.

    Grey, palette, CMYK and transparent pictures are converted; 16-bit grey ones are refused.
    A picture that EXIF data tell to turn is turned, as every viewer and OpenCV do.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        DataError: one sentence that names the file.
    """
    image = decode(read_bytes(path, "an image"), path, "an image", formats)
    if image.mode not in _COLOUR_MODES:
        raise DataError(
            f"Expected an 8-bit colour image in {path}, but got mode {image.mode}: is it a depth "
            "map?"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def read_indices(path: Path) -> NDArray[np.uint8]:
    """Read a picture of class numbers as they are stored, 8 bits each.

    Returns:
        uint8 (H, W); of a palette picture the indices, not the colours.

    Raises:
        DataError: one sentence that names the file.
    """
    image, header = _read_numbers(path, "a label map")
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
    if header.colour == _GREY and header.bits < 8:
        raise DataError(  # the decoder would stretch them to 0..255
            f"Expected a label map of 8 bits in {path}, but got {header.bits}, which stand for "
            "shades of grey: did a program that makes files smaller rewrite it?"
        )
    return np.array(image)


def read_depth_png(path: Path) -> NDArray[np.uint16]:
    """Read the raw 16-bit numbers of a depth picture.

    Raises:
        DataError: one sentence that names the file; for 8-bit depth it says why that is useless.
    """
    image, _ = _read_numbers(path, "a depth map")
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
