"""Damaged files by the thousand: each is refused in one sentence, or read as what it holds."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from examples.rgbd.data.files.arrays import read_array
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import read_depth_png, read_image, read_indices
from examples.rgbd.data.files.matlab import load_mat, load_numbers
from tests.examples.layout_writers import refusal, scene

READERS = {"image": read_image, "label": read_indices, "depth": read_depth_png}


def encoded(kind: str) -> bytes:
    image, label, depth = scene(9)
    stream = io.BytesIO()
    array = {"image": image, "label": label, "depth": depth, "jpeg": image}[kind]
    Image.fromarray(array).save(stream, "JPEG" if kind == "jpeg" else "PNG")
    return stream.getvalue()


def attempt(kind: str, content: bytes, path: Path) -> np.ndarray | None:
    """Read; None where the file was refused properly. Anything but a `DataError` fails the test."""
    path.unlink(missing_ok=True)  # overwriting would wait for the disk each time
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return READERS[kind](path)
        except DataError as error:
            message = str(error)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 600
    return None


@pytest.mark.slow
def test_three_thousand_damaged_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "file"
    whole = {kind: encoded(kind) for kind in ("image", "label", "depth", "jpeg")}
    refused = 0
    for trial in range(3000):
        kind = ("image", "label", "depth")[trial % 3]
        source = ("image", "label", "depth", "jpeg")[rng.integers(4)]
        good = whole[source]
        how = rng.integers(5)
        if how == 0:
            content = rng.bytes(int(rng.integers(0, 400)))
        elif how == 1:
            content = good[: int(rng.integers(0, len(good)))]
        elif how == 2:
            content = bytearray(good)
            for place in rng.integers(0, len(good), int(rng.integers(1, 6))):
                content[place] = int(rng.integers(256))
            content = bytes(content)
        elif how == 3:
            content = good[:8] + rng.bytes(int(rng.integers(0, 300)))
        else:
            cut, gap = np.sort(rng.integers(0, len(good), 2))
            content = good[:cut] + good[gap:]
        read = attempt(kind, content, path)
        refused += read is None
        # What was read from a damaged PNG is what was in it, bit for bit: its sums protect it.
        if read is not None and source == kind:
            np.testing.assert_array_equal(read, scene(9)[("image", "label", "depth").index(kind)])
    assert refused > 2000


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    content=st.binary(max_size=200),
    start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"]),
)
def test_random_bytes(tmp_path: Path, content: bytes, start: bytes) -> None:
    for kind in READERS:
        assert attempt(kind, start + content, tmp_path / "file") is None


def test_unusual_pictures_are_read_as_what_they_show(tmp_path: Path) -> None:
    image = scene(2)[0]
    grey = image[..., 0]
    path = tmp_path / "x.png"
    Image.fromarray(grey).save(path)
    np.testing.assert_array_equal(read_image(path), np.stack([grey] * 3, -1))
    Image.fromarray(np.dstack([image, grey])).save(path)
    np.testing.assert_array_equal(read_image(path), image)
    few = Image.fromarray(image).quantize(16)
    few.save(path)
    np.testing.assert_array_equal(read_image(path), np.asarray(few.convert("RGB")))
    Image.fromarray(np.full((64, 64, 3), (200, 30, 40), np.uint8)).convert("CMYK").save(
        tmp_path / "x.jpg"
    )
    assert np.abs(read_image(tmp_path / "x.jpg").astype(int) - (200, 30, 40)).max() < 12
    palette = Image.fromarray(grey % 16)
    palette.putpalette([v for k in range(16) for v in (k * 3 % 256, 255 - k, 7 * k)])
    palette.save(path)  # as SA-Gate's coloured labels: the indices count
    np.testing.assert_array_equal(read_indices(path), grey % 16)


def photo(height: int = 120, width: int = 160) -> np.ndarray:
    """Smooth shapes, as a JPEG is made for."""
    down, across = np.mgrid[:height, :width] / 20
    planes = [np.sin(down + k) * np.cos(across * (k + 1)) for k in range(3)]
    noise = np.random.default_rng(3).normal(0, 4, (height, width, 3))
    return (128 + 90 * np.stack(planes, -1) + noise).clip(0, 255).astype(np.uint8)


DAMAGE: dict[str, Callable[[bytes, int], bytes]] = {
    "zeros": lambda b, at: b[:at] + bytes(256) + b[at + 256 :],
    "a part is missing": lambda b, at: b[:at] + b[at + 256 :],
    "noise": lambda b, at: b[:at] + bytes(k * 37 % 251 for k in range(256)) + b[at + 256 :],
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_that_is_damaged_in_its_middle_is_named(
    tmp_path: Path, how: str, options: dict
) -> None:
    """Pillow reads it without a word, and what it gives is another picture."""
    path = tmp_path / "photo.jpg"
    Image.fromarray(photo()).save(path, quality=90, **options)
    content = path.read_bytes()
    path.write_bytes(DAMAGE[how](content, len(content) // 2))
    assert (np.asarray(Image.open(path)) != photo()).any()
    refusal(lambda: read_image(path), str(path), "JPEG", "damaged")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"quality": 100, "subsampling": 0},
        {"quality": 30, "subsampling": 1},  # CMYK: a sampling that not every decoder knows
        {"restart_marker_blocks": 2},
    ],
    ids=str,
)
def test_a_whole_jpeg_is_read_to_the_pixel_as_pillow_reads_it(
    tmp_path: Path, mode: str, options: dict
) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(photo(47, 61)).convert(mode).save(path, **options)
    np.testing.assert_array_equal(read_image(path), np.asarray(Image.open(path).convert("RGB")))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that announces any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [8_000, 12_000, 60_000])
def test_a_picture_that_announces_too_much_is_not_unpacked(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(side, side))
    refusal(lambda: read_image(path), str(path), "50,000,000 pixels")


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM"])
def test_formats_that_no_layout_has_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(scene(2)[0]).save(path, kind)
    for name, read in READERS.items():
        reason = "neither a PNG nor a JPEG" if name == "image" else "not a PNG"
        refusal(lambda read=read: read(path), str(path), reason)


# --- arrays --------------------------------------------------------------------------------


def array_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def mat_bytes(compress: bool = False, **variables: object) -> bytes:
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables, do_compression=compress)
    return stream.getvalue()


def damage(rng: np.random.Generator, good: bytes, how: int) -> bytes:
    if how == 0:
        return rng.bytes(int(rng.integers(0, 400)))
    if how == 1:
        return good[: int(rng.integers(0, len(good)))]
    if how == 2:
        return good[: int(rng.integers(6, 160))] + rng.bytes(300)
    changed = bytearray(good)
    for place in rng.integers(0, min(len(good), 300), int(rng.integers(1, 6))):
        changed[place] = int(rng.integers(256))
    return bytes(changed)


LABEL = np.random.default_rng(3).integers(0, 41, (12, 16)).astype(np.uint8)
ARRAYS: dict[str, tuple[bytes, Callable[[Path], object]]] = {
    "npy": (array_bytes(LABEL / np.float32(7)), lambda path: read_array(path, "depth")),
    "mat": (
        mat_bytes(segmentation=LABEL, other="x"),
        lambda path: load_numbers(path, "segmentation"),
    ),
    "compressed mat": (
        mat_bytes(True, segmentation=LABEL, other="x"),
        lambda path: load_numbers(path, "segmentation"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ARRAYS)
def test_damaged_arrays(tmp_path: Path, kind: str) -> None:
    good, read = ARRAYS[kind]
    rng = np.random.default_rng(1)
    path = tmp_path / "file"
    messages = []
    for trial in range(800):
        path.unlink(missing_ok=True)
        path.write_bytes(damage(rng, good, trial % 4))
        try:
            read(path)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 500
    assert all(str(path) in message and "\n" not in message for message in messages)


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    array=hnp.arrays(
        st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]),
        st.tuples(st.integers(1, 7), st.integers(1, 7)),
        elements=st.integers(0, 120),
    ),
    texts=st.lists(st.text("abc/_ \u00e9", min_size=1, max_size=9), min_size=1, max_size=5),
    compress=st.booleans(),
)
def test_matlab_variables_are_those_that_were_written(
    tmp_path: Path, array: np.ndarray, texts: list[str], compress: bool
) -> None:
    cell = np.empty((1, len(texts)), object)
    cell[0] = texts
    path = tmp_path / "x.mat"
    path.write_bytes(mat_bytes(compress, first={"a": 1}, numbers=array, cell=cell, last=texts[0]))
    read = load_mat(path, "numbers")
    np.testing.assert_array_equal(read, array)
    assert load_mat(path, "cell") == texts
    assert load_mat(path, "last") == texts[0]
    np.testing.assert_array_equal(load_numbers(path, "numbers"), array)
    refusal(lambda: load_mat(path, "first"), str(path), "class 2")
    refusal(lambda: load_mat(path, "none"), str(path), "not there")


def test_complex_numbers_and_unchecked_compression_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    path.write_bytes(mat_bytes(numbers=np.array([[1 + 2j, 3]])))
    refusal(lambda: load_mat(path, "numbers"), str(path), "neither numbers")
    whole = mat_bytes(True, numbers=LABEL)
    kind, size = struct.unpack_from("<II", whole, 128)
    short = size - 2  # into the checksum that ends the compressed data
    path.write_bytes(whole[:128] + struct.pack("<II", kind, short) + whole[136 : 136 + short])
    refusal(lambda: load_mat(path, "numbers"), str(path), "incomplete")
