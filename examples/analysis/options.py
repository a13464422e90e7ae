"""What the figures are drawn of. Imports neither torch nor readers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import tyro

from examples.rgbd.data.spec import Split
from examples.rgbd.options.commands import Device


@dataclass(frozen=True)
class Source:
    """Where the frames come from."""

    data: Path | None = None
    """Folder of the data set; by default the one that the run was trained on."""
    layout: str | None = None
    """How the folder is laid out; recognised by itself if it is not said."""
    split: Split = "test"
    """Which split."""
    device: Device = "auto"
    """auto takes the GPU if there is one."""


@dataclass(frozen=True)
class Correlation:
    """Segmentation error in bins of the log-depth error (Fig. 6), one curve for each run."""

    checkpoints: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, or checkpoint files."""
    source: Source = field(default_factory=Source)
    """Frames."""
    output: Path = Path("correlation")
    """Folder to write correlation.png and correlation.csv to."""
    bins: int = 10
    """Number of bins."""
    max_gap: float = 1.0
    """Equal widths: log-depth error at which the last bin ends; beyond it, it is open."""
    widths: Literal["equal", "quantile"] = "equal"
    """equal: bins of one width. quantile: bins with the same number of pixels, of the first run."""


@dataclass(frozen=True)
class Maps:
    """R, Z, M, and what the curriculum keeps of M at given epochs (Fig. 8)."""

    checkpoint: tyro.conf.Positional[Path]
    """Folder of a run, or a checkpoint file."""
    source: Source = field(default_factory=Source)
    """Frames."""
    output: Path = Path("maps")
    """Folder to write to."""
    epochs: tuple[int, ...] = ()
    """Epochs of the curriculum to show; by default quarters of the run."""
    count: int = 4
    """Number of frames, spread evenly over the split."""
