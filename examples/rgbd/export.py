"""Write a trained network as ONNX or as a program of ``torch.export``.

python -m examples.rgbd.export RUN net.onnx
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.rgbd import launch


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    launch.export(args)


if __name__ == "__main__":
    main()
