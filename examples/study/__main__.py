"""The command line: run, report and arms."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Union

import tyro

from examples.rgbd.cli import guarded, parse
from examples.study.commands import ArmsOptions, RunOptions, list_arms, run
from examples.study.report import ReportOptions, report

Command = Union[  # noqa: UP007 (Python 3.10 has no `|` for Annotated)
    Annotated[RunOptions, tyro.conf.subcommand("run")],
    Annotated[ReportOptions, tyro.conf.subcommand("report")],
    Annotated[ArmsOptions, tyro.conf.subcommand("arms")],
]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    command: Any = parse(
        Command,  # type: ignore[arg-type]
        sys.argv[1:] if args is None else args,
        prog="python -m examples.study",
        description="A controlled study of the losses, paired by seed.",
    )
    actions: dict[type, Callable[[Any], None]] = {
        RunOptions: run,
        ReportOptions: report,
        ArmsOptions: list_arms,
    }
    guarded(lambda: actions[type(command)](command))


if __name__ == "__main__":
    main()
