"""What a data set on a disk consists of, whatever its layout: named frames that can be read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Protocol

from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.frame import RGBDDataset, Sample

Split = Literal["train", "test"]
DepthKind = Literal["inpainted", "raw"]


class Files(NamedTuple):
    """The files of a frame; several of them may be one and the same container."""

    image: Path
    label: Path
    depth: Path


class FrameSource(Protocol):
    """The frames of one split in one layout.

    Attributes:
        layout: the name of the layout.
        names: the names of the frames, in order.
    """

    layout: str
    names: list[str]

    def files(self, index: int) -> Files:
        """Where a frame lies."""
        ...

    def read(self, index: int) -> Sample:
        """Read a frame, or raise a `DataError` that names the file."""
        ...


class SourceDataset(RGBDDataset):
    """A data set whose frames come from a `FrameSource`.

    Args:
        root: where it lies.
        split: "train" or "test".
        layout: the name of the layout; None recognises it by the files that are there.
        depth: which depth to read, where there are both kinds.

    Attributes:
        key: the name that ``prepare`` writes into the description of a plain folder.
        layouts: the names of the layouts that are known.
        split_sizes: how many frames each split has when it is complete.
        source: the frames.
    """

    key: ClassVar[str]
    layouts: ClassVar[tuple[str, ...]]
    split_sizes: ClassVar[Mapping[str, int]]
    source: FrameSource

    def __init__(
        self,
        root: str | Path,
        split: Split,
        layout: str | None = None,
        depth: DepthKind = "inpainted",
    ) -> None:
        root = Path(root).expanduser()
        if split not in ("train", "test"):
            raise ValueError(f"Expected `split` to be 'train' or 'test', but got {split!r}.")
        if depth not in ("inpainted", "raw"):
            raise ValueError(f"Expected `depth` to be 'inpainted' or 'raw', but got {depth!r}.")
        if not root.exists():
            raise DataError(f"Expected a data set at {root}, but there is no such folder.")
        self.split = split
        self.depth = depth
        self.source = self.open_source(root, split, layout, depth)

    @classmethod
    def open_source(
        cls, root: Path, split: Split, layout: str | None, depth: DepthKind
    ) -> FrameSource:
        """The frames in a layout, named or recognised."""
        raise NotImplementedError

    @property
    def layout(self) -> str:
        """The name of the layout that was recognised or named."""
        return self.source.layout

    @property
    def names(self) -> list[str]:
        """The names of the frames, in order."""
        return self.source.names

    def files(self, index: int) -> Files:
        """The files of a frame."""
        return self.source.files(index)

    def __len__(self) -> int:
        return len(self.source.names)

    def __getitem__(self, index: int) -> Sample:
        return self.source.read(index)


def read_lines(path: Path) -> list[str]:
    """The lines of a list that are not blank, with forward slashes.

    Raises:
        DataError: if the list cannot be read, is not text or is empty.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise DataError(
            f"Expected a list of frames at {path}, but reading failed: {reason}."
        ) from None
    lines = [line.strip().replace("\\", "/") for line in content.splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        raise DataError(f"Expected at least one frame in {path}, but the list is empty.")
    return lines
