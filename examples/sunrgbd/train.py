"""Train on SUN RGB-D with hard pixel mining.

python -m examples.sunrgbd.train [--data DIR] [--objective full]
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd import launch
from examples.sunrgbd.recipe import PIPELINE


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.train(PIPELINE, args)


if __name__ == "__main__":
    main()
