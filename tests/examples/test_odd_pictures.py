"""Pictures that other programs write: read as what they hold, or refused; never stretched or cut."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.rgbd.data.files.anything import read_any_image, read_numbers
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import (
    FORMATS,
    picture_size,
    read_depth_png,
    read_image,
    read_indices,
)
from examples.rgbd.data.files.units import to_metres
from tests.examples.layout_writers import refusal

READERS = {"image": read_image, "label": read_indices, "depth": read_depth_png}
REFUSED = None
GREY, RGB, PALETTE, GREY_ALPHA = 0, 2, 3, 4
ADAM7 = ["0::8,0::8", "0::8,4::8", "4::8,0::4", "0::4,2::4", "2::4,0::2", "0::2,1::2", "1::2,0::1"]


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def scanlines(array: np.ndarray, bits: int) -> bytes:
    """Rows (H, W) or (H, W, C) as a PNG packs them, each behind the number of its filter."""
    flat = array.reshape(len(array), -1)
    if bits == 16:
        packed = [row.astype(">u2").tobytes() for row in flat]
    else:
        digits = np.unpackbits(flat.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
        packed = [np.packbits(row).tobytes() for row in digits.reshape(len(array), -1)]
    return b"".join(b"\0" + row for row in packed)


def png(
    array: np.ndarray,
    bits: int = 8,
    colour: int = GREY,
    *,
    interlaced: bool = False,
    missing: int = 0,
    palette: np.ndarray | None = None,
) -> bytes:
    """A PNG with right checksums, whose pixels may end some bytes too early."""
    height, width = array.shape[:2]
    parts = [array]
    if interlaced:
        cut = [[slice(*(int(n) if n else None for n in axis.split(":"))) for axis in spot.split(",")]
               for spot in ADAM7]  # fmt: skip
        parts = [part for rows, columns in cut if (part := array[rows, columns]).size]
    pixels = b"".join(scanlines(part, bits) for part in parts)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            b"" if palette is None else chunk(b"PLTE", palette.tobytes()),
            chunk(b"IDAT", zlib.compress(pixels[: len(pixels) - missing])),
            chunk(b"IEND", b""),
        ]
    )


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """What a viewer shows: where EXIF says the first row and the first column of the picture lie."""
    swapped = array.swapaxes(0, 1) if orientation >= 5 else array
    down, across = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1),
                    7: (-1, -1), 8: (-1, 1)}[orientation]  # fmt: skip
    return swapped[::down, ::across]


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


Case = tuple[str, str, bytes, "np.ndarray | None", int]


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """(name, reader, content, what must be read or REFUSED, by how much it may differ)."""
    height, width = (int(n) for n in rng.integers(3, 21, 2))
    size = (height, width)
    rgb = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    smooth = np.stack([np.add.outer(3 * np.arange(height), 2 * np.arange(width) + 40 * k)
                       for k in range(3)], -1).astype(np.uint8)  # fmt: skip
    label = rng.integers(0, 41, size, dtype=np.uint8)
    depth = rng.integers(1, 9999, size).astype(np.uint16)
    colours = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    grey = rgb[..., 0]
    stacked = np.stack([grey] * 3, -1)

    for name, reader, array, bits, colour in (
        ("image", "image", rgb, 8, RGB),
        ("label", "label", label, 8, GREY),
        ("depth", "depth", depth, 16, GREY),
    ):
        yield f"{name}", reader, png(array, bits, colour), array, 0
        yield f"interlaced {name}", reader, png(array, bits, colour, interlaced=True), array, 0
        row = array[0].size * bits // 8 + 1
        missing = int(rng.integers(row, row * height + 1))
        yield (
            f"rows missing in {name}",
            reader,
            png(array, bits, colour, missing=missing),
            REFUSED,
            0,
        )
        last = array[1::2].size * bits // 8
        short = png(array, bits, colour, interlaced=True, missing=int(rng.integers(1, last)))
        yield f"pass missing in {name}", reader, short, REFUSED, 0
        black = png(np.zeros_like(array), bits, colour)
        yield f"black {name}", reader, black, np.zeros_like(array), 0
    yield "grey", "image", png(grey), stacked, 0
    yield "black and white", "image", png(grey >> 7, 1), np.where(stacked > 127, 255, 0), 0
    yield "4-bit grey", "image", png(grey >> 4, 4), (stacked >> 4) * 17, 0
    yield "16-bit grey", "image", png(depth, 16), REFUSED, 0
    yield "16-bit colour", "image", png(rgb * np.uint16(257), 16, RGB), rgb, 0
    yield "grey and alpha", "image", png(np.dstack([grey, grey]), 8, GREY_ALPHA), stacked, 0
    yield "colour and alpha", "image", saved(Image.fromarray(np.dstack([rgb, grey])), "PNG"), rgb, 0
    yield "palette", "image", png(label, 8, PALETTE, palette=colours), colours[label], 0
    yield "palette of labels", "label", png(label, 8, PALETTE, palette=colours), label, 0
    for bits in (1, 2, 4):
        few = label % (1 << bits)
        yield f"{bits}-bit label", "label", png(few, bits), REFUSED, 0
        palette = colours[: 1 << bits]
        yield f"{bits}-bit palette", "label", png(few, bits, PALETTE, palette=palette), few, 0
    yield "16-bit label", "label", png(label.astype(np.uint16), 16), REFUSED, 0
    yield "label as JPEG", "label", saved(Image.fromarray(label), "JPEG"), REFUSED, 0
    yield "label and alpha", "label", png(np.dstack([label, label]), 8, GREY_ALPHA), REFUSED, 0
    yield "8-bit depth", "depth", png(grey), REFUSED, 0
    yield "depth as JPEG", "depth", saved(Image.fromarray(grey), "JPEG"), REFUSED, 0
    alpha = np.dstack([depth, depth])
    yield "depth and alpha", "depth", png(alpha, 16, GREY_ALPHA), REFUSED, 0
    fine = {"quality": 97, "subsampling": 0}
    yield "JPEG", "image", saved(Image.fromarray(smooth), "JPEG", **fine), smooth, 8
    step = saved(Image.fromarray(smooth), "JPEG", progressive=True, **fine)
    yield "progressive JPEG", "image", step, smooth, 8
    whole = saved(Image.fromarray(smooth), "JPEG", **fine)
    cut = int(rng.integers(2, len(whole) - 2))
    yield "truncated JPEG", "image", whole[:cut], REFUSED, 0
    yield "JPEG with an end of zeros", "image", whole[:cut] + bytes(len(whole) - cut), REFUSED, 0
    ink = rng.integers(0, 256, 4)
    print_colour = np.broadcast_to((255 - ink[:3]) * (255 - ink[3]) / 255, (*size, 3))
    cmyk = Image.new("CMYK", (width, height), tuple(int(n) for n in ink))
    yield "CMYK", "image", saved(cmyk, "JPEG", **fine), print_colour, 10
    value = int(rng.integers(1, 9))
    tagged = saved(Image.fromarray(smooth), "JPEG", exif=orientation(value), **fine)
    yield f"JPEG turned by EXIF {value}", "image", tagged, turned(smooth, value), 8
    tagged = saved(Image.fromarray(rgb), "PNG", exif=orientation(value))
    yield f"PNG turned by EXIF {value}", "image", tagged, turned(rgb, value), 0
    value = int(rng.integers(2, 9))
    tagged = saved(Image.fromarray(label), "PNG", exif=orientation(value))
    yield f"label turned by EXIF {value}", "label", tagged, REFUSED, 0


@pytest.mark.parametrize("seed", range(12))
def test_a_picture_is_read_as_what_it_holds_or_refused(tmp_path: Path, seed: int) -> None:
    for place, case in enumerate(cases(np.random.default_rng(seed))):
        name, reader, content, wanted, tolerance = case
        path = tmp_path / f"{place}.png"
        path.write_bytes(content)
        if wanted is REFUSED:
            refusal(lambda path=path, reader=reader: READERS[reader](path), str(path))
            continue
        try:
            read = READERS[reader](path)
        except DataError as error:
            pytest.fail(f"{name}: {error}")
        assert read.shape == wanted.shape, name
        assert np.abs(read.astype(float) - wanted).max() <= tolerance, name


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_of_any_size_that_ends_too_early_is_refused(tmp_path: Path, interlaced: bool) -> None:
    """By a byte, and by a row: small ones have passes without a pixel, or a pixel wide."""
    rng = np.random.default_rng(0)
    path = tmp_path / "x.png"
    for height, width in itertools.product(range(1, 10), repeat=2):
        label = rng.integers(0, 41, (height, width), dtype=np.uint8)
        path.write_bytes(png(label, interlaced=interlaced))
        np.testing.assert_array_equal(read_indices(path), label)
        last = max(width // 2, 1) if interlaced and height == 1 else width
        for missing in (1, 1 + last):
            path.write_bytes(png(label, interlaced=interlaced, missing=missing))
            refusal(lambda: read_indices(path), str(path))


@pytest.mark.parametrize("kind", [*FORMATS, "MPO"])
@pytest.mark.parametrize("orientation_tag", [1, 6, 7])
def test_a_folder_of_ones_own_may_hold_pictures_of_every_kind(
    tmp_path: Path, kind: str, orientation_tag: int
) -> None:
    """Pillow is asked for one kind after the other; none may stand in the way of the next."""
    array = np.random.default_rng(0).integers(0, 256, (11, 17, 3), dtype=np.uint8)
    options: dict = {"WEBP": {"lossless": True}, "MPO": {"save_all": True}}.get(kind, {})
    if orientation_tag != 1 and kind not in ("BMP", "PPM", "GIF"):  # which have no EXIF data
        options["exif"] = orientation(orientation_tag)
        array_seen = turned(array, orientation_tag)
    else:
        array_seen = array
    (tmp_path / "x").write_bytes(saved(Image.fromarray(array), kind, **options))
    read = read_any_image(tmp_path / "x")
    assert read.shape == array_seen.shape
    assert picture_size(tmp_path / "x") == array_seen.shape[:2]
    if kind not in ("JPEG", "MPO"):
        np.testing.assert_array_equal(read, array_seen)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "big-endian TIFF", "PPM", "npy", "big-endian npy"])
def test_sixteen_bits_are_the_same_numbers_from_every_kind_of_file(
    tmp_path: Path, kind: str
) -> None:
    numbers = np.random.default_rng(0).integers(1, 65535, (11, 17)).astype(np.uint16)
    numbers[0, 0] = 65535  # a hole, if these are millimetres
    path = tmp_path / ("x.npy" if "npy" in kind else "x")
    swapped = numbers.astype(">u2")
    if "npy" in kind:
        np.save(path, swapped if "big" in kind else numbers)
    elif "big" in kind:
        picture = Image.frombytes("I;16B", (17, 11), swapped.tobytes())
        path.write_bytes(saved(picture, "TIFF"))
    else:
        path.write_bytes(saved(Image.fromarray(numbers), kind))
    stored = read_numbers(path, "a depth map")
    np.testing.assert_array_equal(stored, numbers)
    metres = to_metres(stored, 0.001, path, plausible=None)
    expected = np.where(numbers == 65535, 0, numbers / 1000)
    np.testing.assert_allclose(metres, expected, rtol=1e-6)
