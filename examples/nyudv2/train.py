"""Train on NYUDv2 with hard pixel mining.

python -m examples.nyudv2.train [--data DIR] [--objective full]
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.nyudv2.recipe import PIPELINE
from examples.rgbd import launch


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.train(PIPELINE, args)


if __name__ == "__main__":
    main()
