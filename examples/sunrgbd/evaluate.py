"""`python -m examples.sunrgbd.evaluate RUN`: what a checkpoint scores on SUN RGB-D."""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd.commands.evaluate import run_evaluate
from examples.sunrgbd.recipe import PIPELINE


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    run_evaluate(PIPELINE, args)


if __name__ == "__main__":
    main()
