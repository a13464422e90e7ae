"""One gradient, however a batch is divided among processes and accumulated parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch import Tensor

from examples.nyudv2.train import main as train
from examples.rgbd.data import SAMPLE_VOID, GeneratedRooms
from examples.rgbd.data.loading import StepSampler, split_holdout
from examples.rgbd.options.groups import OptionError
from examples.rgbd.run.checkpoint import LATEST, load_checkpoint
from tests.examples.accelerators import forget_accelerator
from tests.examples.uneven_frames import train_apart, uneven
from tests.processes import start_group

pytestmark = pytest.mark.usefixtures("tiny_encoders", "workspace")
# Batch norm has to be frozen: its statistics are those of the part that it sees.
BATCH = [
    *("--rooms", "20", "--holdout", "0.2", "--test-rooms", "1", "--image-size", "32x48"),
    *("--backbone", "tiny", "--width", "8", "--device", "cpu", "--panels", "0"),
    *("--workers", "0", "--epochs", "1"),
    *("--optimizer", "sgd", "--schedule", "constant", "--lr", "0.1", "--clip-norm", "1"),
    *("--batch-size", "8", "--freeze-norm", "True", "--scale", "1.0", "1.0"),
    *("--class-weights", "inverse-sqrt"),
]
TERMS = ("loss", "segmentation", "depth", "hard", "sides", "kept_share")
MEASURES = ("val_loss", "val_pixel_accuracy", "val_mean_iou", "val_log_depth_rmse")


@pytest.fixture(autouse=True)
def uneven_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GeneratedRooms, "__getitem__", uneven)


def weights_of(run: Path) -> tuple[Tensor, dict[str, float]]:
    state = load_checkpoint(run / LATEST)
    weights = [value.double().flatten() for value in state["network"].values()]
    return torch.cat(weights), state["history"][0]


def weights_after(args: Sequence[str], name: str) -> tuple[Tensor, dict[str, float]]:
    forget_accelerator()
    train([*BATCH, *args, "--output", name])
    return weights_of(Path(name))


@pytest.mark.slow
def test_parts_and_processes_make_the_gradient_of_the_whole_batch() -> None:
    said = start_group(train_apart, [*BATCH, "--output", "two"], 2)
    whole, row = weights_after([], "whole")
    parts, parts_row = weights_after(["--accumulation", "2"], "parts")
    begun, _ = weights_after(["--lr", "0"], "begun")
    two, two_row = weights_of(Path("two"))
    assert "8 images a step = 4 x 1 accumulated x 2 processes" in said
    assert len(load_checkpoint(Path("two") / LATEST)["random"]) == 2

    moved = (whole - begun).abs().max()
    assert moved > 1e-3
    for other, other_row in ((parts, parts_row), (two, two_row)):
        assert (whole - other).abs().max() < 1e-4 * moved
        for name in TERMS + MEASURES:
            assert row[name] == pytest.approx(other_row[name], rel=1e-5), name


def test_the_halves_of_a_batch_differ_in_labels_and_depths() -> None:
    """Otherwise a mean of means would do, and the test above would prove nothing."""
    frames, _ = split_holdout(20, 0.2)
    halves = [list(StepSampler(len(frames), 8, process=rank, processes=2)) for rank in range(2)]
    for step in zip(*halves):
        shown = [[uneven(None, frames[index]) for index in half] for half in step]
        labels, depths = (
            [sum(int(count(frame)) for frame in half) for half in shown]
            for count in (
                lambda frame: (frame.label != SAMPLE_VOID).sum(),
                lambda frame: (frame.depth > 0).sum(),
            )
        )
        assert max(labels) > 1.1 * min(labels)
        assert max(depths) > 1.1 * min(depths)


def flat(lists: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(lists))


def test_steps_see_the_same_frames_however_they_are_divided() -> None:
    def steps_of(parts: int, processes: int, first: int = 0) -> list[list[int]]:
        shares = []
        for process in range(processes):
            sampler = StepSampler(21, 8, parts=parts, seed=3, process=process, processes=processes)
            sampler.start(epoch=5, first_step=first)
            drawn = list(sampler)
            assert len(drawn) == len(sampler) == (2 - first) * parts
            shares.append([flat(drawn[i : i + parts]) for i in range(0, len(drawn), parts)])
        return [flat(step) for step in zip(*shares)]

    whole = steps_of(1, 1)
    assert len(whole) == 2
    assert len(set(whole[0] + whole[1])) == 16
    assert steps_of(2, 1) == steps_of(1, 2) == steps_of(2, 4) == whole
    assert steps_of(2, 2, first=1) == whole[1:]


def test_the_order_changes_with_seed_and_epoch() -> None:
    orders = set()
    for seed in range(3):
        for epoch in range(3):
            sampler = StepSampler(64, 64, seed=seed)
            sampler.start(epoch)
            orders.add(tuple(next(iter(sampler))))
    assert len(orders) == 9


@pytest.mark.parametrize(("length", "share"), [(795, 0.1), (7, 0.3), (20, 0.1), (5, 0.01)])
def test_whole_runs_of_frames_are_held_out(length: int, share: float) -> None:
    train_frames, held = split_holdout(length, share)
    assert sorted(train_frames + held) == list(range(length))
    assert held
    assert abs(len(held) - share * length) <= max(10, 1)
    if length == 795:
        assert len(held) == 75
        assert held[:10] == list(range(90, 100))
    assert split_holdout(length, 0.0) == (list(range(length)), [])


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(OptionError, match="multiple of 2 processes x 3 accumulated parts"):
        StepSampler(100, 8, parts=3, processes=2)
