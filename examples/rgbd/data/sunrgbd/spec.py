"""SUN RGB-D (Song et al., 2015): 5,285 training and 5,050 test frames, 37 classes."""

from __future__ import annotations

from examples.rgbd.data.classes import SUN37
from examples.rgbd.data.spec import DatasetSpec

SUNRGBD = DatasetSpec(
    name="sunrgbd",
    title="SUN RGB-D",
    classes=SUN37,
    depth_limits=(0.5, 8.0),
    opener="examples.rgbd.data.sunrgbd.dataset:open_sunrgbd",
    # "toolbox": SUNRGBD/ and SUNRGBDtoolbox/. "lists": RedNet, ACNet and ESANet, with lists of
    # files and labels in label.npy. "handa": Ankur Handa's lists and img-000001.png ...
    layouts=("plain", "toolbox", "lists", "handa"),
    split_sizes={"train": 5285, "test": 5050},
)
