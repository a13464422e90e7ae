"""NYUDv2 (Silberman et al., 2012): 795 training and 654 test frames, 40 classes."""

from __future__ import annotations

from pathlib import Path

from examples.rgbd.data.classes import NYU40, label_palette
from examples.rgbd.data.dataset import (
    DepthKind,
    FrameSource,
    SourceDataset,
    Split,
)
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.nyudv2.folder import FolderFrames
from examples.rgbd.data.nyudv2.layouts import LAYOUTS, fitting_layouts, named_layout
from examples.rgbd.data.nyudv2.mat import CONTAINER, MatFrames
from examples.rgbd.data.plain import MANIFEST, PlainFrames

NYU_SPLIT_SIZES = {"train": 795, "test": 654}
NYU_LAYOUTS = ("plain", "mat", *(layout.name for layout in LAYOUTS))


class NYUDv2(SourceDataset):
    """NYUDv2 from the original container, a folder in one of many layouts, or a prepared folder.

    Args:
        root: the folder, or the file nyu_depth_v2_labeled.mat itself.
        split: "train" or "test".
        layout: "mat" (the original), "plain" (written by ``prepare``), "sa-gate" (also CMX),
            "esanet", "nicr", "drsleep", "vainf" or "gupta" (also FCN); None recognises it by the
            files that are there. "cmx", "dformer", "densetorch" and "fcn" stand for the layouts
            that those projects share.
        depth: "inpainted", or "raw" where the layout keeps what the sensor gave.

    Raises:
        DataError: if the layout is unknown, or the folder, a list or a file is missing or
            unusable; frames are read, and judged, one by one as they are asked for.
        ValueError: for an unknown split or kind of depth.
    """

    classes = NYU40
    palette = label_palette(len(NYU40))
    depth_limits = (0.7, 10.0)
    key = "nyudv2"
    layouts = NYU_LAYOUTS
    split_sizes = NYU_SPLIT_SIZES

    @classmethod
    def open_source(
        cls, root: Path, split: Split, layout: str | None, depth: DepthKind
    ) -> FrameSource:
        """The frames in a layout, named or recognised."""
        layout = _recognise(root) if layout is None else layout
        if layout == "plain":
            return PlainFrames(root, split, depth, cls.key, cls.classes)
        if layout == "mat":
            return MatFrames(root if root.is_file() else root / CONTAINER, split, depth)
        folder = named_layout(layout)
        if folder is None:
            known = ", ".join(cls.layouts)
            raise DataError(f"Expected `layout` to be one of {known}, but got {layout!r}.")
        return FolderFrames(root, folder, split, depth)


def _recognise(root: Path) -> str:
    """The one layout whose files are there.

    Raises:
        DataError: if no layout fits, or more than one.
    """
    if root.is_file():
        return "mat"
    fitting = [layout.name for layout in fitting_layouts(root)]
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
        f"Expected NYUDv2 in {root} in one of the layouts {', '.join(NYU_LAYOUTS)}, but found "
        f"none of them (mat, for one, has {CONTAINER}, and sa-gate the folders RGB, Depth and "
        "Label): is it the folder above or below?"
    )
