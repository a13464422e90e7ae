"""The benchmarks run, measure what they say, and compare things that are the same. No timing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lwm_loss.functional as LF
from benchmarks import loading, losses, measure, naive, report, training_step
from benchmarks.batch import VOID, Shape, make_batch
from benchmarks.measure import Effort, Rival, peak_memory, race
from benchmarks.report import Table
from benchmarks.tables import Setting, joined
from examples.rgbd.data import Augmentation

ROOT = Path(__file__).resolve().parents[1]
SMALL = Shape(2, 6, 24, 40)
MIB = 2**20


def rows_of(text: str, title: str) -> dict[str, list[str]]:
    """The rows of a printed table by their first cell."""
    section = text.split(f"## {title}")[1].split("\n\n")[1]
    lines = [line.strip("| ").split("|") for line in section.splitlines()[2:]]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def run_command() -> str:
    """What the command prints, from a process of its own, as a user starts it."""
    pytest.importorskip("tyro", reason="the command line needs tyro")
    command = [sys.executable, "-m", "benchmarks", "--quick", "--device", "cpu"]
    run = subprocess.run(
        [*command, "--tables", "1", "2", "3", "4"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.slow
def test_the_command_prints_every_table() -> None:
    printed = run_command()
    for number in (1, 2, 3, 4):
        assert f"## Table {number}." in printed
    assert "torch " + torch.__version__ in printed
    assert "no figures to quote" in printed
    # Every figure is one.
    cells = re.findall(r"\|\s*([\d.e+-]+) (ms|MiB|%)", printed)
    assert len(cells) > 60
    assert all(float(value) >= 0 for value, _ in cells)
    assert "nan" not in printed
    # Ratios are against the first row.
    for title in ("Table 1.", "Table 2.", "Table 3."):
        first = next(iter(rows_of(printed, title).values()))
        assert first[2] == first[4] == "1.00"
    # Memory does not depend on the machine's mood: here figures may be asserted.
    plain = rows_of(printed, "Table 1.")["F.cross_entropy + F.mse_loss"]
    logits = 16 * 48 * 64 * 4 / MIB
    assert float(plain[3].split()[0]) == pytest.approx(3 * logits, rel=0.1)
    interpolated = rows_of(printed, "Table 2.")["interpolate + F.cross_entropy, + F.mse_loss"]
    ours = rows_of(printed, "Table 2.")["HardPixelMiningLoss"]
    assert float(ours[3].split()[0]) < float(interpolated[3].split()[0])


# --- what is measured ----------------------------------------------------------------------------


def test_peak_memory_is_exact() -> None:
    def run() -> None:
        first = torch.empty(4 * MIB, dtype=torch.uint8)
        second = torch.empty(2 * MIB, dtype=torch.uint8)
        del first
        torch.empty(3 * MIB, dtype=torch.uint8)
        del second

    assert peak_memory(run, "cpu") == 6 * MIB
    assert peak_memory(lambda: None, "cpu") == 0


def test_everybody_gets_their_turns() -> None:
    calls: list[str] = []
    rivals = [
        Rival("quick", lambda: calls.append("quick")),
        Rival("slow", lambda: (calls.append("slow"), time.sleep(0.02))),
    ]
    results = race(rivals, "cpu", Effort(rounds=5, seconds=0.0, patience=10.0), memory=False)
    assert [result.name for result in results] == ["quick", "slow"]
    assert results[0].ratio == 1.0
    assert results[1].seconds >= 0.02
    assert results[1].ratio > 1.0
    # Two runs to get warm and to plan, then turns in alternating order.
    assert calls[-10:] == ["quick", "slow", "slow", "quick"] * 2 + ["quick", "slow"]


def test_a_slow_rival_gets_fewer_turns() -> None:
    effort = Effort(rounds=11, seconds=0.25, patience=40.0)
    assert measure._plan(0.001, effort) == (250, set(range(11)))
    assert measure._plan(8.0, effort) == (1, {0, 2, 5, 7, 10})
    assert measure._plan(100.0, effort) == (1, {0, 5, 10})
    assert measure._plan(1.0, Effort(2, 0.0, 1.0)) == (1, {0, 1})


# --- the rivals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("cells", [1, 3, 8])
@pytest.mark.parametrize("bin_size", [10.0, 7.0, 100.0])
def test_loops_find_the_same_error_rates(cells: int, bin_size: float) -> None:
    batch = make_batch(SMALL, "cpu")
    predicted = batch.logits.argmax(1)
    wrong = (predicted != batch.target) & (batch.target != VOID)
    truth = LF.depth_aware_segmentation_error(
        predicted,
        batch.target,
        batch.depth,
        cells=(cells, cells),
        bin_size=bin_size,
        ignore_index=VOID,
    )
    assert truth.max() > 0
    for loop in (naive.segmentation_error_by_masks, naive.segmentation_error_by_windows):
        torch.testing.assert_close(loop(wrong, batch.target, batch.depth, cells, bin_size), truth)


def test_all_roads_to_the_objective_agree() -> None:
    batch = make_batch(SMALL, "cpu")
    gradients = [
        torch.autograd.grad(loss(batch), batch.leaves)
        for loss in (
            losses.objective(0, "cpu"),
            losses.objective(0, "cpu", fused=False),
            naive.objective,
        )
    ]
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-4, atol=1e-6)


def test_batches_are_worth_measuring() -> None:
    batch = make_batch(Shape(2, 13, 120, 160), "cpu", sides=True)
    void = (batch.target == VOID).float().mean()
    missing = (batch.depth == 0).float().mean()
    right = (batch.logits.argmax(1) == batch.target)[batch.target != VOID].float().mean()
    assert 0.02 < void < 0.25
    assert 0.01 < missing < 0.15
    assert 0.3 < right < 0.9
    assert [side.shape[-2:] for side in batch.sides] == [(30, 40), (15, 20), (8, 10), (4, 5)]
    assert all(leaf.is_leaf and leaf.requires_grad for leaf in batch.leaves)
    again = make_batch(Shape(2, 13, 120, 160), "cpu", sides=True)
    assert all(torch.equal(*pair) for pair in zip(batch[:5], again[:5], strict=True))


def test_who_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia.losses", None)
    rivals, absent = joined(
        {"plain": lambda: losses.plain, "kornia": losses.kornia_focal}, make_batch(SMALL, "cpu")
    )
    assert [rival.name for rival in rivals] == ["plain"]
    assert len(absent) == 1
    assert absent[0].startswith("kornia was not measured: it is not installed")


def test_no_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses.shutil, "which", lambda name: None)
    with pytest.raises(losses.NotMeasuredError, match="no C\\+\\+ compiler"):
        losses.compiled(losses.plain, "cpu")


def test_a_missing_network_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "examples.rgbd.networks", None)
    with pytest.raises(losses.NotMeasuredError, match="extra `examples`"):
        training_step.table_5(Setting("cpu", quick=True))


@pytest.mark.slow
def test_shares_of_a_training_step() -> None:
    pytest.importorskip("transformers", reason="the example's network needs transformers")
    (table,) = training_step.table_5(Setting("cpu", quick=True))
    shares = {row[0]: float(row[-1].split()[0]) for row in table.rows}
    assert shares["the whole step"] == 100.0
    assert len(shares) == 7
    assert all(share >= 0 for share in shares.values())


def test_loading() -> None:
    (table,) = loading.table_6(Setting("cpu", quick=True))
    assert table.columns[-1] == "images/s"
    assert [row[0] for row in table.rows][1] == "the example's loader"
    assert all(float(row[-1]) > 0 for row in table.rows)
    assert table.rows[0][3] == "1.00"
    assert "2 generated rooms" in table.notes[0]


def test_loaders_that_do_not_agree_are_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = (24, 32)
    loading.write_frames(tmp_path, 2, size)
    loading.check_same(tmp_path, 2, size)
    straightforward = loading.straightforward
    for place in range(3):

        def other(*arguments: object, place: int = place) -> tuple[torch.Tensor, ...]:
            tensors = list(straightforward(*arguments))
            tensors[place] = tensors[place].flip(-1)
            return tuple(tensors)

        monkeypatch.setattr(loading, "straightforward", other)
        with pytest.raises(AssertionError):
            loading.check_same(tmp_path, 2, size)


def test_a_straightforward_loader_varies_what_ours_varies(tmp_path: Path) -> None:
    size = (24, 32)
    loading.write_frames(tmp_path, 1, size)
    options = Augmentation(flip=0, scale=(2, 2))
    rng = np.random.default_rng(0)
    image, label, depth = loading.straightforward(tmp_path, 0, size, options, rng)
    stored = np.asarray(Image.open(tmp_path / "Depth/0.png"))
    assert image.shape == (3, *size)
    assert label.shape == depth.shape == size
    assert set(np.unique(np.rint(2000 * depth.numpy()))) <= set(np.unique(stored))


def test_a_missing_loader_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "examples.rgbd.data", None)
    with pytest.raises(losses.NotMeasuredError, match="extra `examples`"):
        loading.table_6(Setting("cpu", quick=True))


# --- the report ----------------------------------------------------------------------------------


def test_tables_are_aligned_markdown() -> None:
    table = Table("Title", ("what", "time"), [["one", "1 ms"], ["twenty", "100 ms"]], ["Note."])
    assert str(table).splitlines() == [
        "## Title",
        "",
        "| what   |   time |",
        "|--------|-------:|",
        "| one    |   1 ms |",
        "| twenty | 100 ms |",
        "",
        "Note.",
    ]


def test_results_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    path = report.save("# Benchmarks", "cpu")
    assert path.parent == tmp_path / "results"
    assert re.fullmatch(r"cpu-\d{4}-\d{2}-\d{2}\.md", path.name)
    # A second run of the day, perhaps on another machine, leaves the first as it is.
    later = report.save("# Others", "cpu")
    assert (later.name, later.read_text(encoding="utf-8")) == (f"{path.stem}-2.md", "# Others\n")
    assert path.read_text(encoding="utf-8") == "# Benchmarks\n"
