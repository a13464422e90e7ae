"""Files that are whole or not there: written beside their place, made durable, then renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from examples.rgbd.data.files.errors import DataError

PARTS = ".*.part"
"""Names of files that were being written when their process was killed."""


def _sync_folder(folder: Path) -> None:
    """Make a renaming last through a power cut, where the system can."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name beside `path` for something half-written, which never stays behind."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):  # nothing can be removed where nothing can be written
            temporary.unlink(missing_ok=True)


def unfinished(folder: Path) -> list[Path]:
    """What writers that were killed have left half-written in a folder and below."""
    return [file for file in folder.rglob(PARTS) if file.is_file()]


def _keep(path: Path, previous: Path) -> None:
    """Give the content of `path` a second name, in one step."""
    with _temporary(previous) as link:
        try:
            os.link(path, link)
        except OSError:
            # A file system without links: for a moment there is `previous` only.
            os.replace(path, previous)
        else:
            os.replace(link, previous)


def write_atomically(
    path: Path,
    write: Callable[[BinaryIO], object],
    previous: Path | None = None,
    times: tuple[int, int] | None = None,
) -> None:
    """Give `path` new content in one step; on any failure it keeps the old one.

    Args:
        path: the file.
        write: writes the content to an open binary file.
        previous: name under which the old content is kept.
        times: of access and change, in nanoseconds, that the file is to have.

    Raises:
        OSError: the content could not be written, for one because the disk is full.
    """
    with _temporary(path) as temporary:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if times is not None:
            os.utime(temporary, ns=times)
        if previous is not None and path.exists():
            _keep(path, previous)
        os.replace(temporary, path)
        _sync_folder(path.parent)


def write_bytes(path: Path, content: bytes, times: tuple[int, int] | None = None) -> None:
    """Give `path` this content in one step.

    Raises:
        DataError: if it cannot be written; nothing is left behind then.
    """
    try:
        write_atomically(path, lambda file: file.write(content), times=times)
    except OSError as error:
        raise DataError(
            f"Expected to write {path}, but writing failed: {error.strerror}."
        ) from None
