"""Score a network that was trained on NYUDv2.

python -m examples.nyudv2.evaluate RUN [--data DIR] [--flip]
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.nyudv2.recipe import PIPELINE
from examples.rgbd import launch


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.evaluate(PIPELINE, args)


if __name__ == "__main__":
    main()
