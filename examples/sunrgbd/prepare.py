"""Write SUN RGB-D as one plain folder.

python -m examples.sunrgbd.prepare SOURCE DESTINATION
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd import launch
from examples.sunrgbd.recipe import PIPELINE


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.prepare(PIPELINE, args)


if __name__ == "__main__":
    main()
