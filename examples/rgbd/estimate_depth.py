"""Estimate depth of colour images by a monocular model.

python -m examples.rgbd.estimate_depth DIR --model depth-anything/Depth-Anything-V2-Small-hf
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd import launch


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.estimate_depth(args)


if __name__ == "__main__":
    main()
