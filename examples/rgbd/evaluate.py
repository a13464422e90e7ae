"""Score a network that was trained on any folder that a ``dataset.json`` describes.

python -m examples.rgbd.evaluate RUN [--data DIR] [--flip]
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd import launch
from examples.rgbd.pipeline import ANY_FOLDER


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.evaluate(ANY_FOLDER, args)


if __name__ == "__main__":
    main()
