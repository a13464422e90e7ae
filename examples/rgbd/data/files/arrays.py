"""Reading numpy arrays, with one clear sentence where that cannot be done."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import MAX_PIXELS, read_bytes
from examples.rgbd.reason import reason_of


def read_array(path: Path, kind: str) -> NDArray[np.generic]:
    """Read a two-dimensional ``.npy`` array of numbers.

    Raises:
        DataError: one sentence that names the file.
    """
    return load_array(path, kind, (2,))


def load_array(path: Path, kind: str, dimensions: tuple[int, ...] = (2, 3)) -> NDArray[np.generic]:
    """Read a ``.npy`` array of numbers, of any of these numbers of dimensions.

    Raises:
        DataError: one sentence that names the file.
    """
    content = read_bytes(path, kind)
    stream = io.BytesIO(content)
    try:
        # The header may announce any size; compare it with the file before memory is asked for.
        version = np.lib.format.read_magic(stream)
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = header(stream)
        if len(shape) not in dimensions or dtype.kind not in "biuf" or min(shape) < 1:
            raise ValueError(f"it holds {dtype} of shape {shape}")
        count = int(np.prod(shape, dtype=object))
        if count > 3 * MAX_PIXELS or len(content) - stream.tell() < count * dtype.itemsize:
            raise ValueError("it ends too early")
        array: NDArray[np.generic] = np.load(io.BytesIO(content), allow_pickle=False)
        return array
    # numpy raises ValueError, SyntaxError, TokenError, EOFError and more for a damaged header.
    except Exception as error:
        reason = reason_of(error)
        wanted = "a two-dimensional array" if dimensions == (2,) else "an array"
        raise DataError(
            f"Expected {kind} as {wanted} of numbers in {path}, but it cannot be "
            f"read ({reason}): is the file damaged or truncated?"
        ) from None
