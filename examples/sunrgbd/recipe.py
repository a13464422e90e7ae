"""The paper's recipe for SUN RGB-D."""

from __future__ import annotations

import dataclasses

from examples.rgbd.data import SUNRGBD
from examples.rgbd.options.groups import LAPTOP, OptimisationOptions, TrainConfig
from examples.rgbd.splits import Pipeline

PIPELINE = Pipeline(
    name="sunrgbd",
    title="SUN RGB-D",
    recipe=TrainConfig(optimisation=OptimisationOptions(epochs=60, patience=5)),
    open=SUNRGBD,
    # Nearly seven times NYUDv2's frames: fewer passes.
    laptop=dataclasses.replace(
        LAPTOP, optimisation=dataclasses.replace(LAPTOP.optimisation, epochs=1)
    ),
)
