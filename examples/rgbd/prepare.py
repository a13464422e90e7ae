"""Write any folder that a ``dataset.json`` describes as one plain folder.

python -m examples.rgbd.prepare SOURCE DESTINATION
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd import launch
from examples.rgbd.pipeline import ANY_FOLDER


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.prepare(ANY_FOLDER, args)


if __name__ == "__main__":
    main()
