"""Turn NYUDv2 as it was released, or in a known layout, into one plain folder.

python -m examples.nyudv2.prepare SOURCE DESTINATION
"""

from __future__ import annotations

from examples.rgbd.commands.data import run_prepare
from examples.rgbd.data import NYUDv2

if __name__ == "__main__":
    run_prepare(NYUDv2, "python -m examples.nyudv2.prepare")
