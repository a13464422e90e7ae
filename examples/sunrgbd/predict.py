"""`python -m examples.sunrgbd.predict RUN IMAGES`: labels and depth of plain colour images."""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd.commands.predict import run_predict


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    run_predict("python -m examples.sunrgbd.predict", args)


if __name__ == "__main__":
    main()
