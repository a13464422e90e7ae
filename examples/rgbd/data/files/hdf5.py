"""HDF5 containers (MATLAB 7.3) that are read lazily and safely from any number of processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import h5py  # type: ignore[import-untyped]

from examples.rgbd.data.files.errors import DataError
from examples.rgbd.reason import reason_of

T = TypeVar("T")


class LazyContainer:
    """An HDF5 file that each process opens for itself, when it first reads.

    A handle that was opened before a fork must not be used after it, and none can be pickled.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        self._process = -1

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def read(self, fetch: Callable[[Any], T], where: str = "") -> T:
        """What `fetch` takes from the file.

        Args:
            fetch: a function of the open file.
            where: what is being read, for the message, such as ``", frame 0007"``.

        Raises:
            DataError: if the file is missing, truncated or not HDF5, or `fetch` fails.
        """
        try:
            if self._process != os.getpid():
                self._file = h5py.File(self.path, "r")
                self._process = os.getpid()
            return fetch(self._file)
        except DataError:
            raise
        # h5py passes on what the library finds in a damaged file as nearly any of these.
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError) as error:
            if not self.path.exists():
                raise DataError(f"Expected {self.path}, but there is no such file.") from None
            reason = reason_of(error)
            raise DataError(
                f"Expected a readable HDF5 file (MATLAB 7.3) in {self.path}{where}, but reading "
                f"failed ({reason}): is the file damaged, or its download incomplete?"
            ) from None

    def close(self) -> None:
        """Close it in this process; the next read opens it again."""
        if self._process == os.getpid():
            self._file.close()
        self._process = -1
