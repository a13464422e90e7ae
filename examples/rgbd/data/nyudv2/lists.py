"""What the lists of frames name: numbers, names or paths, a column for each kind of file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

from examples.rgbd.data.dataset import read_lines
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.nyudv2.layouts import Layout

_ENDINGS = (".jpg", ".jpeg", ".png", ".npy", ".mat")
_PREFIX = "img_"  # of Gupta's names, which are numbers otherwise
KINDS = ("image", "label", "depth")
Row = dict[str, str]
"""The entry of each kind that a line of a list has; the image's is always there."""


def name_of(entry: str) -> str:
    """The last part of an entry, without what stands for the kind of file."""
    path = PurePosixPath(entry)
    stem = path.stem if path.suffix.lower() in _ENDINGS else path.name
    return stem.removeprefix(_PREFIX)


def read_rows(path: Path, layout: Layout) -> list[Row]:
    """The lines of a list, by kinds.

    Of a column with paths the folder says what it holds; otherwise image, label and depth come in
    this order.

    Raises:
        DataError: the list cannot be read, or a line names two files of one kind.
    """
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        entries = [entry.strip() for entry in (line.split("\t") if "\t" in line else line.split())]
        row: Row = {}
        for place, entry in enumerate(entry for entry in entries if entry):
            folder = str(PurePosixPath(entry).parent)
            kind = _kind_of(folder, layout) or (KINDS[place] if place < len(KINDS) else "other")
            if kind in row or kind == "other":
                raise DataError(
                    f"Expected an image, its label map and its depth, at most one of each, in line "
                    f"{number} of {path}, but got {line[:80]!r}: is it a list of another layout?"
                )
            row[kind] = entry
        if "image" not in row:
            raise DataError(f"Expected an image in line {number} of {path}, but got {line[:80]!r}.")
        rows.append(row)
    return rows


@lru_cache(64)
def _kind_of(folder: str, layout: Layout) -> str | None:
    """What lies in a folder, where the layout has one of that name."""
    for kind, templates in zip(KINDS, (layout.images, layout.labels, layout.depths), strict=True):
        for template in templates:
            for split in layout.splits:
                known = str(PurePosixPath(template.format(split=split, id="x")).parent)
                if folder == known or folder.endswith(f"/{known}"):
                    return kind
    return None


def check_repeats(names: Sequence[str], path: Path) -> None:
    """See that a list has no frame twice.

    Raises:
        DataError: it has.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise DataError(f"Expected each frame once in {path}, but the list repeats {repeated[0]}.")


class FileFinder:
    """Finds the files of a folder by what a list calls them. Each folder is listed once.

    Args:
        root: the folder.
        split: the name of the split in file names.
    """

    def __init__(self, root: Path, split: str) -> None:
        self.root = root
        self.split = split
        self._content: dict[Path, set[str]] = {}

    def _exists(self, path: Path) -> bool:
        folder = path.parent
        if folder not in self._content:
            try:
                self._content[folder] = {entry.name for entry in folder.iterdir()}
            except OSError:  # there is no such folder, or it may not be read
                self._content[folder] = set()
        return path.name in self._content[folder]

    def find(self, entry: str, number: str, templates: Sequence[str], kind: str) -> Path | None:
        """The file of a kind that an entry stands for; None if there is none.

        As it is listed, else in the folder of a template: under the name that is listed, or under
        the number of the frame as the layout writes it. An image may end in another way.

        Args:
            entry: of the list.
            number: of the frame, as the layout writes it; the name where it is none.
            templates: of the layout.
            kind: "image", "label" or "depth".
        """
        if (suffix := PurePosixPath(entry).suffix.lower()) and self._exists(self.root / entry):
            return self.root / entry
        for template in templates:
            for name in dict.fromkeys((name_of(entry), number)):
                path = self.path(template, name)
                endings = [path.suffix]
                if kind == "image":
                    endings += [suffix] if suffix in _ENDINGS else []
                    endings += _ENDINGS[:3]
                for ending in endings:
                    for found in (path.with_suffix(ending), path.with_suffix(ending.upper())):
                        if self._exists(found):
                            return found
        return None

    def path(self, template: str, name: str) -> Path:
        """Where a template has the frame of this name."""
        return self.root / template.format(split=self.split, id=name)
