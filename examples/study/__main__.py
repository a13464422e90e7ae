"""The command line: run, report and arms."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro

from examples.rgbd.cli import guarded, parse
from examples.study.options import ArmsOptions, ReportOptions, RunOptions

Command = Union[  # noqa: UP007 (Python 3.10 has no `|` for Annotated)
    Annotated[RunOptions, tyro.conf.subcommand("run")],
    Annotated[ReportOptions, tyro.conf.subcommand("report")],
    Annotated[ArmsOptions, tyro.conf.subcommand("arms")],
]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command. What it needs is imported once its line is parsed."""
    options: Any = parse(
        Command,  # type: ignore[arg-type]
        sys.argv[1:] if args is None else args,
        prog="python -m examples.study",
        description="A controlled study of the losses, paired by seed.",
    )

    def command() -> None:
        if isinstance(options, ReportOptions):
            from examples.study.report import report

            report(options)
            return
        from examples.study.commands import list_arms, run

        run(options) if isinstance(options, RunOptions) else list_arms(options)

    guarded(command)


if __name__ == "__main__":
    main()
