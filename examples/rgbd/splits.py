"""The frames of a run: what is trained on, held out and tested."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Subset

import lwm_loss.functional as LF
from examples.rgbd.data import GeneratedRooms, RGBDDataset, Sample, Split
from examples.rgbd.data.loading import Preloaded, split_holdout
from examples.rgbd.evaluation.scoring import Crop
from examples.rgbd.options.groups import LAPTOP, DataOptions, OptionError, TrainConfig

_ROOMS_A_WORKER = 32


@dataclass(frozen=True)
class Pipeline:
    """What is particular to a data set.

    Attributes:
        name: of the data set, as in module and folder names.
        title: the same for people.
        recipe: the default options with `--data`: the paper's.
        open: opens a split of the folder that the options name.
        trial: the default options without `--data`, for generated rooms; None needs `--data`.
        crop: what lies inside the white frame of the data set's images, if they have one.
        laptop: the default options of `--recipe laptop`.
    """

    name: str
    title: str
    recipe: TrainConfig
    open: Callable[..., RGBDDataset]
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


@dataclass(frozen=True)
class Frames:
    """The frames of a run.

    Attributes:
        name: what they are called.
        train: to learn from.
        held: held out of the training split; None with `holdout=0`.
        test: evaluated once, at the end.
        limits: (near, far) in metres.
    """

    name: str
    train: Subset[Any]
    held: Subset[Any] | None
    test: RGBDDataset
    limits: tuple[float, float]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.test.classes


def open_split(
    pipeline: Pipeline, options: DataOptions, split: Split, quiet: bool = False
) -> RGBDDataset:
    """A split of the data set or, without a folder, of generated rooms.

    Raises:
        DataError: the folder is unusable.
        OptionError: there is no folder, and the pipeline cannot do without.
    """
    if options.data is not None:
        return pipeline.open(options.data, split, options.layout, options.depth)
    if pipeline.trial is None:
        raise OptionError(
            f"Expected --data with the folder of {pipeline.title}, but got none: did you mean "
            "examples.nyudv2, which can do with generated rooms?"
        )
    length = options.rooms if split == "train" else options.test_rooms
    rooms = GeneratedRooms(split, length, options.world, options.image_size)
    # All cores, but no more processes than are worth their start.
    workers = min(max(options.workers, min(os.cpu_count() or 1, 8)), length // _ROOMS_A_WORKER)
    return Preloaded(rooms, workers, None if quiet else f"generating {split} rooms")


def limits_of(options: DataOptions, dataset: RGBDDataset) -> tuple[float, float]:
    """(near, far) in metres.

    Raises:
        OptionError: near is not below far.
    """
    near = dataset.depth_limits[0] if options.near is None else options.near
    far = dataset.depth_limits[1] if options.far is None else options.far
    if not 0 <= near < far:
        raise OptionError(f"Expected 0 <= --near < --far in metres, but got {near} and {far}.")
    return near, far


def mean_log_depth(
    dataset: Sequence[Sample] | Subset[Any], limits: tuple[float, float], count: int = 16
) -> float | None:
    """The mean log-depth, in levels, of some frames that are spread over a data set.

    Args:
        dataset: the frames.
        limits: (near, far) in metres.
        count: how many frames to read.

    Returns:
        The mean over the pixels of known depth; None where there are none.
    """
    number = min(count, len(dataset))
    total = known = 0.0
    for index in range(number):
        metres = torch.from_numpy(dataset[index * len(dataset) // number].depth)
        levels = LF.rescale_depth(metres, *limits)
        total += float(levels.clamp(min=1).double().log().sum())
        known += float((levels > 0).sum())
    return total / known if known else None


def open_frames(pipeline: Pipeline, options: DataOptions, quiet: bool = False) -> Frames:
    """All frames of a run.

    Raises:
        DataError: the folder is unusable.
        OptionError: an option does not fit it.
    """
    train = open_split(pipeline, options, "train", quiet)
    kept, held = split_holdout(len(train), options.holdout)
    return Frames(
        name=pipeline.name if options.data is not None else "rooms",
        train=Subset(train, kept),
        held=Subset(train, held) if held else None,
        test=open_split(pipeline, options, "test", quiet),
        limits=limits_of(options, train),
    )
