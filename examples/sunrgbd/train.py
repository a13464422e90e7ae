"""`python -m examples.sunrgbd.train`: train on SUN RGB-D."""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd.commands.train import train
from examples.sunrgbd.recipe import PIPELINE


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    train(PIPELINE, args)


if __name__ == "__main__":
    main()
