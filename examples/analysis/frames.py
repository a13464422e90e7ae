"""A run and the frames that it is shown."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from examples.analysis.options import Source
from examples.nyudv2.recipe import PIPELINE as NYUDV2
from examples.rgbd.data import RGBDDataset
from examples.rgbd.options.groups import OptionError
from examples.rgbd.pipeline import ANY_FOLDER
from examples.rgbd.run.trained import Trained, load_trained
from examples.rgbd.splits import open_split
from examples.sunrgbd.recipe import PIPELINE as SUNRGBD

_PIPELINES = {"rooms": NYUDV2, "nyudv2": NYUDV2, "sunrgbd": SUNRGBD}  # ANY_FOLDER otherwise


def open_source(trained: Trained, source: Source) -> RGBDDataset:
    """The frames of a run, or of the folder that is named in their place.

    Raises:
        OptionError: they have another number of classes.
    """
    options = trained.config.data
    if source.data is not None:
        options = dataclasses.replace(options, data=source.data, layout=source.layout)
    dataset = open_split(
        _PIPELINES.get(trained.name, ANY_FOLDER),
        options,
        source.split,
        geometry=trained.geometry,
    )
    if len(dataset.classes) != len(trained.classes):
        raise OptionError(
            f"Expected frames with {len(trained.classes)} classes for {trained.path}, but got "
            f"{len(dataset.classes)}: did you mean another --data?"
        )
    return dataset


def load_with_depth(path: Path) -> Trained:
    """A trained network that predicts depth.

    Raises:
        OptionError: it does not.
    """
    trained = load_trained(path)
    if not trained.predicts_depth:
        raise OptionError(f"Expected a run that predicts depth, but {path} has --objective s.")
    return trained
