"""The engine: a run that a kill does not change, objectives and schedules."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from examples.nyudv2.train import main as train
from examples.rgbd.data import DataError
from examples.rgbd.options.groups import OptimisationOptions
from examples.rgbd.run.checkpoint import (
    BEST,
    LATEST,
    PREVIOUS,
    load_checkpoint,
    load_latest,
    save_checkpoint,
)
from examples.rgbd.run.engine import Engine
from examples.rgbd.run.folder import RunFolder
from examples.rgbd.run.schedule import Schedule, build_optimizer
from examples.rgbd.run.trained import load_trained
from tests.examples.accelerators import forget_accelerator

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("tiny_encoders", "workspace")
TINY = [
    *("--image-size", "32x48", "--test-rooms", "1", "--width", "8", "--device", "cpu"),
    *("--backbone", "tiny"),
    *("--panels", "0", "--holdout", "0", "--optimizer", "sgd", "--lr", "0.01", "--workers", "0"),
]


def start(args: Sequence[str], launcher: Sequence[str]) -> subprocess.Popen[str]:
    """The command in processes of its own, with one thread like the tests."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", *launcher, *args],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """The leaves of nested containers, by their path."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return {path: value}
    return {
        name: leaf for key, item in items for name, leaf in flatten(item, f"{path}/{key}").items()
    }


def assert_bit_equal(state: dict[str, Any], other: dict[str, Any]) -> None:
    """All that is learnt is the same, to the last bit."""
    ours, theirs = flatten(state), flatten(other)
    told = ("images_per_second", "memory_mb", "/config")
    assert ours.keys() == theirs.keys()
    for path, leaf in ours.items():
        if path.endswith(told):
            continue
        if isinstance(leaf, Tensor):
            assert torch.equal(leaf, theirs[path]), path
        elif isinstance(leaf, float) and math.isnan(leaf):
            assert math.isnan(theirs[path]), path
        else:
            assert leaf == theirs[path], path


# --- a run that is killed -------------------------------------------------------------------------

# Dropout and a shuffled M draw random numbers; adamw, plateau and the curriculum have state.
STEPS = [
    *(*TINY, "--rooms", "12", "--holdout", "0.15", "--epochs", "2", "--batch-size", "2"),
    *("--optimizer", "adamw", "--schedule", "plateau", "--patience", "0", "--dropout", "0.1"),
    *("--control", "shuffled", "--checkpoint-every", "2", "--lr", "0.002"),
]


KILLED_IN_A_STEP = """
import os, signal, sys
from examples.nyudv2.train import main
from examples.rgbd.run.step import TrainingStep
from tests.examples.network_support import add_tiny_encoders

steps, take_step = [], TrainingStep.__call__

def killed(self, parts):
    steps.append(parts)
    if len(steps) == 9:  # the fourth step of the second epoch
        os.kill(os.getpid(), signal.SIGKILL)
    return take_step(self, parts)

TrainingStep.__call__ = killed
add_tiny_encoders()
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_equal() -> None:
    process = start([*STEPS, "--output", "killed"], ["-c", KILLED_IN_A_STEP])
    train([*STEPS, "--output", "whole"])
    said, _ = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL, said
    state = load_latest(Path("killed"))
    assert (state["epoch"], state["step"]) == (1, 2)
    assert (Path("killed") / PREVIOUS).exists()
    forget_accelerator()
    train(["--resume", "killed", "--workers", "1", "--device", "cpu"])
    whole, killed = (load_checkpoint(Path(name) / LATEST) for name in ("whole", "killed"))
    assert whole["epoch"] == 2
    assert_bit_equal(whole, killed)
    assert_bit_equal(*(load_checkpoint(Path(name) / "best.pt") for name in ("whole", "killed")))
    assert Path("whole/results.json").read_bytes() == Path("killed/results.json").read_bytes()


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_is_begun_anew(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Engine) -> None:
        raise KeyboardInterrupt

    fit = Engine.fit

    short = [*TINY, "--rooms", "4", "--epochs", "1", "--batch-size", "2", "--schedule", "constant"]
    train([*short, "--output", "whole"])
    forget_accelerator()
    # Killed while it wrote: the folder holds half a file, which is no reason to refuse it.
    killed = Path("killed")
    killed.mkdir()
    half = [killed / ".config.json.7.part", killed / ".checkpoint.pt.7.part"]
    half[0].write_text("{")
    with pytest.raises(SystemExit):
        train(["--resume", "killed"])
    assert "--output" in capsys.readouterr().err
    monkeypatch.setattr(Engine, "fit", interrupted)
    with pytest.raises(SystemExit):
        train([*short, "--output", "killed"])
    assert capsys.readouterr().err.endswith("interrupted\n")
    monkeypatch.setattr(Engine, "fit", fit)
    half[1].write_bytes(b"half a checkpoint")
    forget_accelerator()
    train(["--resume", "killed"])
    assert "no checkpoint yet" in capsys.readouterr().out
    assert not any(file.exists() for file in half)
    assert_bit_equal(*(load_checkpoint(Path(name) / LATEST) for name in ("whole", "killed")))
    forget_accelerator()
    monkeypatch.setattr(Engine, "fit", interrupted)
    with pytest.raises(SystemExit) as stop:
        train(["--resume", "killed", "--epochs", "2"])
    assert stop.value.code == 130
    assert capsys.readouterr().err.endswith("interrupted: go on by --resume killed\n")


@pytest.mark.slow
def test_a_run_is_gone_on_with_only_as_it_was_begun(capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--rooms", "4", "--epochs", "1", "--batch-size", "2", "--schedule", "constant"]
    train([*TINY, *short, "--output", "run"])
    for args, part in (
        ([], "more --epochs"),
        (["--epochs", "2", "--lr", "1"], "--lr 0.01"),
        (["--epochs", "2", "--batch-size", "4"], "--batch-size 2"),
        (["--epochs", "2", "--output", "another"], "in its own folder"),
    ):
        forget_accelerator()
        with pytest.raises(SystemExit):
            train(["--resume", "run", *args])
        assert part in capsys.readouterr().err
    assert not Path("another").exists()
    # More epochs: the curriculum has run its course, and stays there.
    forget_accelerator()
    train(["--resume", "run", "--epochs", "3", "--output", "run"])
    assert "curriculum over 1 epochs" in capsys.readouterr().out
    state = load_checkpoint(Path("run") / LATEST)
    assert [row["curriculum_progress"] for row in state["history"]] == [0, 1, 1]
    assert load_trained(Path("run") / LATEST).config.objective.curriculum_epochs == 1
    assert json.loads(Path("run/config.json").read_text())["options"]["optimisation"]["epochs"] == 3


@pytest.mark.slow
def test_panels_change_nothing_that_is_learnt_or_logged() -> None:
    """Neither the random state nor what the curriculum counts."""
    short = [*TINY, "--rooms", "6", "--epochs", "2", "--batch-size", "2", "--dropout", "0.1"]
    rows = []
    for name, more in (("plain", []), ("drawn", ["--panels", "1", "--panels-every", "1"])):
        forget_accelerator()
        train([*short, *more, "--output", name])
        rows.append(load_checkpoint(Path(name) / LATEST))
    assert len(list(Path("drawn/panels").iterdir())) == 3
    assert_bit_equal(*rows)


@pytest.mark.parametrize("schedule", ["plateau", "one-cycle", "poly", "constant"])
def test_schedules_go_on_where_they_were(schedule: str) -> None:
    options = OptimisationOptions(schedule=schedule, patience=0)  # type: ignore[arg-type]

    def rates(resume_at: int | None) -> list[float]:
        parameter = torch.nn.Parameter(torch.zeros(3))
        optimizer = build_optimizer([{"params": [parameter], "lr": 0.1}], options)
        moving = Schedule(optimizer, options, steps=8)
        seen = []
        for step in range(8):
            if step == resume_at:
                state, optimizer_state = moving.state_dict(), optimizer.state_dict()
                optimizer = build_optimizer([{"params": [parameter], "lr": 0.1}], options)
                moving = Schedule(optimizer, options, steps=8)
                moving.load_state_dict(state)
                optimizer.load_state_dict(optimizer_state)
            parameter.grad = torch.ones(3)
            optimizer.step()
            moving.after_step()
            if step % 2:
                moving.after_epoch(1.0)
            seen.append(optimizer.param_groups[0]["lr"])
        return seen

    assert rates(None) == rates(3) == rates(4)
    assert (len(set(rates(None))) == 1) == (schedule == "constant")


def test_schedules_follow_their_formulas() -> None:
    def rates(schedule: str, losses: Sequence[float] = ()) -> list[float]:
        """The rate of each of ten steps, and after each loss of an epoch."""
        options = OptimisationOptions(schedule=schedule, patience=1)  # type: ignore[arg-type]
        groups = [{"params": [torch.nn.Parameter(torch.zeros(3))], "lr": 0.1}]
        optimizer = build_optimizer(groups, options)
        moving = Schedule(optimizer, options, steps=10)
        seen = []
        for loss in losses or [None] * 10:
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            moving.after_step()
            if loss is not None:
                moving.after_epoch(loss)
        return [*seen, optimizer.param_groups[0]["lr"]]

    # As DeepLab and FCN have it.
    assert rates("poly") == pytest.approx([0.1 * (1 - step / 10) ** 0.9 for step in range(11)])
    assert rates("constant") == [0.1] * 11
    # A cosine from a 25th up to the rate, of which the first is at 15 % of the run, and one down.
    top, end = 0.15 * 11 - 1, 10
    cycle = []
    for step in range(11):
        low, place = (
            (0.1 / 25, step / top) if step <= top else (0.1 / 25e4, (end - step) / (end - top))
        )
        cycle.append(low + (0.1 - low) * (1 - math.cos(math.pi * place)) / 2)
    assert rates("one-cycle") == pytest.approx(cycle)
    # A tenth after two epochs that were no better than the best one.
    losses = [3.0, 2.0, 2.5, 2.1, 2.1, 1.0]
    assert rates("plateau", losses) == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


@pytest.mark.parametrize("held", [True, False])
def test_what_is_held_out_moves_the_schedule_and_chooses_the_weights(
    tmp_path: Path, held: bool
) -> None:
    """Without held-out frames the training loss L_s moves it, and the last weights are kept."""
    engine = Engine.__new__(Engine)
    moved: list[float] = []
    engine.frames = SimpleNamespace(held=[0] if held else None)
    engine.schedule = SimpleNamespace(after_epoch=moved.append)
    engine.curriculum, engine.best = None, None
    engine.epoch, engine.step, engine.sums = 0, 7, torch.ones(3)
    engine.accelerator = SimpleNamespace(is_main_process=True)
    engine.folder = SimpleNamespace(path=tmp_path)
    engine.portable_state_dict = lambda: {"epoch": engine.epoch}
    for loss, score in ((0.3, 0.5), (0.2, 0.7), (0.1, 0.6)):
        row = {"segmentation": loss}
        engine._move_on({**row, "val_loss": 10 * loss, "val_mean_iou": score} if held else row)
    assert moved == pytest.approx([3, 2, 1] if held else [0.3, 0.2, 0.1])
    assert load_checkpoint(tmp_path / BEST)["epoch"] == (2 if held else 3)
    assert (engine.epoch, engine.step) == (3, 0)
    assert not engine.sums.any()


@pytest.mark.parametrize(
    ("name", "package"), [("office", "rgbd"), ("nyudv2", "nyudv2"), ("sunrgbd", "sunrgbd")]
)
@pytest.mark.parametrize("fault", [DataError("Expected x.png."), OSError("no disk")], ids=str)
def test_a_failed_evaluation_says_what_finishes_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: Exception, name: str, package: str
) -> None:
    """The weights are kept whatever the test frames are."""
    engine = Engine.__new__(Engine)
    network = torch.nn.Linear(2, 2)
    engine.model = network
    engine.frames = SimpleNamespace(name=name, test=None)
    engine.folder = RunFolder(tmp_path)
    engine.accelerator = SimpleNamespace(
        wait_for_everyone=lambda: None, is_main_process=True, unwrap_model=lambda model: model
    )
    save_checkpoint(tmp_path / BEST, {"network": network.state_dict(), "epoch": 1})

    def score(network: torch.nn.Module, dataset: object) -> None:
        raise fault

    engine.outcome = SimpleNamespace(score=score)
    with pytest.raises(type(fault)) as caught:
        engine._finish()
    said = str(caught.value) + capsys.readouterr().err
    assert str(fault) in said
    assert f"python -m examples.{package}.evaluate {tmp_path} finishes the job" in said
    assert (tmp_path / BEST).exists()
