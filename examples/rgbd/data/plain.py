"""The plain folder that ``prepare`` writes of NYUDv2 and SUN RGB-D.

With ``--hha`` and ``--normals`` there are ``hha/NAME.png`` and ``normals/NAME.png`` beside them, see
`geometry`.

``dataset.json`` says what it is, ``train.txt`` and ``test.txt`` name a frame in each line, and the
frame lies in ``image/NAME.jpg`` or ``.png`` (8-bit RGB), ``label/NAME.png`` (8-bit, classes 0 ..
C-1, 255 void) and ``depth/NAME.png`` (16-bit, millimetres, 0 missing). The lists are written last:
without them the folder is not complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.dataset import Files, FrameSource, read_lines
from examples.rgbd.data.description import MANIFEST
from examples.rgbd.data.description import read_json as _read_json
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import read_depth_png, read_image, read_indices
from examples.rgbd.data.files.units import MILLIMETRE, check_sizes, to_classes, to_metres
from examples.rgbd.data.frame import Sample
from examples.rgbd.data.geometry import GeometryKind, geometry_files
from examples.rgbd.data.nyudv2.spec import NYUDV2
from examples.rgbd.data.spec import DatasetSpec, DepthKind, Split
from examples.rgbd.data.sunrgbd.spec import SUNRGBD


def is_prepared(content: Mapping[str, Any]) -> bool:
    """Whether the content of a ``dataset.json`` is that of a folder of this form."""
    return "dataset" in content


def spec_of_prepared(root: Path, content: Mapping[str, Any]) -> DatasetSpec:
    """Which data set a prepared folder holds.

    Raises:
        DataError: none that is known.
    """
    for spec in (NYUDV2, SUNRGBD):
        if content["dataset"] == spec.name:
            return spec
    raise DataError(
        f"Expected {root / MANIFEST} to name nyudv2 or sunrgbd, but got {content['dataset']!r}."
    )


class PlainFrames(FrameSource):
    """The frames of one split in a plain folder.

    Args:
        root: the folder.
        split: "train" or "test".
        depth: the kind of depth that is wanted; the folder holds one.
        spec: the data set that is wanted.

    Raises:
        DataError: if the folder is not complete, or holds something else.
    """

    def __init__(self, root: Path, split: Split, depth: DepthKind, spec: DatasetSpec) -> None:
        path = root / MANIFEST
        content = _read_json(path)
        if not is_prepared(content) and "name" in content:
            raise DataError(
                f"Expected {spec.title} in {root}, but {path} describes "
                f"{content['name']}: did you mean python -m examples.rgbd?"
            )
        try:
            dataset, stored = str(content["dataset"]), str(content["depth"])
            classes = [str(name) for name in content["classes"]]
        except (KeyError, TypeError):
            raise DataError(
                f"Expected the description of a prepared folder in {path}, but it cannot be read: "
                "did prepare write this folder?"
            ) from None
        if dataset != spec.name or classes != list(spec.classes):
            raise DataError(
                f"Expected {spec.name} with {len(spec.classes)} classes in {root}, but it holds "
                f"{dataset} with {len(classes)}."
            )
        if stored != depth:
            raise DataError(
                f"Expected {depth} depth in {root}, but it was prepared with {stored} "
                "depth: set the option `depth`, or prepare another folder."
            )
        listed = root / f"{split}.txt"
        if not listed.exists():
            raise DataError(
                f"Expected {listed}, but there is no such file: was prepare interrupted? Run it "
                "again, it goes on where it stopped."
            )
        self.root = root
        super().__init__(spec, "plain", read_lines(listed))

    def files(self, index: int) -> Files:
        """Where a frame lies."""
        return frame_files(self.root, self.names[index])

    def geometry_files(self, index: int) -> dict[GeometryKind, Path]:
        """Where the maps of a frame's depth lie."""
        return geometry_files(self.root, self.files(index).image)

    def read(self, index: int) -> Sample:
        """Read a frame, or raise a `DataError` that names the file."""
        files = self.files(index)
        image = read_image(files.image)
        label = to_classes(read_indices(files.label), len(self.classes), 0, files.label)
        depth = self._depth_of(
            files.depth, lambda path: to_metres(read_depth_png(path), MILLIMETRE, path), label.shape
        )
        check_sizes(image, label, depth, files)
        geometry = read_geometry(self, index, label.shape)
        return Sample(image, label, depth, self.names[index], geometry)


def frame_files(root: Path, name: str) -> Files:
    """The files of a frame; the image is a JPEG where there is one."""
    jpeg = root / "image" / f"{name}.jpg"
    return Files(
        image=jpeg if jpeg.exists() else root / "image" / f"{name}.png",
        label=root / "label" / f"{name}.png",
        depth=root / "depth" / f"{name}.png",
    )


def read_geometry(
    frames: FrameSource, index: int, size: tuple[int, ...]
) -> dict[str, NDArray[np.uint8]]:
    """The maps of depth that a source is asked for, uint8 (H, W, 3).

    Raises:
        DataError: a file cannot be read, or has not the size of its frame.
    """
    where = frames.geometry_files(index) if frames.geometry else {}
    found: dict[str, NDArray[np.uint8]] = {}
    for kind in frames.geometry:
        found[kind] = read_image(where[kind])
        if found[kind].shape[:2] != tuple(size[:2]):
            height, width = found[kind].shape[:2]
            raise DataError(
                f"Expected {kind} of the image's size {size[0]} x {size[1]} in {where[kind]}, but got "
                f"{height} x {width}: did prepare write this file?"
            )
    return found
