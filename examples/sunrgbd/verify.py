"""Read every frame of SUN RGB-D and say what cannot be right.

python -m examples.sunrgbd.verify DATA
"""

from __future__ import annotations

from examples.rgbd.commands.data import run_verify
from examples.rgbd.data import SUNRGBD

if __name__ == "__main__":
    run_verify(SUNRGBD, "python -m examples.sunrgbd.verify")
