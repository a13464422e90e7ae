"""The frames of a run: what is trained on, held out and tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset

import lwm_loss.functional as LF
from examples.rgbd.data import FrameSource, GeneratedRooms, RGBDDataset, Sample
from examples.rgbd.data.description import TAKEN_NAMES
from examples.rgbd.data.geometry import GeometryKind
from examples.rgbd.data.inspect.start import check_files, check_frames, check_splits
from examples.rgbd.data.loading import Preloaded, split_holdout
from examples.rgbd.data.spec import DepthUse, Split
from examples.rgbd.options.groups import CORES, DataOptions, OptionError
from examples.rgbd.pipeline import Crop, Pipeline

__all__ = [
    "Crop", "Frames", "Pipeline", "check_pipeline", "limits_of", "mean_log_depth", "name_of",
    "open_frames", "open_split", "package_of",
]  # fmt: skip

_ROOMS_A_WORKER = 32


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

    @property
    def metric(self) -> bool:
        """Whether depth is in metres."""
        return self.test.metric

    @property
    def counts(self) -> list[int]:
        """How many frames there are to train on, and how many are held out."""
        return [len(self.train), 0 if self.held is None else len(self.held)]

    def check_begun(self, dataset: Mapping[str, Any], counts: Sequence[int]) -> None:
        """See that a run goes on with the frames that it was begun with, as its checkpoint tells.

        Raises:
            OptionError: they are others.
        """
        begun = (dataset["name"], len(dataset["classes"]), *counts)
        now = (self.name, len(self.classes), *self.counts)
        if begun != now:
            raise OptionError(
                "Expected the frames that the run was begun with, {} with {} classes, {} to train "
                "on and {} held out, but got {} with {} classes, {} and {}: did you mean another "
                "--data?".format(*begun, *now)
            )


def open_split(
    pipeline: Pipeline,
    options: DataOptions,
    split: Split,
    quiet: bool = False,
    use_depth: DepthUse = "required",
    geometry: tuple[GeometryKind, ...] = (),
) -> RGBDDataset:
    """A split of the data set or, without a folder, of generated rooms.

    Raises:
        DataError: the folder is unusable.
        OptionError: there is no folder, and the pipeline cannot do without.
    """
    if options.data is not None:
        spec = pipeline.spec
        return spec.open(options.data, split, options.layout, options.depth, use_depth, geometry)
    if pipeline.trial is None:
        raise OptionError(
            f"Expected --data with the folder of {pipeline.spec.title}, but got none: did you mean "
            "examples.nyudv2, which can do with generated rooms?"
        )
    length = options.rooms if split == "train" else options.test_rooms
    rooms = GeneratedRooms(split, length, options.world, options.image_size, geometry=geometry)
    # All cores, but no more processes than are worth their start.
    workers = min(max(options.workers, min(CORES, 8)), length // _ROOMS_A_WORKER)
    return Preloaded(rooms, workers, None if quiet else f"generating {split} rooms")


def name_of(pipeline: Pipeline, options: DataOptions) -> str:
    """What a run on these frames is called."""
    if options.data is None:
        return "rooms"
    return options.data.resolve().name if pipeline.any_folder else pipeline.spec.name


def check_pipeline(name: str, pipeline: Pipeline, checkpoint: Path, data: Path | None) -> None:
    """See that a run can be shown frames of this pipeline.

    Args:
        name: of the data set that the run was trained on.
        pipeline: of the command.
        checkpoint: for the message.
        data: the folder that was named, if one was.

    Raises:
        OptionError: the command is that of another data set.
    """
    own = name in TAKEN_NAMES
    fits = name in ("rooms", pipeline.spec.name) or (pipeline.any_folder and not own)
    if data is None and not fits:
        raise OptionError(
            f"Expected a run on {pipeline.spec.title}, but {checkpoint} was trained on {name}: did "
            f"you mean {package_of(name)}.evaluate, or --data?"
        )


def package_of(name: str) -> str:
    """The package whose commands are for a data set of this name."""
    return f"examples.{name}" if name in ("nyudv2", "sunrgbd") else "examples.rgbd"


def limits_of(options: DataOptions, dataset: RGBDDataset) -> tuple[float, float]:
    """(near, far) in metres.

    Raises:
        OptionError: near is not below far, or depth is in no unit that they could be in.
    """
    if not dataset.metric and (options.near is not None or options.far is not None):
        raise OptionError(
            "Expected no --near and --far with relative depth, whose levels are those of each "
            f"image, but got {options.near} and {options.far}."
        )
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


def open_frames(
    pipeline: Pipeline,
    options: DataOptions,
    quiet: bool = False,
    *,
    needs_depth: bool = True,
    geometry: tuple[GeometryKind, ...] = (),
) -> Frames:
    """All frames of a run, after a look that every file is there.

    Args:
        pipeline: the data set.
        options: where it lies.
        quiet: show no progress.
        needs_depth: whether anything is learnt from depth.
        geometry: maps of depth that a network reads or learns from.

    Raises:
        DataError: the folder is unusable.
        OptionError: an option does not fit it.
    """
    use_depth: DepthUse = "required" if needs_depth else "none"
    train = open_split(pipeline, options, "train", quiet, use_depth, geometry)
    test = open_split(pipeline, options, "test", quiet, use_depth, geometry)
    limits = limits_of(options, train)
    if isinstance(train, FrameSource) and isinstance(test, FrameSource):
        check_splits(train, test)
        for frames in (train, test):
            check_files(frames, quiet)
        check_frames(train, limits)
    kept, held = split_holdout(len(train), options.holdout)
    return Frames(
        name=train.spec.name if isinstance(train, FrameSource) else "rooms",
        train=Subset(train, kept),
        held=Subset(train, held) if held else None,
        test=test,
        limits=limits,
    )
