"""Describe a folder of images, labels and depth in a ``dataset.json``.

python -m examples.rgbd.init DIR --images 'rgb/*.png' --labels 'seg/*.png' --depth 'depth/*.png'
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd import launch


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.init(args)


if __name__ == "__main__":
    main()
