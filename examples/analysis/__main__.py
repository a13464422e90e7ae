"""Figures of the paper from checkpoints: `correlation` (Fig. 6) and `maps` (Fig. 8).

python -m examples.analysis correlation RUN [RUN ...]
python -m examples.analysis maps RUN --epochs 30 60 90 120
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Union

import tyro

from examples.analysis.options import Correlation, Maps
from examples.rgbd.cli import guarded, parse

Command = Union[  # noqa: UP007 (Python 3.10 has no `|` for Annotated)
    Annotated[Correlation, tyro.conf.subcommand("correlation")],
    Annotated[Maps, tyro.conf.subcommand("maps")],
]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command. What it needs is imported once its line is parsed."""
    options: Any = parse(
        Command,  # type: ignore[arg-type]
        sys.argv[1:] if args is None else args,
        prog="python -m examples.analysis",
        description="Figures of the paper from checkpoints.",
    )

    def command() -> None:
        if isinstance(options, Correlation):
            from examples.analysis.correlation import correlation

            correlation(options)
        else:
            from examples.analysis.maps import maps

            maps(options)

    guarded(command)


if __name__ == "__main__":
    main()
