"""Read every frame of any folder that a ``dataset.json`` describes and say what cannot be right.

python -m examples.rgbd.verify DATA
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd import launch
from examples.rgbd.pipeline import ANY_FOLDER


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.verify(ANY_FOLDER, args)


if __name__ == "__main__":
    main()
