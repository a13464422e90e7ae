"""The kernels compile for real GPUs: the interpreter also takes what no compiler would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", minversion="3.3", reason="compiles with the API of triton 3.3")

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_kernel_compiles_for_ampere_and_hopper(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    command = [sys.executable, "-m", "tests.cross_entropy.compile_kernels"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"after {done.stdout}:\n{done.stderr}"
    assert len(done.stdout.splitlines()) == 18
