"""The frames of a data set on a disk, whatever its layout: named, and read one by one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.frame import RGBDDataset, Sample
from examples.rgbd.data.geometry import GeometryKind
from examples.rgbd.data.intrinsics import Intrinsics
from examples.rgbd.data.spec import DatasetSpec, DepthKind, DepthUse, Split

Depth = NDArray[np.float32]


class Files(NamedTuple):
    """The files of a frame; several of them may be one and the same container."""

    image: Path
    label: Path
    depth: Path | None


class FrameSource(RGBDDataset):
    """Base class of the layouts: the frames of one split.

    Args:
        spec: of the data set.
        layout: the name of the layout.
        names: the names of the frames, in order.

    Attributes:
        split: "train" or "test".
        depth: which kind of depth is read.
        use_depth: whether depth has to be there.
        geometry: which maps of depth are read with a frame; a prepared folder has them.
    """

    split: Split = "train"
    depth: DepthKind = "inpainted"
    use_depth: DepthUse = "required"
    geometry: tuple[GeometryKind, ...] = ()

    def __init__(self, spec: DatasetSpec, layout: str, names: list[str]) -> None:
        self.spec = spec
        self.layout = layout
        self.names = names

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """The class names, in the order of the label values."""
        return self.spec.classes

    @property
    def palette(self) -> NDArray[np.uint8]:  # type: ignore[override]
        """uint8 (C, 3), one colour for each class."""
        return self.spec.palette

    @property
    def depth_limits(self) -> tuple[float, float]:  # type: ignore[override]
        """(near, far) in metres, what ``rescale_depth`` maps to [1, 256]."""
        return self.spec.depth_limits

    @property
    def metric(self) -> bool:  # type: ignore[override]
        """Whether depth is in metres."""
        return self.spec.metric

    def files(self, index: int) -> Files:
        """Where a frame lies."""
        raise NotImplementedError

    def camera(self, index: int) -> Intrinsics | None:
        """The camera of a frame, if it is known."""
        return self.shared_camera

    @property
    def shared_camera(self) -> Intrinsics | None:
        """The camera of all frames, if there is one and it is known."""
        return self.spec.camera

    def geometry_files(self, index: int) -> dict[GeometryKind, Path]:
        """Where the maps of a frame's depth lie."""
        return {}

    def read(self, index: int) -> Sample:
        """Read a frame, or raise a `DataError` that names the file."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        return self.read(index)

    def _depth_of(
        self, path: Path | None, read: Callable[[Path], Depth], size: tuple[int, ...]
    ) -> Depth:
        """The depth of a frame as it is wanted: zeros, which is missing, where it is not read."""
        if path is None or self.use_depth == "none":
            return np.zeros(size, np.float32)
        if self.use_depth == "optional" and not path.exists():
            return np.zeros(size, np.float32)
        return read(path)


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
