"""Read every frame of SUN RGB-D and say what cannot be right.

python -m examples.sunrgbd.verify DATA
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd import launch
from examples.sunrgbd.recipe import PIPELINE


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.verify(PIPELINE, args)


if __name__ == "__main__":
    main()
