"""NYUDv2 (Silberman et al., 2012): 795 training and 654 test frames, 40 classes."""

from __future__ import annotations

from examples.rgbd.data.classes import NYU40
from examples.rgbd.data.intrinsics import Intrinsics
from examples.rgbd.data.spec import DatasetSpec

NYUDV2 = DatasetSpec(
    name="nyudv2",
    title="NYUDv2",
    classes=NYU40,
    depth_limits=(0.7, 10.0),
    opener="examples.rgbd.data.nyudv2.dataset:open_nyudv2",
    # "mat" is the original, "plain" what ``prepare`` writes; the others are folders of pictures.
    # "cmx", "dformer", "densetorch", "fcn" and "mti-net" stand for the layouts they share.
    layouts=(
        "plain", "mat", "sa-gate", "esanet", "nicr", "drsleep", "vainf", "gupta", "nyud-mt",
    ),
    split_sizes={"train": 795, "test": 654},
    # The toolbox's colour camera, in whose frame the labelled depth is; its pixels count from 1.
    camera=Intrinsics(
        518.85790117450188, 519.46961112127485, 324.58244941119034, 252.73616633400465, 480, 640
    ),
)  # fmt: skip
