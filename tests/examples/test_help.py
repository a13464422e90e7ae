"""Command lines are parsed before anything heavy is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from examples.rgbd.networks import FAMILIES, NETWORKS
from examples.rgbd.options import backbones

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import importlib, io, sys, contextlib
for line in sys.argv[1:]:
    module, *args = line.split()
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        importlib.import_module(module).main([*args, "--help"])
    assert "usage" in said.getvalue().lower(), line
heavy = {"torch", "transformers", "accelerate", "matplotlib", "PIL", "h5py", "lwm_loss"}
print("loaded", *sorted(heavy & set(sys.modules)))
"""


def test_help_imports_nothing_heavy() -> None:
    names = "init verify prepare train evaluate predict export estimate_depth"
    lines = [f"examples.rgbd.{name}" for name in names.split()]
    lines += [
        f"examples.{data}.{name}" for data in ("nyudv2", "sunrgbd") for name in names.split()[1:6]
    ]
    lines += ["examples.rgbd.train --network fcn", "examples.nyudv2.train --network trl --data x"]
    lines += ["examples.analysis.__main__", "examples.analysis.__main__ maps"]
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, *lines],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert said.stdout.split() == ["loaded"]


def test_names_of_encoders_are_those_that_the_networks_have() -> None:
    """The command line knows them without torch: the two places have to agree."""
    for family, names in backbones.FAMILIES.items():
        assert tuple(FAMILIES[family]) == names
    bound = {
        name: (kind.families, kind.backbone) for name, kind in NETWORKS.items() if kind.families
    }
    assert dict(backbones.BOUND) == bound
