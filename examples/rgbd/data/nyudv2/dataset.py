"""Opening NYUDv2: the original container, a folder in one of many layouts, or a prepared one."""

from __future__ import annotations

from pathlib import Path

from examples.rgbd.data.dataset import FrameSource
from examples.rgbd.data.description import MANIFEST
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.nyudv2.folder import FolderFrames
from examples.rgbd.data.nyudv2.layouts import fitting_layouts, named_layout
from examples.rgbd.data.nyudv2.mat import CONTAINER, MatFrames
from examples.rgbd.data.nyudv2.spec import NYUDV2
from examples.rgbd.data.plain import PlainFrames
from examples.rgbd.data.presets import way_in
from examples.rgbd.data.spec import DepthKind, DepthUse, Split


def open_nyudv2(
    root: Path, split: Split, layout: str | None, depth: DepthKind, use_depth: DepthUse
) -> FrameSource:
    """The frames of a split in a layout, named or recognised; see `DatasetSpec.open`."""
    layout = _recognise(root, use_depth) if layout is None else layout
    if layout == "plain":
        return PlainFrames(root, split, depth, NYUDV2)
    if layout == "mat":
        return MatFrames(root if root.is_file() else root / CONTAINER, split, depth)
    folder = named_layout(layout)
    if folder is None:
        known = ", ".join(NYUDV2.layouts)
        raise DataError(f"Expected `layout` to be one of {known}, but got {layout!r}.")
    return FolderFrames(root, folder, split, depth, use_depth)


def _recognise(root: Path, use_depth: DepthUse) -> str:
    """The one layout whose files are there.

    Raises:
        DataError: if no layout fits, or more than one.
    """
    if root.is_file():
        if root.suffix.lower() not in (".mat", ".h5", ".hdf5"):
            raise DataError(
                f"Expected the folder of NYUDv2, or its {CONTAINER}, but got the file {root}: did you "
                f"mean {root.parent}?"
            )
        return "mat"
    fitting = [layout.name for layout in fitting_layouts(root, use_depth)]
    if (root / CONTAINER).exists():
        fitting.append("mat")
    if (root / MANIFEST).exists():
        fitting.append("plain")
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise DataError(
            f"Expected one layout of NYUDv2 in {root}, but the files fit {' and '.join(fitting)}: "
            "name the right one with the option `layout`."
        )
    if (root / "HHA").is_dir():
        raise DataError(
            f"Expected depth in metres or millimetres in {root / 'Depth'}, but there is only "
            f"{root / 'HHA'}, from which it cannot be had: copy the folder Depth of another copy "
            "of the data set beside it."
        )
    raise DataError(
        f"Expected NYUDv2 in {root} in one of the layouts {', '.join(NYUDV2.layouts)}, but found "
        f"none of them (mat, for one, has {CONTAINER}, and sa-gate the folders RGB, Depth and "
        f"Label): did you mean the folder above or below, or {way_in(root)}?"
    )
