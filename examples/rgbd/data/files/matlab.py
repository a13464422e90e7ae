"""Reading variables of MATLAB files of version 5: arrays of numbers, and cells of text.

Ours rather than scipy's because a damaged file makes scipy's reader end the whole process: it
trusts every type and flag that it finds. This one reads only what the data sets hold, and checks
each number before it follows it. (Format: MathWorks, "MAT-File Format", level 5.)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import read_bytes

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _TEXT = 1, 4
_NUMBERS = range(6, 16)
_COMPLEX = 0x0800
_NUMBER_TYPES = {
    1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8",
    13: "<u8",
}  # fmt: skip
_TEXT_TYPES = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}
_LARGEST = 1 << 28  # bytes that a compressed variable may unpack to; label maps and lists are small


class _Element(NamedTuple):
    kind: int
    data: memoryview


def _elements(body: memoryview) -> Iterator[_Element]:
    """The data elements that follow one another in a file or in a matrix."""
    place = 0
    while place < len(body):
        if len(body) - place < 8:
            raise ValueError("it ends too early")
        kind, size = struct.unpack_from("<II", body, place)
        start = place + 8
        if kind >> 16:  # a small element: size and type share the first word, data is the second
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            if size > 4:
                raise ValueError("a small data element is too long")
        if start + size > len(body):
            raise ValueError("it ends too early")
        data = body[start : start + size]
        if kind == _COMPRESSED:
            unpack = zlib.decompressobj()
            inner = memoryview(unpack.decompress(data, _LARGEST))
            if not unpack.eof:
                raise ValueError("a compressed variable is incomplete or too large")
            yield from _elements(inner)
            place = start + size
        else:
            yield _Element(kind, data)
            place = start + size + -size % 8 if start == place + 8 else place + 8


def _numbers(element: _Element) -> NDArray[Any]:
    if element.kind not in _NUMBER_TYPES:
        raise ValueError(f"a data element has the type {element.kind}, which is no number")
    return np.frombuffer(element.data, _NUMBER_TYPES[element.kind])


def _matrix(element: _Element) -> tuple[str, int, tuple[int, ...], list[_Element]]:
    """Name, flags, shape and the remaining parts of a matrix."""
    parts = list(_elements(element.data))
    if len(parts) < 3:
        raise ValueError("a variable has no header")
    flags, shape = _numbers(parts[0]), _numbers(parts[1])
    if flags.size < 1 or shape.size < 2 or shape.min() < 0:
        raise ValueError("the header of a variable is damaged")
    name = bytes(parts[2].data).decode("latin-1")
    return name, int(flags[0]), tuple(int(extent) for extent in shape), parts[3:]


def _value(element: _Element) -> NDArray[Any] | str | list[Any]:
    if element.kind != _MATRIX:
        raise ValueError(f"a variable has the type {element.kind}")
    _, flags, shape, parts = _matrix(element)
    kind = flags & 0xFF
    if kind in _NUMBERS and not flags & _COMPLEX and len(parts) == 1:
        numbers = _numbers(parts[0])
        if numbers.size != np.prod(shape, dtype=object):
            raise ValueError(f"a variable of shape {shape} has {numbers.size} numbers")
        return numbers.reshape(shape, order="F")
    if kind == _TEXT and len(parts) == 1 and parts[0].kind in _TEXT_TYPES:
        return bytes(parts[0].data).decode(_TEXT_TYPES[parts[0].kind])
    if kind == _CELL:
        return [_value(part) for part in parts]
    raise ValueError(f"a variable has the class {kind}, which is neither numbers, text nor cells")


def load_mat(path: Path, key: str) -> NDArray[Any] | str | list[Any]:
    """Read one variable: an array of real numbers, a text, or a cell as a flat list of such.

    Raises:
        DataError: one sentence that names the file.
    """
    content = read_bytes(path, f"the variable {key!r}")
    try:
        if len(content) < _HEADER or content[124:128] != b"\0\1IM":
            raise ValueError("it has no header of version 5")
        for element in _elements(memoryview(content)[_HEADER:]):
            if element.kind == _MATRIX and _matrix(element)[0] == key:
                return _value(element)
    except (ValueError, zlib.error, RecursionError) as error:
        reason = str(error).rstrip(".")
        raise DataError(
            f"Expected the variable {key!r} in the MATLAB file {path}, but it cannot be read "
            f"({reason}): is the file damaged or truncated?"
        ) from None
    raise DataError(
        f"Expected the variable {key!r} in the MATLAB file {path}, but it is not there."
    )


def load_matrix(path: Path, key: str) -> NDArray[Any]:
    """Read one variable of numbers, (H, W).

    Raises:
        DataError: one sentence that names the file.
    """
    array = load_mat(path, key)
    if not isinstance(array, np.ndarray) or array.ndim != 2:
        got = f"shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise DataError(f"Expected numbers (H, W) as {key!r} in {path}, but got {got}.")
    return array


def load_numbers(path: Path, key: str) -> NDArray[np.int64]:
    """Read one variable of whole numbers, (H, W).

    Raises:
        DataError: one sentence that names the file.
    """
    array = load_matrix(path, key)
    if (array != np.rint(array)).any():
        raise DataError(f"Expected whole numbers (H, W) as {key!r} in {path}, but got fractions.")
    return array.astype(np.int64)
