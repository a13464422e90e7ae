"""Write NYUDv2 as one plain folder.

python -m examples.nyudv2.prepare SOURCE DESTINATION
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.nyudv2.recipe import PIPELINE
from examples.rgbd import launch


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.prepare(PIPELINE, args)


if __name__ == "__main__":
    main()
