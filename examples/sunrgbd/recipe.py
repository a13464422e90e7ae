"""The paper's recipe for SUN RGB-D."""

from __future__ import annotations

import dataclasses

from examples.rgbd.data.sunrgbd.spec import SUNRGBD
from examples.rgbd.options.groups import LAPTOP, OptimisationOptions, TrainConfig
from examples.rgbd.pipeline import Pipeline

PIPELINE = Pipeline(
    package="examples.sunrgbd",
    spec=SUNRGBD,
    recipe=TrainConfig(optimisation=OptimisationOptions(epochs=60, patience=5)),
    # Nearly seven times NYUDv2's frames: fewer passes.
    laptop=dataclasses.replace(
        LAPTOP, optimisation=dataclasses.replace(LAPTOP.optimisation, epochs=1)
    ),
)
