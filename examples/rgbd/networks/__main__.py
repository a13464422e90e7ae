"""Print every network of Table I: ``python -m examples.rgbd.networks --classes 40``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(args: Sequence[str] | None = None) -> None:
    """Parse the command line, and then import what prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.rgbd.networks",
        description="Networks of Table I: parameters, multiply-adds at 480 x 640, and the memory of a "
        "training step of one image (computed: weights, gradients, momentum and kept activations).",
    )
    parser.add_argument("--classes", type=int, default=40, help="number of classes (default: 40)")
    classes = parser.parse_args(args).classes
    if classes < 1:
        parser.error(f"Expected --classes to be at least 1, but got {classes}.")
    from examples.rgbd.networks.table import table

    print(table(classes))


if __name__ == "__main__":
    main()
