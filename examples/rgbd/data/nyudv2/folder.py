"""NYUDv2 from a folder of pictures in one of the layouts of `LAYOUTS`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.classes import NYU40
from examples.rgbd.data.dataset import Files, FrameSource, read_lines
from examples.rgbd.data.files.arrays import read_array
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import read_depth_png, read_image, read_indices
from examples.rgbd.data.files.matlab import load_numbers
from examples.rgbd.data.files.units import check_sizes, to_classes, to_metres
from examples.rgbd.data.frame import Sample
from examples.rgbd.data.nyudv2.layouts import Layout
from examples.rgbd.data.nyudv2.spec import NYUDV2
from examples.rgbd.data.spec import DepthKind, DepthUse, Split


def _read_numbers(path: Path) -> list[int]:
    """Frame numbers of a list: from the first entry of each line."""
    numbers = []
    for row, line in enumerate(read_lines(path), 1):
        entry = line.split()[0]
        stem = entry.rsplit("/", 1)[-1].split(".", 1)[0].removeprefix("img_")
        if not (stem.isascii() and stem.isdigit()):
            raise DataError(
                f"Expected the number of a frame in entry {row} of {path}, but got {entry[:60]!r}."
            )
        numbers.append(int(stem))
    repeated = [number for number, count in Counter(numbers).items() if count > 1]
    if repeated:
        raise DataError(f"Expected each frame once in {path}, but the list repeats {repeated[0]}.")
    return numbers


class FolderFrames(FrameSource):
    """The frames of one split in a folder; see `FrameSource`.

    Args:
        root: the folder.
        layout: how it is laid out.
        split: "train" or "test".
        depth: "inpainted", or "raw" where the layout has it.

    Raises:
        DataError: if the frames cannot be listed, or the layout has no raw depth.
    """

    def __init__(
        self,
        root: Path,
        layout: Layout,
        split: Split,
        depth: DepthKind,
        use_depth: DepthUse = "required",
    ) -> None:
        if depth == "raw" and not layout.raw_depths:
            raise DataError(
                f"Expected raw depth in {root}, but layout {layout.name} keeps only one kind: "
                "leave the option `depth` at 'inpainted'."
            )
        self.root = root
        self._layout = layout
        self._side = ("train", "test").index(split)
        super().__init__(NYUDV2, layout.name, self._list_frames(split))
        self._image = self._choose(layout.images, "images")
        self._label = self._choose(layout.labels, "labels")
        depths = layout.raw_depths if depth == "raw" else layout.depths
        needed = use_depth == "required"
        self._depth = self._choose(depths, f"{depth} depth") if needed else self._first(depths)

    def _list_frames(self, split: Split) -> list[str]:
        """The frame numbers of a split, padded as the layout writes them."""
        layout = self._layout
        for alternative in layout.lists:
            files = [self.root / name for name in alternative[self._side]]
            if all(file.exists() for file in files):
                numbers = [number for file in files for number in _read_numbers(file)]
                return [str(number).zfill(layout.digits) for number in numbers]
        patterns = [
            template.format(split=layout.splits[self._side], id="*")
            for template in layout.images
            if "{split}" in template
        ]
        for pattern in patterns:
            found = sorted(path.stem for path in self.root.glob(pattern) if path.stem.isdigit())
            if found:
                return found
        lists = [" with ".join(alternative[self._side]) for alternative in layout.lists]
        raise DataError(
            f"Expected the {split} frames of layout {layout.name} in {self.root} as "
            f"{' or '.join([*lists, *patterns])}, but found none: is the folder complete?"
        )

    def _path(self, template: str, name: str) -> Path:
        return self.root / template.format(split=self._layout.splits[self._side], id=name)

    def _first(self, templates: Sequence[str]) -> str:
        """The first template of which there is any file, or the first."""
        found = (t for t in templates if any(self._path(t, n).exists() for n in self.names))
        return next(found, templates[0])

    def _choose(self, templates: Sequence[str], kind: str) -> str:
        """The template of which there are files; reading will name those that are missing."""
        template = self._first(templates)
        if any(self._path(template, name).exists() for name in self.names):
            return template
        first = " or ".join(str(self._path(template, self.names[0])) for template in templates)
        raise DataError(
            f"Expected {kind} of layout {self.layout} such as {first}, but there is not one for "
            f"the {len(self.names)} listed frames: is the folder incomplete, or in another layout?"
        )

    def files(self, index: int) -> Files:
        """Where a frame lies."""
        name = self.names[index]
        return Files(*(self._path(t, name) for t in (self._image, self._label, self._depth)))

    def read(self, index: int) -> Sample:
        """Read a frame, or raise a `DataError` that names the file."""
        files = self.files(index)
        image = read_image(files.image)
        stored = (
            load_numbers(files.label, "segmentation")
            if files.label.suffix == ".mat"
            else read_indices(files.label)
        )
        label = to_classes(stored, len(NYU40), self._layout.first_class, files.label)
        depth = self._depth_of(files.depth, self._read_depth, image.shape[:2])
        check_sizes(image, label, depth, files)
        return Sample(image, label, depth, self.names[index])

    def _read_depth(self, path: Path) -> NDArray[np.float32]:
        if path.suffix != ".npy":
            return to_metres(read_depth_png(path), self._layout.depth_unit, path)
        stored = read_array(path, "depth")
        if stored.dtype.kind != "f":
            raise DataError(
                f"Expected depth as floating-point metres in {path}, but got {stored.dtype}: are "
                "these millimetres?"
            )
        return to_metres(stored, 1.0, path)
