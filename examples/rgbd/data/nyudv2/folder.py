"""NYUDv2 from a folder of pictures in one of the layouts of `LAYOUTS`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.classes import NYU40
from examples.rgbd.data.dataset import Files, FrameSource
from examples.rgbd.data.files.arrays import read_array
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import read_depth_png, read_image, read_indices
from examples.rgbd.data.files.matlab import load_matrix, load_numbers
from examples.rgbd.data.files.units import check_sizes, to_classes, to_metres
from examples.rgbd.data.frame import Sample
from examples.rgbd.data.nyudv2.layouts import Layout
from examples.rgbd.data.nyudv2.lists import FileFinder, Row, check_repeats, name_of, read_rows
from examples.rgbd.data.nyudv2.spec import NYUDV2
from examples.rgbd.data.spec import DepthKind, DepthUse, Split


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
        rows = self._list_frames(split)
        names = [self._number(name_of(row["image"])) for row in rows]
        check_repeats(names, self._list)
        super().__init__(NYUDV2, layout.name, names)
        finder = FileFinder(root, layout.splits[self._side])
        depths = layout.raw_depths if depth == "raw" else layout.depths
        self._files = [
            Files(*paths)
            for paths in zip(
                self._find(finder, rows, layout.images, "image", "images"),
                self._find(finder, rows, layout.labels, "label", "labels"),
                self._find(finder, rows, depths, "depth", f"{depth} depth", use_depth),
                strict=True,
            )
        ]

    def _number(self, name: str) -> str:
        """The number of a frame as the layout writes it; names that are no numbers stay."""
        plain = name.isascii() and name.isdigit()
        return str(int(name)).zfill(self._layout.digits) if plain else name

    def _list_frames(self, split: Split) -> list[Row]:
        """What the lists have of each frame or, without lists, the images that are there."""
        layout = self._layout
        self._list = self.root
        for alternative in layout.lists:
            files = [self.root / name for name in alternative[self._side]]
            if all(file.exists() for file in files):
                self._list = files[-1]
                return [row for file in files for row in read_rows(file, layout)]
        patterns = [
            template.format(split=layout.splits[self._side], id="*")
            for template in layout.images
            if "{split}" in template
        ]
        for pattern in patterns:
            found = sorted(path.stem for path in self.root.glob(pattern) if path.stem.isdigit())
            if found:
                return [{"image": name} for name in found]
        lists = [" with ".join(alternative[self._side]) for alternative in layout.lists]
        raise DataError(
            f"Expected the {split} frames of layout {layout.name} in {self.root} as "
            f"{' or '.join([*lists, *patterns])}, but found none: is the folder complete?"
        )

    def _find(
        self,
        finder: FileFinder,
        rows: Sequence[Row],
        templates: Sequence[str],
        kind: str,
        called: str,
        use: DepthUse = "required",
    ) -> list[Path]:
        """The file of each frame; reading will name those that are missing.

        Raises:
            DataError: there is none for any frame.
        """
        found: list[Path | None] = []
        for row in rows:
            entry = row.get(kind, row["image"])
            number = self._number(name_of(entry))
            # A path of another column stands in another folder, and has another ending.
            listed = entry if kind in row else name_of(entry)
            found.append(finder.find(listed, number, templates, kind))
        if use == "required" and not any(found):
            first = " or ".join(
                str(finder.path(template, self._number(name_of(rows[0].get(kind, self.names[0])))))
                for template in templates
            )
            raise DataError(
                f"Expected {called} of layout {self.layout} such as {first}, but there is not one "
                f"for the {len(rows)} listed frames: is the folder incomplete, or in another layout?"
            )
        return [
            path or self._missing(finder, row, kind, self._usual(found, templates))
            for path, row in zip(found, rows, strict=True)
        ]

    def _usual(self, found: Sequence[Path | None], templates: Sequence[str]) -> str:
        """The template of the files that are there, to say what a missing one should be called."""
        endings = {path.suffix for path in found if path is not None}
        return next((t for t in templates if Path(t).suffix in endings), templates[0])

    def _missing(self, finder: FileFinder, row: Row, kind: str, template: str) -> Path:
        entry = row.get(kind)
        if entry is not None and "/" in entry:
            return self.root / entry
        return finder.path(template, self._number(name_of(row["image"])))

    def files(self, index: int) -> Files:
        """Where a frame lies."""
        return self._files[index]

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
        if path.suffix not in (".npy", ".mat"):
            return to_metres(read_depth_png(path), self._layout.depth_unit, path)
        stored = read_array(path, "depth") if path.suffix == ".npy" else load_matrix(path, "depth")
        if stored.dtype.kind != "f":
            raise DataError(
                f"Expected depth as floating-point metres in {path}, but got {stored.dtype}: are "
                "these millimetres?"
            )
        return to_metres(stored, 1.0, path)
