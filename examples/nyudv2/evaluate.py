"""`python -m examples.nyudv2.evaluate RUN`: what a checkpoint scores on NYUDv2."""

from __future__ import annotations

from collections.abc import Sequence

from examples.nyudv2.recipe import PIPELINE
from examples.rgbd.commands.evaluate import run_evaluate


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    run_evaluate(PIPELINE, args)


if __name__ == "__main__":
    main()
