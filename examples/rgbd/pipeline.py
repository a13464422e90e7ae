"""What a command has to know of a data set before it reads any of it. Does not import torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from examples.rgbd.data.spec import DatasetSpec
from examples.rgbd.options.groups import LAPTOP, ROOMS, TrainConfig


@dataclass(frozen=True)
class Crop:
    """The part of an image that counts, for images that all have one size.

    Attributes:
        size: (height, width) of the images.
        rows: that count.
        columns: that count.
    """

    size: tuple[int, int]
    rows: slice
    columns: slice


@dataclass(frozen=True)
class Pipeline:
    """A data set and how to train on it.

    Attributes:
        package: the package whose commands these are, such as "examples.nyudv2".
        spec: the facts of the data set.
        recipe: the default options with `--data`: the paper's.
        trial: the default options without `--data`, for generated rooms; None needs `--data`.
        crop: what lies inside the white frame of the data set's images, if they have one.
        laptop: the default options of `--recipe laptop`.
    """

    package: str
    spec: DatasetSpec
    recipe: TrainConfig
    trial: TrainConfig | None = None
    crop: Crop | None = None
    laptop: TrainConfig = LAPTOP

    def options(self, recipe: str | None) -> TrainConfig:
        """The default options with `--data` and the recipe of this name."""
        if recipe == "laptop":
            return self.laptop
        if recipe != "paper":
            return self.recipe
        # Section IV-A: "with ResNet152 as backbone, unless specified otherwise".
        network = dataclasses.replace(self.recipe.network, backbone="resnet152")
        run = dataclasses.replace(self.recipe.run, recipe="paper")
        return dataclasses.replace(self.recipe, network=network, run=run)

    @property
    def any_folder(self) -> bool:
        """Whether it is for any folder with a ``dataset.json``."""
        return not self.spec.classes


ANY_FOLDER = Pipeline(
    package="examples.rgbd",
    spec=DatasetSpec(
        name="described",
        title="a folder with a dataset.json",
        classes=(),
        depth_limits=(0.5, 10.0),
        opener="examples.rgbd.data.described:open_described",
        indoor=False,
    ),
    recipe=TrainConfig(),
    trial=ROOMS,
)
"""Any folder that a ``dataset.json`` describes."""
