"""The paper's recipe for NYUDv2, and a short one for generated rooms."""

from __future__ import annotations

from examples.rgbd.data.nyudv2.spec import NYUDV2
from examples.rgbd.options.groups import ROOMS, TrainConfig
from examples.rgbd.pipeline import Crop, Pipeline

# The toolbox's crop: rows 45 to 471 and columns 41 to 601 of 480 x 640, counted from 1.
_INSIDE_FRAME = Crop(size=(480, 640), rows=slice(44, 471), columns=slice(40, 601))

PIPELINE = Pipeline(
    package="examples.nyudv2",
    spec=NYUDV2,
    recipe=TrainConfig(),
    trial=ROOMS,
    crop=_INSIDE_FRAME,
)
