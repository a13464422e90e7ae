"""Turn SUN RGB-D as it was released, or in a known layout, into one plain folder.

python -m examples.sunrgbd.prepare SOURCE DESTINATION
"""

from __future__ import annotations

from examples.rgbd.commands.data import run_prepare
from examples.rgbd.data import SUNRGBD

if __name__ == "__main__":
    run_prepare(SUNRGBD, "python -m examples.sunrgbd.prepare")
