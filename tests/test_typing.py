"""What a user's type checker sees."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

USER = """
import torch
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF

x = torch.zeros(1, 3, 2, 2)
t, d = torch.zeros(1, 2, 2).long(), torch.ones(1, 2, 2)
weighting = lwm.LossWeightModule(fusion="sum", task="multiclass", error="probability")
criterion = lwm.HardPixelLoss(nn.CrossEntropyLoss(reduction="none"), weighting)
objective = lwm.HardPixelMiningLoss(0, weighting=weighting, resize="target")
reveal_type(weighting(x, t, d, d))
reveal_type(criterion(x, t, d, d))
terms = objective(x, t, d, d)
reveal_type(terms)
reveal_type(terms.total)
reveal_type(terms.scalars())
reveal_type(lwm.validate(x, t))
reveal_type(lwm.SelfPacedCurriculum(3)(d))
reveal_type(lwm.OHEMWeighting(mean_over="kept")(x, t))


def mine(logits: Tensor, target: Tensor, p: Tensor | None = None, d: Tensor | None = None) -> Tensor:
    return logits[:, 0]


lwm.HardPixelLoss(nn.CrossEntropyLoss(reduction="none"), mine)
"""
REVEALED = [
    "torch._tensor.Tensor",
    "torch._tensor.Tensor",
    "lwm_loss.objective.LossTerms",
    "torch._tensor.Tensor",
    "dict[str, torch._tensor.Tensor]",
    "lwm_loss.validation.BatchReport",
    "torch._tensor.Tensor",
    "torch._tensor.Tensor",
]
WRONG = [
    'lwm.LossWeightModule(fusion="bogus")',
    'lwm.LossWeightModule(task="regression")',
    'lwm.LossWeightModule(error="soft")',
    'lwm.HardPixelMiningLoss(resize="labels")',
    'lwm.OHEMWeighting(mean_over="all")',
    'lwm.LogDepthMSELoss(reduction="average")',
    'lwm.Fusion("dpe")',
    'LF.rescale_depth(d, 0.5, 10.0, beyond="drop")',
    "criterion(x)",
    "objective(x, t, d, d, sides=[x])",
    "lwm.HardPixelLoss(nn.CrossEntropyLoss(reduction='none'), None)",
]


# What torch imports and no user of a loss sees is not analysed, which takes most of the time.
CONFIG = """
[mypy]
strict = True
follow_imports = silent
"""
UNSEEN = ("_dynamo", "_inductor", "_functorch", "_higher_order_ops", "_export", "ao", "distributed")
UNSEEN += ("export", "fx", "jit", "onnx", "package", "profiler", "quantization", "testing")


@pytest.mark.slow
def test_mypy_sees_tensors_and_refuses_unknown_options(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    lines = USER.splitlines() + WRONG
    (tmp_path / "user.py").write_text("\n".join(lines) + "\n")
    root = Path(__file__).resolve().parents[1]
    unseen = (f"[mypy-torch.{name}.*]\nfollow_imports = skip\n" for name in UNSEEN)
    (tmp_path / "mypy.ini").write_text(CONFIG + "".join(unseen))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--no-error-summary", "user.py"),
            *("--config-file", "mypy.ini", "--cache-dir", str(tmp_path / "cache")),
        ],
        cwd=tmp_path,
        env={"MYPYPATH": str(root), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("user.py:")]
    revealed = [line.split('"')[1] for line in said if "Revealed type is" in line]
    # A named tuple is revealed as a tuple of its fields, with its name at the end.
    assert len(revealed) == len(REVEALED), done.stdout + done.stderr
    for seen, name in zip(revealed, REVEALED, strict=True):
        assert seen.removesuffix("]").endswith(name.removesuffix("]")), (seen, name)
    errors = {int(line.split(":")[1]) for line in said if ": error:" in line}
    assert errors == set(range(len(lines) - len(WRONG) + 1, len(lines) + 1)), done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
def test_pyright_sees_the_same(tmp_path: Path) -> None:
    """Unlike mypy it keeps to the declaration of `nn.Module.__call__`, which is Any."""
    lines = USER.splitlines() + WRONG
    (tmp_path / "user.py").write_text("\n".join(lines) + "\n")
    options = {"extraPaths": [str(Path(__file__).resolve().parents[1])]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(options))
    command = ["pyright", "--outputjson", "--pythonpath", sys.executable, "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)["generalDiagnostics"]
    seen = [each["message"].rsplit('"', 2)[1] for each in told if each["severity"] == "information"]
    assert seen == [re.sub(r"[\w.]+\.", "", name) for name in REVEALED]
    refused = {each["range"]["start"]["line"] for each in told if each["severity"] == "error"}
    assert refused == set(range(len(lines) - len(WRONG), len(lines)))
