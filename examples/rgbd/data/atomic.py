"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

from examples.rgbd.data.errors import DataError


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
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(
            f"Expected to write {path}, but writing failed: {error.strerror}."
        ) from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise
