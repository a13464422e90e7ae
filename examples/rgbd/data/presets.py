"""Data sets whose files `init` knows: patterns, numbers and class names, as they are handed out."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.rgbd.data.classes import NYU40

NYU13 = (
    "bed", "books", "ceiling", "chair", "floor", "furniture", "objects", "picture", "sofa", "table",
    "tv", "wall", "window",
)  # fmt: skip
CITYSCAPES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign",
    "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle",
    "bicycle",
)  # fmt: skip

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # NYUD_MT of MTI-Net, InvPT and others: 0 void, 1..40, depth in metres.
    "nyud-mt": {
        "images": "images/*.*",
        "labels": "segmentation/*.*",
        "depth": "depth/*.npy",
        "depth_per_metre": 1.0,
        "first_class": 1,
        "void": (0,),
        "class_names": NYU40,
        "test_list": "gt_sets/val.txt",
    },
    # NYUDv2's 13 coarse classes (nyuv2-meta-data): patterns differ from copy to copy.
    "nyu13": {"first_class": 1, "void": (0,), "class_names": NYU13, "depth_per_metre": 1000.0},
    # scannet_frames_25k: NYU's 40 class numbers, depth in millimetres at a smaller size.
    "scannet25k": {
        "images": "scene*/color/*.jpg",
        "labels": "scene*/label/*.png",
        "depth": "scene*/depth/*.png",
        "depth_per_metre": 1000.0,
        "first_class": 1,
        "void": (0,),
        "class_names": NYU40,
        "group": r"(scene\d+)",
    },
    # labelTrainIds and the disparity archive: 16 bits, 0 missing, falling with the distance.
    "cityscapes": {
        "images": "leftImg8bit/*/*/*_leftImg8bit.png",
        "labels": "gtFine/*/*/*_gtFine_labelTrainIds.png",
        "depth": "disparity/*/*/*_disparity.png",
        "inverse": True,
        "first_class": 0,
        "void": (255,),
        "class_names": CITYSCAPES,
        "test": r"^leftImg8bit/val/",
    },
    # MTAN's NYUDv2 of 288 x 384: arrays, -1 void, 13 classes, metres.
    "mtan": {
        "images": "*/image/*.npy",
        "labels": "*/label/*.npy",
        "depth": "*/depth/*.npy",
        "depth_per_metre": 1.0,
        "first_class": 0,
        "void": (-1,),
        "class_names": NYU13,
        "test": r"^val/",
    },
}
"""What `init --preset` fills in."""


def way_in(root: Path) -> str:
    """The command that describes a folder which is in no layout; the end of a question."""
    init = f"python -m examples.rgbd.init {shlex.quote(str(root))}"
    for name, preset in PRESETS.items():
        patterns = [preset.get(kind) for kind in ("images", "labels", "depth")]
        if None not in patterns and all(next(root.glob(str(p)), None) for p in patterns):
            return f"{init} --preset {name}, which knows these files"
    if next(root.rglob("*.parquet"), None) is not None:
        return (
            "python -m examples.rgbd.init on a folder to which the images of its .parquet tables "
            "are saved (datasets.load_dataset, then image.save)"
        )
    return f"{init}, which describes a folder of any kind"
