"""The command `prepare`: a data set as one plain folder."""

from __future__ import annotations

from pathlib import Path

from examples.rgbd.data.dataset import FrameSource
from examples.rgbd.data.geometry import GEOMETRY
from examples.rgbd.data.prepare import prepare as write_splits
from examples.rgbd.data.spec import DatasetSpec, DepthKind, Split
from examples.rgbd.options.commands import PrepareOptions
from examples.rgbd.pipeline import Pipeline

_SPLITS: tuple[Split, ...] = ("train", "test")


def prepare(pipeline: Pipeline, options: PrepareOptions) -> None:
    """Write the plain folder, and say how many frames it has."""
    splits = open_splits(pipeline.spec, options.source, options.layout, options.depth)
    geometry = tuple(kind for kind in GEOMETRY if getattr(options, kind))
    written = write_splits(splits, options.destination, options.workers, options.source, geometry)
    for split, frames in splits.items():
        present = len(frames) - written[split]
        print(f"{split}: {len(frames)} frames, {present} of them written before")


def open_splits(
    spec: DatasetSpec, root: Path, layout: str | None, depth: DepthKind
) -> dict[Split, FrameSource]:
    """Both splits of a data set."""
    return {split: spec.open(root, split, layout, depth) for split in _SPLITS}
