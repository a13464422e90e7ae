"""Score a network that was trained on SUN RGB-D.

python -m examples.sunrgbd.evaluate RUN [--data DIR] [--flip]
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd import launch
from examples.sunrgbd.recipe import PIPELINE


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.evaluate(PIPELINE, args)


if __name__ == "__main__":
    main()
