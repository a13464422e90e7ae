"""What is known of a data set before any of its files is read. Imports neither torch nor readers."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.classes import label_palette
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.geometry import GeometryKind
from examples.rgbd.data.intrinsics import Intrinsics

if TYPE_CHECKING:
    from examples.rgbd.data.dataset import FrameSource

Split = Literal["train", "test"]
DepthKind = Literal["inpainted", "raw"]
DepthUse = Literal["required", "optional", "none"]
"""required: a frame's depth has to be there. optional: a file that is not there is missing depth.
none: depth is not read at all."""


@dataclass(frozen=True)
class DatasetSpec:
    """The facts of a data set.

    Attributes:
        name: in module names, run folders and descriptions.
        title: the same for people.
        classes: the class names, in the order of the label values; empty where the folder says.
        depth_limits: (near, far) in metres, what ``rescale_depth`` maps to [1, 256].
        opener: "module:function" that opens a split. It is imported when it is called.
        layouts: the names of the layouts that are known.
        split_sizes: how many frames each split has when it is complete; None where that is open.
        colours: (C, 3) colours of the classes; None takes those of `label_palette`.
        metric: whether depth is in metres.
        indoor: whether all frames show rooms, so that depth and places can be judged as such.
        camera: that of all frames, if there is one and it is known.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    depth_limits: tuple[float, float]
    opener: str
    layouts: tuple[str, ...] = ()
    split_sizes: Mapping[str, int] | None = None
    colours: tuple[tuple[int, int, int], ...] | None = None
    metric: bool = True
    indoor: bool = True
    camera: Intrinsics | None = None

    @property
    def palette(self) -> NDArray[np.uint8]:
        """uint8 (C, 3), one colour for each class."""
        if self.colours is None:
            return label_palette(len(self.classes))
        return np.array(self.colours, np.uint8).reshape(-1, 3)

    def open(
        self,
        root: str | Path,
        split: Split,
        layout: str | None = None,
        depth: DepthKind = "inpainted",
        use_depth: DepthUse = "required",
        geometry: tuple[GeometryKind, ...] = (),
    ) -> FrameSource:
        """Open the frames of one split.

        Args:
            root: where the data set lies.
            split: "train" or "test".
            layout: the name of the layout; None recognises it by the files that are there.
            depth: which depth to read, where there are both kinds.
            use_depth: whether depth has to be there; see `DepthUse`.
            geometry: maps of depth to read with each frame, from a prepared folder.

        Raises:
            DataError: if the layout is unknown, or the folder, a list or a file is missing or
                unusable; frames are read, and judged, one by one as they are asked for.
            ValueError: for an unknown split or kind of depth.
        """
        root = Path(root).expanduser()
        if split not in ("train", "test"):
            raise ValueError(f"Expected `split` to be 'train' or 'test', but got {split!r}.")
        if depth not in ("inpainted", "raw"):
            raise ValueError(f"Expected `depth` to be 'inpainted' or 'raw', but got {depth!r}.")
        if not root.exists():
            raise DataError(f"Expected a data set at {root}, but there is no such folder.")
        frames: FrameSource = pkgutil.resolve_name(self.opener)(
            root, split, layout, depth, use_depth
        )
        frames.split, frames.depth, frames.use_depth = split, depth, use_depth
        frames.geometry = geometry
        _check_geometry(frames, root)
        return frames


def _check_geometry(frames: FrameSource, root: Path) -> None:
    """See that the maps that are asked for are there, by those of the first frame."""
    if not frames.geometry:
        return
    where = frames.geometry_files(0)
    for kind in frames.geometry:
        if kind not in where or not where[kind].is_file():
            title = "HHA" if kind == "hha" else "surface normals"
            raise DataError(
                f"Expected {title} beside the frames of {root}, but there is "
                f"{'no ' + str(where[kind]) if where else 'none'}: prepare --{kind} writes a folder "
                "that has it."
            )
