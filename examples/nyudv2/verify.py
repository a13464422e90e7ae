"""Read every frame of NYUDv2 and say what cannot be right.

python -m examples.nyudv2.verify DATA
"""

from __future__ import annotations

from examples.rgbd.data import NYUDv2
from examples.rgbd.data.commands import run_verify

if __name__ == "__main__":
    run_verify(NYUDv2, "python -m examples.nyudv2.verify")
