"""How NYUDv2 lies on people's disks: every layout as data, told apart by the files that are there.

Where class 0 starts and what one step of depth means cannot be seen in a file. Both belong to the
layout, which is why a folder that fits none of them is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from examples.rgbd.data.files.units import MILLIMETRE
from examples.rgbd.data.spec import DepthUse


@dataclass(frozen=True)
class Layout:
    """Where the files of a frame are, and what their numbers mean.

    Templates are relative to the root and know ``{split}`` (its folder name) and ``{id}`` (the
    number of the frame). Where there are several, the first of which there is a file holds.

    Attributes:
        name: what the option ``layout`` calls it.
        images: templates of the colour pictures, which may end in another way too.
        labels: templates of the label maps, ``.png`` or ``.mat``.
        depths: templates of the in-painted depth, ``.png``, or float metres in ``.npy`` or
            ``.mat`` (the variable ``depth``).
        raw_depths: templates of the depth as the sensor gave it; empty where the layout has none.
        lists: for "train" and "test", alternatives of list files to be read one after the other;
            no alternative: all pictures that the image template finds.
        splits: folder names of the splits.
        digits: width to which the number of a frame is padded.
        first_class: the number that stands for class 0; with 1, 0 is void. 255 is always void.
        depth_unit: metres to one step of a depth picture.
        also: other names under which people know it.
    """

    name: str
    images: tuple[str, ...]
    labels: tuple[str, ...]
    depths: tuple[str, ...]
    raw_depths: tuple[str, ...] = ()
    lists: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ((("train.txt",), ("test.txt",)),)
    splits: tuple[str, str] = ("train", "test")
    digits: int = 1
    first_class: int = 1
    depth_unit: float = MILLIMETRE
    also: tuple[str, ...] = ()


LAYOUTS: tuple[Layout, ...] = (
    # CMX has bare numbers in its lists. DFormer's depth is refused for what it is when it is read.
    Layout(
        "sa-gate",
        images=("RGB/{id}.jpg", "RGB/{id}.png"),
        labels=("Label/{id}.png",),
        depths=("Depth/{id}.npy", "Depth/{id}.png"),
        also=("cmx", "dformer"),
    ),
    Layout(
        "esanet",
        images=("{split}/rgb/{id}.png",),
        labels=("{split}/labels_40/{id}.png",),
        depths=("{split}/depth/{id}.png",),
        raw_depths=("{split}/depth_raw/{id}.png",),
        digits=4,
    ),
    Layout(  # nicr-scene-analysis-datasets
        "nicr",
        images=("{split}/rgb/{id}.png",),
        labels=("{split}/semantic_40/{id}.png",),
        depths=("{split}/depth/{id}.png",),
        raw_depths=("{split}/depth_raw/{id}.png",),
        digits=4,
    ),
    Layout(  # light-weight and multi-task RefineNet, DenseTorch
        "drsleep",
        images=("rgb/{id}.png", "{split}_images/{id}.png"),
        labels=("masks/{id}.png", "{split}_labels/{id}.png"),
        depths=("depth/{id}.png",),
        lists=(
            (("train_list_depth.txt",), ("val_list_depth.txt",)),
            (("train.nyu",), ("val.nyu",)),
            (("train.txt",), ("val.txt",)),
        ),
        splits=("train", "val"),
        digits=6,
        first_class=0,
        depth_unit=1 / 5000,
        also=("densetorch",),
    ),
    Layout(  # VainF/nyuv2-python-toolkit
        "vainf",
        images=("image/{split}/{id}.png",),
        labels=("seg40/{split}/{id}.png",),
        depths=("depth/{split}/{id}.png",),
        lists=(),
        digits=5,
        first_class=0,
    ),
    Layout(  # Gupta et al., as FCN reads it; the lists divide the training frames again
        "gupta",
        images=("images/img_{id}.png", "data/images/img_{id}.png"),
        labels=("segmentation/img_{id}.mat",),
        depths=("depth/img_{id}.png", "data/depth/img_{id}.png"),
        lists=((("trainval.txt",), ("test.txt",)), (("train.txt", "val.txt"), ("test.txt",))),
        digits=4,
        also=("fcn",),
    ),
    Layout(  # NYUD_MT of ASTMT, MTI-Net, ATRC, InvPT: the folders of Gupta, depth in metres
        "nyud-mt",
        images=("images/{id}.jpg",),
        labels=("segmentation/{id}.png", "segmentation/{id}.mat"),
        depths=("depth/{id}.npy", "depth/{id}.mat"),
        lists=((("gt_sets/train.txt",), ("gt_sets/val.txt",)),),
        digits=4,
        also=("mti-net",),
    ),
)


def named_layout(name: str) -> Layout | None:
    """The layout of this name, if there is one."""
    fitting = (layout for layout in LAYOUTS if name in (layout.name, *layout.also))
    return next(fitting, None)


def _folders(layout: Layout) -> list[list[str]]:
    """For image, label and depth, the folders that may hold them."""
    groups = (layout.images, layout.labels, layout.depths)
    return [
        [
            str(Path(template.format(split=split, id="")).parent)
            for template in group
            for split in layout.splits
        ]
        for group in groups
    ]


def fitting_layouts(root: Path, use_depth: DepthUse = "required") -> list[Layout]:
    """The layouts whose folders of images, labels and depth, if it is needed, are all there.

    Of several that share their folders, those whose lists are there too.
    """
    needed = 3 if use_depth == "required" else 2
    fitting = [
        layout
        for layout in LAYOUTS
        if all(
            any((root / folder).is_dir() for folder in group) for group in _folders(layout)[:needed]
        )
        and (not layout.lists or any((root / folder).is_dir() for folder in _list_folders(layout)))
    ]
    listed = [layout for layout in fitting if not layout.lists or _has_lists(layout, root)]
    return listed or fitting


def _list_folders(layout: Layout) -> set[str]:
    return {str(Path(name).parent) for pair in layout.lists for side in pair for name in side}


def _has_lists(layout: Layout, root: Path) -> bool:
    return any((root / name).exists() for pair in layout.lists for side in pair for name in side)
