"""NYUDv2 as it was released: nyu_depth_v2_labeled.mat with splits.mat and classMapping40.mat."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from examples.rgbd.data.classes import NYU40
from examples.rgbd.data.dataset import Files, FrameSource
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.hdf5 import LazyContainer
from examples.rgbd.data.files.matlab import load_numbers
from examples.rgbd.data.files.units import check_sizes, to_classes, to_metres
from examples.rgbd.data.frame import Sample
from examples.rgbd.data.nyudv2.spec import NYUDV2
from examples.rgbd.data.spec import DepthKind, Split

CONTAINER = "nyu_depth_v2_labeled.mat"
SPLITS = "splits.mat"
MAPPING = "classMapping40.mat"


def _companion(container: Path, name: str, key: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """One variable of a small MATLAB file beside the container, as a flat array of integers."""
    path = container.parent / name
    if not path.exists():
        raise DataError(
            f"Expected {name} beside {container}, but there is no such file: it comes with the "
            "data set's toolbox, not in the large file."
        )
    return load_numbers(path, key).ravel()


def _describe(key: str, file: Any) -> tuple[str, tuple[int, ...]] | None:
    """Kind of number and shape of an HDF5 array; None for anything else."""
    array = file.get(key)
    return (array.dtype.kind, array.shape) if hasattr(array, "dtype") else None


class MatFrames(FrameSource):
    """The frames of one split in the original container; see `FrameSource`.

    h5py shows MATLAB's arrays with their axes reversed, (frame, channel, x, y): they are
    transposed here. (A rotation would show mirrored rooms.)

    Args:
        container: nyu_depth_v2_labeled.mat; the two small files lie beside it.
        split: "train" or "test".
        depth: "inpainted" (``depths``) or "raw" (``rawDepths``).

    Raises:
        DataError: if a file is missing, unreadable or not what its name says.
    """

    def __init__(self, container: Path, split: Split, depth: DepthKind) -> None:
        if not container.exists():
            raise DataError(
                f"Expected {CONTAINER} at {container}, but there is no such file: is it the "
                "folder above or below, or another layout?"
            )
        self.container = container
        self._depth_key = "depths" if depth == "inpainted" else "rawDepths"
        self._hdf5 = LazyContainer(container)
        count = self._check()
        self._hdf5.close()
        numbers = _companion(container, SPLITS, "trainNdxs" if split == "train" else "testNdxs")
        mapping = _companion(container, MAPPING, "mapClass")
        # The look-up is as wide as the 894 original classes; 0 stays what is not labelled.
        self._class_of = np.concatenate([[0], mapping])
        if numbers.min(initial=1) < 1 or numbers.max(initial=1) > count:
            raise DataError(
                f"Expected frame numbers of 1..{count} in {container.parent / SPLITS}, but got "
                f"{numbers.min()}..{numbers.max()}."
            )
        self._rows = numbers - 1
        super().__init__(NYUDV2, "mat", [f"{number:04d}" for number in numbers])

    def _check(self) -> int:
        """The number of frames, after a look at the names, types and shapes in the container."""
        wanted = {"images": ("u", 4), "labels": ("u", 3), self._depth_key: ("f", 3)}
        shapes = {}
        for key, (kind, dimensions) in wanted.items():
            found = self._hdf5.read(partial(_describe, key))
            if found is None or (found[0], len(found[1])) != (kind, dimensions):
                raise DataError(
                    f"Expected the array {key!r} with {dimensions} dimensions in {self.container}, "
                    f"but got {'none' if found is None else found[1]}: is this the labelled part "
                    "of NYUDv2?"
                )
            shapes[key] = found[1]
        if len({shape[0] for shape in shapes.values()}) != 1 or shapes["images"][1] != 3:
            raise DataError(
                f"Expected images, labels and depth of the same frames in {self.container}, but "
                f"got the shapes {shapes}."
            )
        return int(shapes["images"][0])

    def files(self, index: int) -> Files:
        """Where a frame lies: all of it in the container."""
        return Files(self.container, self.container, self.container)

    def read(self, index: int) -> Sample:
        """Read a frame, or raise a `DataError` that names the file."""
        row = int(self._rows[index])
        where = f"{self.container}, frame {self.names[index]}"
        image, stored, measured = self._hdf5.read(
            lambda file: (file["images"][row], file["labels"][row].T, file[self._depth_key][row].T),
            f", frame {self.names[index]}",
        )
        known = len(self._class_of) - 1
        if stored.max() > known:
            raise DataError(
                f"Expected labels 0..{known} in {where}, but found {stored.max()}: is {MAPPING} "
                "the mapping of another release?"
            )
        label = to_classes(self._class_of[stored], len(NYU40), 1, where)
        depth = to_metres(measured, 1.0, where)
        image = np.ascontiguousarray(image.transpose(2, 1, 0), dtype=np.uint8)
        label, depth = np.ascontiguousarray(label), np.ascontiguousarray(depth)
        check_sizes(image, label, depth, Files(Path(where), Path(where), Path(where)))
        return Sample(image, label, depth, self.names[index])
