"""Tables 1 to 4: the objective, its side outputs, Z alone, and how all of it grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

import lwm_loss.functional as LF
from benchmarks import naive
from benchmarks.batch import VOID, Batch, Shape, make_batch
from benchmarks.losses import (
    Loss,
    NotMeasuredError,
    compiled,
    kornia_focal,
    monai_focal,
    objective,
    plain,
    plain_with_sides,
    step_of,
)
from benchmarks.measure import QUICK, THOROUGH, Effort, Result, Rival, copy_rival, race
from benchmarks.report import COMPARED, Table, compared, milliseconds, percent

PASSES = 3  # over the logits: a read forward, a read and a write of the gradient backward


@dataclass(frozen=True)
class Setting:
    """Where and how thoroughly to measure."""

    device: str
    quick: bool

    @property
    def effort(self) -> Effort:
        return QUICK if self.quick else THOROUGH

    def shape(self, dtype: torch.dtype = torch.float32) -> Shape:
        """The size of tables 1 to 3."""
        if self.quick:
            return Shape(1, 16, 48, 64, dtype)
        return Shape(8 if self.device == "cuda" else 4, 40, 480, 640, dtype)

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        return (torch.float32, torch.bfloat16) if self.device == "cuda" else (torch.float32,)


def joined(makers: dict[str, Callable[[], Loss]], batch: Batch) -> tuple[list[Rival], list[str]]:
    """The rivals that can take part, and a sentence about each that cannot."""
    rivals, absent = [], []
    for name, make in makers.items():
        try:
            rivals.append(step_of(name, make(), batch))
        except NotMeasuredError as reason:
            absent.append(str(reason))
    return rivals, absent


def check_same(batch: Batch, *losses: Loss) -> None:
    """Different roads to one objective must arrive at one value, or their times mean nothing."""
    first, *others = [loss(batch).detach().float() for loss in losses]
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-3, atol=1e-4)


def against_copy(rivals: list[Rival], nbytes: int, setting: Setting) -> tuple[list[Result], float]:
    """A race with a copy of the logits in it, and the seconds that one pass over them takes."""
    *results, copy = race(
        [*rivals, copy_rival(nbytes, setting.device)], setting.device, setting.effort
    )
    return results, copy.seconds / 2  # a copy reads once and writes once


def table_1(setting: Setting) -> list[Table]:
    """The objective against plain cross-entropy + MSE and what else is trained with."""
    return [_table_1(setting, setting.shape(dtype)) for dtype in setting.dtypes]


def _table_1(setting: Setting, shape: Shape) -> Table:
    batch = make_batch(shape, setting.device)
    ours = objective(0, setting.device)
    unfused = objective(0, setting.device, fused=False)
    check_same(batch, ours, unfused, naive.objective)
    makers: dict[str, Callable[[], Loss]] = {
        "F.cross_entropy + F.mse_loss": lambda: plain,
        "HardPixelMiningLoss": lambda: ours,
        "F.cross_entropy + F.mse_loss, compiled": lambda: compiled(plain, setting.device),
        "HardPixelMiningLoss, compiled": lambda: compiled(ours, setting.device),
        "HardPixelMiningLoss, plain operations": lambda: unfused,
        "kornia focal + F.mse_loss": kornia_focal,
        "MONAI focal + F.mse_loss": monai_focal,
        "the objective with a loop over regions": lambda: naive.objective,
    }
    notes = []
    if setting.quick:
        makers = {name: make for name, make in makers.items() if not name.endswith("compiled")}
        notes.append("torch.compile was not measured: it is left out with --quick.")
    rivals, absent = joined(makers, batch)
    results, one_pass = against_copy(rivals, shape.nbytes, setting)
    rows = [
        [result.name, *compared(result, results[0]), percent(PASSES * one_pass / result.seconds)]
        for result in results
    ]
    bandwidth = shape.nbytes / one_pass / 1e9
    notes += [
        f"A copy of the logits moves {bandwidth:.1f} GB/s (read and write); the last column is the "
        f"time of {PASSES} passes over the logits at that speed, over the time taken.",
        *absent,
    ]
    columns = ("forward and backward", *COMPARED, f"{PASSES} passes")
    return Table(f"Table 1. The objective, logits {shape}", columns, rows, notes)


def table_2(setting: Setting) -> list[Table]:
    """Four side outputs at 1/4 to 1/32, against interpolating them."""
    return [_table_2(setting, setting.shape(dtype)) for dtype in setting.dtypes]


def _table_2(setting: Setting, shape: Shape) -> Table:
    batch = make_batch(shape, setting.device, sides=True)
    count = len(batch.sides)
    ours = objective(count, setting.device)
    unfused = objective(count, setting.device, fused=False)
    check_same(batch, ours, unfused)
    makers: dict[str, Callable[[], Loss]] = {
        "interpolate + F.cross_entropy, + F.mse_loss": lambda: plain_with_sides,
        "HardPixelMiningLoss": lambda: ours,
        "HardPixelMiningLoss, plain operations": lambda: unfused,
    }
    rivals, _ = joined(makers, batch)
    nbytes = shape.nbytes + sum(side.nbytes for side in batch.sides)
    results, one_pass = against_copy(rivals, nbytes, setting)
    rows = [
        [result.name, *compared(result, results[0]), percent(PASSES * one_pass / result.seconds)]
        for result in results
    ]
    columns = ("forward and backward", *COMPARED, f"{PASSES} passes")
    title = f"Table 2. With {count} side outputs at 1/4 to 1/32, logits {shape}"
    return Table(title, columns, rows)


def table_3(setting: Setting) -> list[Table]:
    """Z alone, from predicted labels, against loops over its regions."""
    shape = setting.shape()
    batch = make_batch(shape, setting.device)
    predicted = batch.logits.detach().argmax(1)
    wrong = (predicted != batch.target) & (batch.target != VOID)
    target, depth = batch.target, batch.depth
    del batch  # the scores have done their part

    def vectorised(cells: int, bin_size: float) -> Rival:
        return Rival(
            f"vectorised, {cells} x {cells} cells, d = {bin_size:g}",
            lambda: LF.depth_aware_segmentation_error(
                predicted,
                target,
                depth,
                cells=(cells, cells),
                bin_size=bin_size,
                ignore_index=VOID,
            ),
        )

    loops = {
        "loop, one mask of the image a region": naive.segmentation_error_by_masks,
        "loop, one mask of the cell a region": naive.segmentation_error_by_windows,
    }
    rivals = [vectorised(8, 10.0), vectorised(8, 100.0), vectorised(8, 1.0)]
    rivals += [vectorised(cells, 10.0) for cells in (1, 4, 16)]
    truth = rivals[0].run()
    for name, loop in loops.items():
        torch.testing.assert_close(loop(wrong, target, depth), truth)
        rivals.append(Rival(f"{name}, 8 x 8 cells, d = 10", partial(loop, wrong, target, depth)))
    results = race(rivals, setting.device, setting.effort)
    columns = ("Z from predicted labels", *COMPARED)
    rows = [[result.name, *compared(result, results[0])] for result in results]
    title = f"Table 3. Z alone, {tuple(target.shape)} pixels"
    return [Table(title, columns, rows)]


def table_4(setting: Setting) -> list[Table]:
    """Growth with pixels, classes and batch, and crops that stay in the caches."""
    return [
        _growth(setting, what, shapes) for what, shapes in _growing(setting.device, setting.quick)
    ]


def _growing(device: str, quick: bool) -> list[tuple[str, list[Shape]]]:
    if quick:
        return [
            ("pixels", [Shape(1, 6, 24, 32), Shape(1, 6, 48, 64)]),
            ("classes", [Shape(1, classes, 24, 32) for classes in (13, 40)]),
            ("batch", [Shape(images, 6, 24, 32) for images in (1, 2)]),
            ("classes of small crops", [Shape(2, classes, 24, 24) for classes in (2, 19)]),
        ]
    images = 8 if device == "cuda" else 2
    sizes = ((120, 160), (240, 320), (480, 640), (1080, 1920))
    return [
        ("pixels", [Shape(1, 40, *size) for size in sizes]),
        ("classes", [Shape(images, classes, 480, 640) for classes in (13, 40, 150)]),
        ("batch", [Shape(count, 40, 480, 640) for count in (1, 2, 4, 8)]),
        ("classes of small crops", [Shape(4, classes, 256, 256) for classes in (2, 19)]),
    ]


def _growth(setting: Setting, what: str, shapes: list[Shape]) -> Table:
    rows = []
    for shape in shapes:
        batch = make_batch(shape, setting.device)
        ours = step_of("objective", objective(0, setting.device), batch)
        theirs, mine = race([step_of("plain", plain, batch), ours], setting.device, setting.effort)
        scores = batch.logits.numel()
        per_score = f"{1e9 * mine.seconds / scores:.3g} ns"
        rows.append([str(shape), milliseconds(theirs.seconds), *compared(mine, theirs), per_score])
    columns = ("logits", "plain", *COMPARED, "a score")
    return Table(
        f"Table 4. Growth with {what}, against F.cross_entropy + F.mse_loss", columns, rows
    )
