"""`python -m examples.nyudv2.train`: train on NYUDv2 or, without `--data`, on generated rooms."""

from __future__ import annotations

from collections.abc import Sequence

from examples.nyudv2.recipe import PIPELINE
from examples.rgbd.commands.train import train


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    train(PIPELINE, args)


if __name__ == "__main__":
    main()
