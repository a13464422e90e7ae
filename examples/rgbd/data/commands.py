"""The command lines ``prepare`` and ``verify``, which the data sets share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from examples.rgbd.cli import guarded
from examples.rgbd.data.prepare import prepare
from examples.rgbd.data.sources import DepthKind, SourceDataset, Split
from examples.rgbd.data.verify import describe, verify

_SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True)
class PrepareOptions:
    """What `prepare` reads and writes."""

    source: tyro.conf.Positional[Path]
    """The data set as it lies on the disk: its folder, or NYUDv2's large .mat file."""
    destination: tyro.conf.Positional[Path]
    """The plain folder to write."""
    layout: str | None = None
    """How the source is laid out; recognised by itself if it is not said."""
    depth: DepthKind = "inpainted"
    """Which depth to keep, where the source has both."""
    workers: Annotated[int, tyro.conf.arg(metavar="PROCESSES")] = 4
    """Processes that convert frames; 0 works in one."""


@dataclass(frozen=True)
class VerifyOptions:
    """What `verify` looks at."""

    data: tyro.conf.Positional[Path]
    """The data set, prepared or as it lies on the disk."""
    layout: str | None = None
    """How it is laid out; recognised by itself if it is not said."""
    depth: DepthKind = "inpainted"
    """Which depth to look at, where there are both."""
    subset: bool = False
    """The folder holds a part of the data set on purpose: its size is no problem then."""
    workers: Annotated[int, tyro.conf.arg(metavar="PROCESSES")] = 4
    """Processes that read frames; 0 works in one."""


def run_prepare(kind: type[SourceDataset], prog: str, args: Sequence[str] | None = None) -> None:
    """The command ``prepare`` of one data set."""
    options = tyro.cli(
        PrepareOptions,
        args=args,
        prog=prog,
        description="Write a data set as one plain folder. Started again, it goes on.",
    )

    def command() -> None:
        splits = _open(kind, options.source, options.layout, options.depth)
        written = prepare(splits, options.destination, options.workers)
        for split, frames in splits.items():
            present = len(frames) - written[split]
            print(f"{split}: {len(frames)} frames, {present} of them written before")

    guarded(command)


def run_verify(kind: type[SourceDataset], prog: str, args: Sequence[str] | None = None) -> None:
    """The command ``verify`` of one data set; a problem ends in status 1."""
    options = tyro.cli(
        VerifyOptions,
        args=args,
        prog=prog,
        description="Read every frame of a data set and say what cannot be right.",
    )

    def command() -> None:
        splits = _open(kind, options.data, options.layout, options.depth)
        sizes = None if options.subset else kind.split_sizes
        reports = verify(splits, sizes, options.workers)
        for report in reports:
            print(describe(report, kind.classes))
        problems = [problem for report in reports for problem in report.problems]
        print("\n".join(problems) if problems else "Nothing found that cannot be right.")
        if problems:
            raise SystemExit(1)

    guarded(command)


def _open(
    kind: type[SourceDataset], root: Path, layout: str | None, depth: DepthKind
) -> dict[Split, SourceDataset]:
    return {split: kind(root, split, layout, depth) for split in _SPLITS}
