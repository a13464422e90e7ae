"""Reading numpy arrays, with one clear sentence where that cannot be done."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import read_bytes


def read_array(path: Path, kind: str) -> NDArray[np.generic]:
    """Read a two-dimensional ``.npy`` array of numbers.

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
        if len(shape) != 2 or dtype.kind not in "iuf" or min(shape) < 1:
            raise ValueError(f"it holds {dtype} of shape {shape}")
        if len(content) - stream.tell() < shape[0] * shape[1] * dtype.itemsize:
            raise ValueError("it ends too early")
        array: NDArray[np.generic] = np.load(io.BytesIO(content), allow_pickle=False)
        return array
    # numpy raises ValueError, SyntaxError, TokenError, EOFError and more for a damaged header.
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DataError(
            f"Expected {kind} as a two-dimensional array of numbers in {path}, but it cannot be "
            f"read ({reason}): is the file damaged or truncated?"
        ) from None
