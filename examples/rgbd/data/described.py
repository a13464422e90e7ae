"""Frames of a folder with a ``dataset.json``: anybody's own, or one that ``prepare`` wrote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.dataset import Files, FrameSource, read_lines
from examples.rgbd.data.description import (
    MANIFEST,
    DepthFormat,
    Description,
    parse_description,
    read_json,
)
from examples.rgbd.data.files.anything import read_any_image, read_numbers
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.units import check_sizes, missing_at, to_classes, to_metres
from examples.rgbd.data.frame import Sample
from examples.rgbd.data.geometry import GeometryKind, geometry_files
from examples.rgbd.data.plain import (
    PlainFrames,
    is_prepared,
    read_geometry,
    spec_of_prepared,
)
from examples.rgbd.data.spec import DepthKind, DepthUse, Split

_SAME_SHAPE = 0.01  # of height / width


def open_described(
    root: Path, split: Split, layout: str | None, depth: DepthKind, use_depth: DepthUse
) -> FrameSource:
    """The frames of a split of any folder that has a ``dataset.json``; see `DatasetSpec.open`."""
    if layout not in (None, "described", "plain"):
        raise DataError(
            f"Expected a folder with a {MANIFEST}, whose layout is none of those with a name, but "
            f"got `layout` {layout!r}: did you mean examples.nyudv2 or examples.sunrgbd?"
        )
    path = root / MANIFEST
    content = read_json(path)
    if is_prepared(content):
        return PlainFrames(root, split, depth, spec_of_prepared(root, content))
    return DescribedFrames(root, split, parse_description(content, path))


class DescribedFrames(FrameSource):
    """The frames of one split as ``dataset.json`` and a list file describe them.

    Args:
        root: the folder.
        split: "train" or "test".
        description: what its files mean.

    Raises:
        DataError: there is no list for the split, or it cannot be used.
    """

    def __init__(self, root: Path, split: Split, description: Description) -> None:
        self.root = root
        self.description = description
        if split not in description.splits:
            raise DataError(
                f"Expected the list of the {split} split in 'splits' of {root / MANIFEST}, but it "
                f"has {', '.join(description.splits) or 'none'}."
            )
        self.list = root / description.splits[split]
        rows = _read_rows(self.list)
        self._files = [
            Files(root / row[0], root / row[1], root / row[2] if len(row) > 2 else None)
            for row in rows
        ]
        super().__init__(description.spec(), "described", frame_names([row[0] for row in rows]))

    def files(self, index: int) -> Files:
        """Where a frame lies."""
        return self._files[index]

    def geometry_files(self, index: int) -> dict[GeometryKind, Path]:
        """Where the maps of a frame's depth lie, in a folder that ``prepare`` wrote."""
        return geometry_files(self.root, self._files[index].image)

    def read(self, index: int) -> Sample:
        """Read a frame, or raise a `DataError` that names the file."""
        files, wanted = self._files[index], self.description.label
        image = read_any_image(files.image)
        label = to_classes(
            read_numbers(files.label, "a label map", whole=True),
            len(self.classes),
            wanted.first_class,
            files.label,
            wanted.void,
        )
        depth = self._depth_of(files.depth, self._read_depth, image.shape[:2])
        depth = _at_size(depth, image.shape[:2])
        check_sizes(image, label, depth, files)
        geometry = read_geometry(self, index, label.shape)
        return Sample(image, label, depth, self.names[index], geometry)

    def _read_depth(self, path: Path) -> NDArray[np.float32]:
        wanted = self.description.depth
        if wanted is None:
            raise DataError(
                f"Expected 'depth' in {self.root / MANIFEST} to say what {path} holds, but it is "
                "null."
            )
        stored = read_numbers(path, "a depth map")
        if wanted.kind == "relative":
            return to_levels(stored, wanted)
        return to_metres(stored, 1 / wanted.per_metre, path, wanted.missing, plausible=None)


def to_levels(stored: NDArray[np.generic], wanted: DepthFormat) -> NDArray[np.float32]:
    """Relative depth as levels in [1, 256], the least of the image to the greatest; 0 missing.

    The numbers have an unknown scale and offset in each image, so that nothing but their order
    and their relative distances can be used.
    """
    values = stored.astype(np.float64)
    known = ~missing_at(stored, wanted.missing)
    if not known.any():
        return np.zeros(stored.shape, np.float32)
    low, high = float(values[known].min()), float(values[known].max())
    place = (values - low) / (high - low) if high > low else np.zeros_like(values)
    levels = 1 + 255 * (1 - place if wanted.inverse else place)
    return np.where(known, levels, 0).astype(np.float32)


def _at_size(depth: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Depth at the image's size, by the nearest pixel, if it has the same shape but for rounding.

    Sensors often give depth at a smaller size than colour, of one view.
    """
    (height, width), (rows, columns) = size, depth.shape
    if (rows, columns) == (height, width) or abs(
        rows * width / (columns * height) - 1
    ) > _SAME_SHAPE:
        return depth
    down = np.minimum((np.arange(height) + 0.5) * rows / height, rows - 1).astype(np.intp)
    across = np.minimum((np.arange(width) + 0.5) * columns / width, columns - 1).astype(np.intp)
    resized: NDArray[np.float32] = depth[down[:, None], across]
    return resized


def _read_rows(path: Path) -> list[list[str]]:
    """Image, label and, where there is one, depth of each line."""
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        row = [entry.strip() for entry in line.split("\t")]
        row = [entry for entry in row if entry]
        if len(row) not in (2, 3):
            raise DataError(
                f"Expected 'image<TAB>label' or 'image<TAB>label<TAB>depth' in line {number} of "
                f"{path}, but got {line[:80]!r}: are the entries apart by a tab?"
            )
        rows.append(row)
    repeated = [name for name, count in Counter(row[0] for row in rows).items() if count > 1]
    if repeated:
        raise DataError(f"Expected each frame once in {path}, but the list repeats {repeated[0]}.")
    return rows


def frame_names(images: Sequence[str]) -> list[str]:
    """What to call frames: the image's path, without what all have in common and its ending."""
    paths = [Path(image) for image in images]
    shared = 0
    while len({path.parts[: shared + 1] for path in paths}) == 1 and all(
        len(path.parts) > shared + 1 for path in paths
    ):
        shared += 1
    short = ["/".join(path.parts[shared:]) for path in paths]
    stems = [str(Path(name).with_suffix("")).replace("\\", "/") for name in short]
    counts = Counter(stems)
    return [stem if counts[stem] == 1 else name for stem, name in zip(stems, short, strict=True)]
