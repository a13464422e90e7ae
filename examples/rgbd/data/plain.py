"""The plain folder that ``prepare`` writes, one form for all data sets.

``dataset.json`` says what it is, ``train.txt`` and ``test.txt`` name a frame in each line, and the
frame lies in ``image/NAME.jpg`` or ``.png`` (8-bit RGB), ``label/NAME.png`` (8-bit, classes 0 ..
C-1, 255 void) and ``depth/NAME.png`` (16-bit, millimetres, 0 missing). The lists are written last:
without them the folder is not complete.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from examples.rgbd.data.dataset import DepthKind, Files, Split, read_lines
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import read_depth_png, read_image, read_indices
from examples.rgbd.data.files.units import MILLIMETRE, check_sizes, to_classes, to_metres
from examples.rgbd.data.frame import Sample

MANIFEST = "dataset.json"


class Manifest(TypedDict):
    """The content of ``dataset.json``."""

    dataset: str
    depth: str
    classes: list[str]


def read_manifest(root: Path) -> Manifest:
    """Read ``dataset.json``.

    Raises:
        DataError: if it cannot be read or lacks an entry.
    """
    path = root / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Manifest(
            dataset=str(content["dataset"]),
            depth=str(content["depth"]),
            classes=[str(name) for name in content["classes"]],
        )
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(
            f"Expected the description of a prepared folder in {path}, but it cannot be read: did "
            "prepare write this folder?"
        ) from None


class PlainFrames:
    """The frames of one split in a plain folder; see `FrameSource`.

    Args:
        root: the folder.
        split: "train" or "test".
        depth: the kind of depth that is wanted; the folder holds one.
        dataset: the name of the data set that is wanted.
        classes: its classes.

    Raises:
        DataError: if the folder is not complete, or holds something else.
    """

    layout = "plain"

    def __init__(
        self, root: Path, split: Split, depth: DepthKind, dataset: str, classes: Sequence[str]
    ) -> None:
        manifest = read_manifest(root)
        if manifest["dataset"] != dataset or manifest["classes"] != list(classes):
            raise DataError(
                f"Expected {dataset} with {len(classes)} classes in {root}, but it holds "
                f"{manifest['dataset']} with {len(manifest['classes'])}."
            )
        if manifest["depth"] != depth:
            raise DataError(
                f"Expected {depth} depth in {root}, but it was prepared with {manifest['depth']} "
                "depth: set the option `depth`, or prepare another folder."
            )
        listed = root / f"{split}.txt"
        if not listed.exists():
            raise DataError(
                f"Expected {listed}, but there is no such file: was prepare interrupted? Run it "
                "again, it goes on where it stopped."
            )
        self.root = root
        self.names = read_lines(listed)
        self._classes = len(classes)

    def files(self, index: int) -> Files:
        """Where a frame lies."""
        return frame_files(self.root, self.names[index])

    def read(self, index: int) -> Sample:
        """Read a frame, or raise a `DataError` that names the file."""
        files = self.files(index)
        image = read_image(files.image)
        label = to_classes(read_indices(files.label), self._classes, 0, files.label)
        depth = to_metres(read_depth_png(files.depth), MILLIMETRE, files.depth)
        check_sizes(image, label, depth, files.label, files.depth)
        return Sample(image, label, depth, self.names[index])


def frame_files(root: Path, name: str) -> Files:
    """The files of a frame; the image is a JPEG where there is one."""
    jpeg = root / "image" / f"{name}.jpg"
    return Files(
        image=jpeg if jpeg.exists() else jpeg.with_suffix(".png"),
        label=root / "label" / f"{name}.png",
        depth=root / "depth" / f"{name}.png",
    )
