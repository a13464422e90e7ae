"""Predict labels and depth of plain colour images; no depth is needed.

python -m examples.nyudv2.predict RUN IMAGES
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.nyudv2.recipe import PIPELINE
from examples.rgbd import launch


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.predict(PIPELINE, args)


if __name__ == "__main__":
    main()
