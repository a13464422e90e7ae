"""Train on any folder that a ``dataset.json`` describes with hard pixel mining.

python -m examples.rgbd.train [--data DIR] [--objective full]
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd import launch
from examples.rgbd.pipeline import ANY_FOLDER


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.train(ANY_FOLDER, args)


if __name__ == "__main__":
    main()
