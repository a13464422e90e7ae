"""Predict labels and depth of plain colour images; no depth is needed.

python -m examples.rgbd.predict RUN IMAGES
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd import launch
from examples.rgbd.pipeline import ANY_FOLDER


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.predict(ANY_FOLDER, args)


if __name__ == "__main__":
    main()
