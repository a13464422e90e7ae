"""Read every frame of NYUDv2 and say what cannot be right.

python -m examples.nyudv2.verify DATA
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.nyudv2.recipe import PIPELINE
from examples.rgbd import launch


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.verify(PIPELINE, args)


if __name__ == "__main__":
    main()
