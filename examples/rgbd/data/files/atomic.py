"""Files that are whole or not there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from examples.rgbd.data.files.errors import DataError

PARTS = ".*.part"
"""Names of files that were being written when their process was killed."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the file, make it durable, and only then give it its name.

    Raises:
        DataError: if it cannot be written; nothing is left behind then.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # nothing can be removed where nothing can be written
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise DataError(
                f"Expected to write {path}, but writing failed: {error.strerror}."
            ) from None
        raise
