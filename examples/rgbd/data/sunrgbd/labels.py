"""SUN RGB-D's 37 classes from each place where people keep them. 0 is void, 1..37 are classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.classes import SUN37
from examples.rgbd.data.files.arrays import read_array
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.hdf5 import LazyContainer
from examples.rgbd.data.files.images import read_indices
from examples.rgbd.data.files.units import to_classes


class LabelReader(Protocol):
    """The labels of a split, by the frame's place in its list."""

    def file(self, index: int) -> Path:
        """The file that holds the label map."""
        ...

    def read(self, index: int) -> NDArray[np.uint8]:
        """Classes 0..36 and 255, or a `DataError`."""
        ...


class ContainerLabels:
    """Labels in the toolbox's ``SUNRGBD2Dseg.mat``, read one by one.

    (To load it as a whole takes tens of gigabytes.) Its order is its own: first all test frames,
    then all training frames, each as in ``allsplit.mat``.

    Args:
        path: the file.
        first: the place of the split's first frame in it.
        total: how many frames it must have.

    Raises:
        DataError: if it cannot be read, or has another number of frames.
    """

    def __init__(self, path: Path, first: int, total: int) -> None:
        self.path = path
        self.first = first
        self._hdf5 = LazyContainer(path)
        count = self._hdf5.read(lambda file: len(file["SUNRGBD2Dseg"]["seglabel"]))
        self._hdf5.close()
        if count != total:
            raise DataError(
                f"Expected the labels of all {total} frames of the split in {path}, but it has "
                f"{count}: do the two files belong together?"
            )

    def file(self, index: int) -> Path:
        """The container."""
        return self.path

    def read(self, index: int) -> NDArray[np.uint8]:
        """Classes 0..36 and 255."""
        place = self.first + index
        stored = self._hdf5.read(lambda file: _entry(file, place), f", entry {place + 1}")
        return _to_classes(stored, f"{self.path}, entry {place + 1}")


def _entry(file: Any, place: int) -> NDArray[np.generic]:
    """The label map at a place: the table holds references to arrays with their axes reversed."""
    reference = np.ravel(file["SUNRGBD2Dseg"]["seglabel"][place])[0]
    return np.ascontiguousarray(file[reference][()].T)


class ArrayLabels:
    """Labels in one ``label.npy`` for each scene, as RedNet, ACNet and ESANet write them."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def file(self, index: int) -> Path:
        """The array."""
        return self.paths[index]

    def read(self, index: int) -> NDArray[np.uint8]:
        """Classes 0..36 and 255."""
        stored = read_array(self.paths[index], "a label map")
        if stored.dtype.kind == "f":
            raise DataError(
                f"Expected a label map of whole numbers in {self.paths[index]}, but got "
                f"{stored.dtype}."
            )
        return _to_classes(stored, self.paths[index])


class PictureLabels:
    """Ankur Handa's labels: ``img-000001.png`` to ``img-010335.png``, the test frames first."""

    def __init__(self, folder: Path, first: int) -> None:
        self.folder = folder
        self.first = first

    def file(self, index: int) -> Path:
        """The picture."""
        return self.folder / f"img-{self.first + index + 1:06d}.png"

    def read(self, index: int) -> NDArray[np.uint8]:
        """Classes 0..36 and 255."""
        return _to_classes(read_indices(self.file(index)), self.file(index))


def _to_classes(stored: NDArray[np.generic], where: Path | str) -> NDArray[np.uint8]:
    classes: NDArray[np.uint8] = to_classes(stored.astype(np.int64), len(SUN37), 1, where)
    return classes
