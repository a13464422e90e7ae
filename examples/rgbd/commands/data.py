"""The command lines ``prepare`` and ``verify``, which the data sets share."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from examples.rgbd.cli import guarded, parse
from examples.rgbd.data.dataset import DepthKind, SourceDataset, Split
from examples.rgbd.data.inspect.rules import describe, verify
from examples.rgbd.data.prepare import prepare
from examples.rgbd.options.groups import OptionError

_SPLITS: tuple[Split, ...] = ("train", "test")


def _default_workers() -> int:
    return min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class PrepareOptions:
    """What `prepare` reads and writes."""

    source: Annotated[Path, tyro.conf.arg(metavar="SOURCE"), tyro.conf.Positional]
    """The data set as it lies on the disk: its folder, or NYUDv2's large .mat file."""
    destination: Annotated[Path, tyro.conf.arg(metavar="DESTINATION"), tyro.conf.Positional]
    """The plain folder to write."""
    layout: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """How the source is laid out; recognised by itself if it is not said."""
    depth: DepthKind = "inpainted"
    """Which depth to keep, where the source has both."""
    workers: Annotated[int, tyro.conf.arg(metavar="PROCESSES")] = field(
        default_factory=_default_workers
    )
    """Processes that convert frames; 0 works in one."""


@dataclass(frozen=True)
class VerifyOptions:
    """What `verify` looks at."""

    data: Annotated[Path, tyro.conf.arg(metavar="DATA"), tyro.conf.Positional]
    """The data set, prepared or as it lies on the disk."""
    layout: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """How it is laid out; recognised by itself if it is not said."""
    depth: DepthKind = "inpainted"
    """Which depth to look at, where there are both."""
    subset: bool = False
    """The folder holds a part of the data set on purpose: its size is no problem then."""
    workers: Annotated[int, tyro.conf.arg(metavar="PROCESSES")] = field(
        default_factory=_default_workers
    )
    """Processes that read frames; 0 works in one."""


def run_prepare(kind: type[SourceDataset], prog: str, args: Sequence[str] | None = None) -> None:
    """The command ``prepare`` of one data set."""
    options = parse(
        PrepareOptions,
        sys.argv[1:] if args is None else args,
        prog=prog,
        description="Write a data set as one plain folder. Started again, it goes on. "
        f"Layouts: {', '.join(name for name in kind.layouts if name != 'plain')}.",
    )

    def command() -> None:
        _check_workers(options.workers)
        splits = _open(kind, options.source, options.layout, options.depth)
        written = prepare(splits, options.destination, options.workers)
        for split, frames in splits.items():
            present = len(frames) - written[split]
            print(f"{split}: {len(frames)} frames, {present} of them written before")

    guarded(command)


def run_verify(kind: type[SourceDataset], prog: str, args: Sequence[str] | None = None) -> None:
    """The command ``verify`` of one data set; a problem ends in status 1."""
    options = parse(
        VerifyOptions,
        sys.argv[1:] if args is None else args,
        prog=prog,
        description="Read every frame of a data set and say what cannot be right. "
        f"Layouts: {', '.join(kind.layouts)}.",
    )

    def command() -> None:
        _check_workers(options.workers)
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


def _check_workers(workers: int) -> None:
    if workers < 0:
        raise OptionError(f"Expected `workers` of at least 0, but got {workers}.")


def _open(
    kind: type[SourceDataset], root: Path, layout: str | None, depth: DepthKind
) -> dict[Split, SourceDataset]:
    return {split: kind(root, split, layout, depth) for split in _SPLITS}
