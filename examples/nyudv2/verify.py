"""Read every frame of NYUDv2 and say what cannot be right.

python -m examples.nyudv2.verify DATA
"""

from __future__ import annotations

from examples.rgbd.commands.data import run_verify
from examples.rgbd.data import NYUDv2

if __name__ == "__main__":
    run_verify(NYUDv2, "python -m examples.nyudv2.verify")
