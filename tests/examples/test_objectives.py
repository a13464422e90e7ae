"""The objectives: rows of the paper's tables, controls and rivals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lwm_loss as lwm
from examples.rgbd.data import VOID
from examples.rgbd.objectives import ARMS, NUM_SIDES, Curriculum, build_objective
from examples.rgbd.options.groups import ObjectiveOptions
from examples.rgbd.report.text import describe_objective


def scene(images: int = 2, classes: int = 4) -> dict[str, Any]:
    torch.manual_seed(5)
    label = torch.randint(0, classes, (images, 16, 16))
    label[:, :3] = VOID
    depth = 1 + 200 * torch.rand(images, 16, 16)
    depth[:, :, :2] = 0
    logits = torch.randn(images, classes, 16, 16)
    return {
        "logits": logits.requires_grad_(),
        "target": label,
        "pred_depth": (5 * torch.rand(images, 16, 16)).requires_grad_(),
        "target_depth": depth,
        "side_logits": [torch.randn(images, classes, 16, 16) for _ in range(NUM_SIDES)],
        "normalizer": (label != VOID).sum(),
        "depth_normalizer": (depth > 0).sum(),
    }


def plain_terms(batch: dict[str, Any]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Mean cross-entropy, mean squared log-depth error, cross-entropy of the sides."""
    keep = batch["target"] != VOID

    def cross_entropy(logits: Tensor) -> Tensor:
        chosen = logits.permute(0, 2, 3, 1)[keep].log_softmax(-1)
        return -chosen.gather(1, batch["target"][keep][:, None]).mean()

    known = batch["target_depth"] > 0
    gap = batch["pred_depth"][known] - batch["target_depth"][known].log()
    sides = [cross_entropy(side) for side in batch["side_logits"]]
    return cross_entropy(batch["logits"]), gap.square().mean(), sides


def loss_of(batch: dict[str, Any], epoch: int = 0, **options: Any) -> lwm.LossTerms:
    chosen = ObjectiveOptions(**options)
    objective, curriculum = build_objective(chosen, 4)
    if curriculum is not None:
        curriculum.epoch.fill_(epoch)
    sides = batch["side_logits"] if ARMS[chosen.objective].sides else ()
    depth = batch["pred_depth"] if ARMS[chosen.objective].depth else None
    return objective(**{**batch, "side_logits": sides, "pred_depth": depth})


# --- the rows of the tables, written by hand ----------------------------------------------------


class ByHand:
    """Every loss of the paper pixel by pixel, in numpy: shares no code with what it tests."""

    def __init__(self, options: ObjectiveOptions, epoch: int, epochs: int) -> None:
        rng = np.random.default_rng(1)
        self.options, self.arm = options, ARMS[options.objective]
        self.epoch, self.epochs = epoch, epochs
        self.label = rng.integers(0, 4, (2, 12, 18))
        self.label[:, 4:, 4:12] = 2  # an object, within which depth jumps and no label changes
        self.label[0, :3], self.label[1, :, 14:] = VOID, VOID
        self.depth = 1 + 254 * rng.random((2, 12, 18)) ** 2
        self.depth[1, :, :4] = 0
        self.logits = 2 * rng.normal(size=(2, 4, 12, 18))
        self.log_depth = 5.5 * rng.random((2, 12, 18))
        self.sides = [2 * rng.normal(size=(2, 4, 12, 18)) for _ in range(NUM_SIDES)]
        self.labelled, self.known = self.label != VOID, self.depth > 0
        self.count = self.labelled.sum()

    def cross_entropy(self, logits: np.ndarray) -> np.ndarray:
        scores = np.moveaxis(logits, 1, -1)
        loss = np.log(np.exp(scores).sum(-1))
        for place in np.ndindex(self.label.shape):
            loss[place] -= scores[place][self.label[place]] if self.labelled[place] else loss[place]
        return loss

    def dpe(self) -> np.ndarray:
        error = np.zeros(self.depth.shape)
        error[self.known] = abs(self.log_depth[self.known] - np.log(self.depth[self.known]))
        return error / error.max((1, 2), keepdims=True)

    def dse(self, logits: np.ndarray) -> np.ndarray:
        options, (_, height, width) = self.options, self.label.shape
        wrong = (logits.argmax(1) != self.label).astype(float)
        if options.error == "probability":
            wrong = 1 - np.exp(-self.cross_entropy(logits))
        if options.error == "loss":
            wrong = self.cross_entropy(logits)
        regions: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        for image, row, column in zip(*np.nonzero(self.labelled & self.known)):
            cell = (row, column)
            if options.cells != "pixel":
                rows, columns = map(int, options.cells.split("x"))
                cell = (row * rows // height, column * columns // width)
            last = max(math.ceil(255 / options.bin_size), 1) - 1
            level = min(int((self.depth[image, row, column] - 1) // options.bin_size), last)
            regions.setdefault((image, *cell, level), []).append((image, row, column))
        rates = np.zeros(self.label.shape)
        for pixels in regions.values():
            rate = np.mean([wrong[pixel] for pixel in pixels])
            for pixel in pixels:
                rates[pixel] = rate
        return rates / rates.max((1, 2), keepdims=True) if options.error == "loss" else rates

    def weight(self, logits: np.ndarray) -> np.ndarray:
        """M, or the control in its place."""
        dpe, dse, options = self.dpe(), self.dse(logits), self.options
        fused = {"sum": dpe + dse, "product": dpe * dse, "max": np.maximum(dpe, dse)}
        weight = {"dpe": dpe, "dse": dse}.get(self.arm.mined or "", fused[options.fusion])
        weight = np.where(self.labelled, weight, 0)
        for image in range(len(weight)):
            inside = self.labelled[image]
            if options.control == "uniform":
                weight[image][inside] = weight[image][inside].mean()
        if options.control == "double-s":
            weight = self.labelled.astype(float)
        if options.control == "delta":
            weight = (self.labelled & (logits.argmax(1) != self.label)).astype(float)
        return weight

    def kept(self, weight: np.ndarray) -> np.ndarray:
        """What the curriculum keeps; without one, everything."""
        kept = np.ones(weight.shape, bool)
        unfinished = self.arm.curriculum and self.epoch < self.epochs
        for image in range(len(weight) if unfinished else 0):
            ranked = np.sort(weight[image][self.labelled[image]])
            middle, last = ranked[(len(ranked) - 1) // 2], ranked[-1]
            threshold = middle + self.epoch / self.epochs * (last - middle)
            kept[image] = weight[image] < threshold
        return kept

    def mined(self, logits: np.ndarray) -> float:
        weight = self.weight(logits)
        loss = self.cross_entropy(logits) * weight * self.kept(weight)
        return float(loss.sum() / self.count)

    def rival(self, loss: np.ndarray) -> np.ndarray:
        options, right = self.options, np.exp(-loss)
        if options.mining == "focal":
            return loss * (1 - right) ** options.focal_gamma
        if options.mining == "depth-edges":
            return 2 * loss * self.depth_edges()
        if options.mining == "label-boundaries":
            return 2 * loss * (self.near(self.changes) & self.labelled)
        kept = np.zeros(loss.shape, bool)
        for image in range(len(loss)):
            least = np.sort(right[image][self.labelled[image]])[options.ohem_min_kept - 1]
            kept[image] = right[image] <= max(least, options.ohem_threshold)
        return loss * (kept & self.labelled)

    def depth_edges(self) -> np.ndarray:
        """Labelled pixels at depth edges; of the option, at label boundaries too."""

        def jumps(image: int, here: tuple[int, int], there: tuple[int, int]) -> bool:
            near, far = self.depth[image][here], self.depth[image][there]
            return bool(
                near > 0 and far > 0 and abs(math.log(near / far)) > self.options.edge_threshold
            )

        found = self.near(jumps) & self.labelled
        return found & self.near(self.changes) if self.options.edge_boundaries_only else found

    def changes(self, image: int, here: tuple[int, int], there: tuple[int, int]) -> bool:
        counted = self.labelled[image][here] and self.labelled[image][there]
        return bool(counted and self.label[image][here] != self.label[image][there])

    def near(self, differ: Callable[[int, tuple[int, int], tuple[int, int]], bool]) -> np.ndarray:
        """Pixels next to two pixels that differ and lie the radius apart."""
        radius, reached = self.options.edge_radius, np.zeros(self.label.shape, bool)
        images, height, width = self.label.shape
        for image, row, column in np.ndindex(images, height, width):
            for down, right in ((radius, 0), (0, radius)):
                if row + down >= height or column + right >= width:
                    continue
                if differ(image, (row, column), (row + down, column + right)):
                    for y, x in ((row, column), (row + down, column + right)):
                        rows = slice(max(y - radius, 0), y + radius + 1)
                        columns = slice(max(x - radius, 0), x + radius + 1)
                        reached[image, rows, columns] = True
        return reached

    def total(self) -> float:
        options, arm = self.options, self.arm
        loss = self.cross_entropy(self.logits)
        plain, mined = loss.sum() / self.count, 0.0
        if options.objective == "sd+cl":
            plain = (loss * self.kept(self.weight(self.logits))).sum() / self.count
        if options.mining != "none":
            mined = self.rival(loss).sum() / self.count
            plain, mined = (plain, mined) if options.mining_place == "add" else (mined, 0.0)
        if arm.mined is not None:
            mined = self.mined(self.logits)
        total = plain + options.alpha * mined
        if arm.depth:
            total += np.square(self.log_depth - np.log(np.maximum(self.depth, 1)))[
                self.known
            ].mean()
        for side in self.sides if arm.sides else ():
            plain = self.cross_entropy(side).sum() / self.count
            total += options.beta * (self.mined(side) if arm.mined else plain)
        return float(total)

    def ours(self) -> float:
        objective, curriculum = build_objective(self.options, self.epochs)
        if curriculum is not None:
            curriculum.epoch.fill_(self.epoch)
        terms = objective(
            torch.from_numpy(self.logits),
            torch.from_numpy(self.label),
            torch.from_numpy(self.log_depth) if self.arm.depth else None,
            torch.from_numpy(self.depth),
            [torch.from_numpy(side) for side in self.sides] if self.arm.sides else (),
            normalizer=torch.tensor(self.count),
            depth_normalizer=torch.tensor(self.known.sum()),
        )
        return float(terms.total)


ROWS: list[dict[str, Any]] = [
    *({"objective": name} for name in ARMS),
    {"objective": "sd+rz", "fusion": "product", "cells": "pixel", "alpha": 0.7},
    {"objective": "hpm", "fusion": "max", "cells": "1x1", "bin_size": 100.0, "beta": 0.3},
    {"objective": "full", "cells": "16x16", "bin_size": 1.0},
    {"objective": "sd+z", "cells": "5x3", "bin_size": 50.0},
    {"objective": "sd+rz", "cells": "2x3", "error": "probability"},
    {"objective": "full", "cells": "2x3", "error": "loss"},
    {"objective": "s", "mining": "focal", "focal_gamma": 1.5},
    {"objective": "sd", "mining": "focal", "mining_place": "add", "alpha": 0.5},
    {"objective": "sd", "mining": "ohem", "ohem_threshold": 0.3, "ohem_min_kept": 9},
    {"objective": "sd", "mining": "ohem", "ohem_threshold": 0.01, "ohem_min_kept": 60},
    *(
        {
            "objective": "sd",
            "mining": "depth-edges",
            "mining_place": "add",
            "alpha": 0.5,
            "edge_threshold": threshold,
            "edge_radius": radius,
            "edge_boundaries_only": only,
        }
        for threshold, radius, only in ((3.0, 1, False), (4.2, 2, False), (3.0, 1, True))
    ),
    {"objective": "sd", "mining": "label-boundaries", "mining_place": "add", "edge_radius": 1},
    *(
        {"objective": name, "control": control}
        for name in ("sd+r", "full")
        for control in ("uniform", "double-s", "delta")
    ),
]


CASES = [
    (row, epoch)
    for row in ROWS
    for epoch in ((0, 1, 4) if ARMS[row["objective"]].curriculum else (0,))
]


@pytest.mark.parametrize(("row", "epoch"), CASES)
def test_every_row_of_the_tables_is_the_loss_written_by_hand(
    row: dict[str, Any], epoch: int
) -> None:
    by_hand = ByHand(ObjectiveOptions(**row), epoch, 4)
    assert by_hand.ours() == pytest.approx(by_hand.total(), rel=1e-6)


# --- what the losses by hand do not tell --------------------------------------------------------


def test_the_curriculum_on_l_s_starts_with_the_easy_half_and_ends_with_all() -> None:
    batch = scene()
    plain, _, _ = plain_terms(batch)
    totals = [loss_of(batch, epoch, objective="sd+cl").segmentation.item() for epoch in range(5)]
    assert totals == sorted(totals)
    assert totals[0] < 0.6 * plain.item()
    assert totals[4] == pytest.approx(plain.item())
    objective, curriculum = build_objective(ObjectiveOptions(objective="sd+cl"), 4)
    objective(**{**batch, "side_logits": ()})
    assert curriculum is not None
    assert 0.3 < curriculum.pop_kept().item() / batch["normalizer"].item() < 0.5


def test_controls_replace_m_by_what_they_say() -> None:
    batch = scene()
    args = list(batch.values())[:4]
    labelled = batch["target"] != VOID
    weight = lwm.LossWeightModule(ignore_index=VOID)(*args)

    def control(name: str) -> Tensor:
        objective, _ = build_objective(ObjectiveOptions(objective="sd+rz", control=name), 4)
        replaced = objective.weighting(*args)
        assert (replaced[~labelled] == 0).all()
        return replaced

    uniform = control("uniform")
    for image in range(2):
        inside = labelled[image]
        assert uniform[image][inside].unique().numel() == 1
        assert uniform[image][inside][0].item() == pytest.approx(
            weight[image][inside].mean().item()
        )
        shuffled = control("shuffled")[image]
        assert not torch.equal(shuffled, weight[image])
        assert torch.equal(shuffled[inside].sort().values, weight[image][inside].sort().values)
    assert torch.equal(control("double-s"), labelled.float())
    wrong = batch["logits"].argmax(1) != batch["target"]
    assert torch.equal(control("delta"), (wrong & labelled).float())


@pytest.mark.parametrize("mining", ["ohem", "focal", "lmp"])
def test_a_rival_takes_the_place_of_l_s_or_is_added_to_it(mining: str) -> None:
    batch = scene()
    plain, depth, _ = plain_terms(batch)
    options = {"objective": "sd", "mining": mining, "ohem_threshold": 0.2, "ohem_min_kept": 20}
    options["alpha"] = 0.5
    replaced = loss_of(batch, **options)
    added = loss_of(batch, mining_place="add", **options)
    mined = replaced.total - depth
    assert mined.item() != pytest.approx(plain.item(), rel=1e-2)
    assert added.total.item() == pytest.approx((plain + depth + 0.5 * mined).item(), rel=1e-5)
    alone = loss_of(batch, **{**options, "objective": "s"})
    assert alone.total.item() == pytest.approx(mined.item(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("objective", list(ARMS))
def test_every_objective_trains_and_gives_every_parameter_a_gradient(objective: str) -> None:
    from examples.rgbd.model import build_model
    from examples.rgbd.options.groups import NetworkOptions

    options = ObjectiveOptions(objective=objective)  # type: ignore[arg-type]
    network = build_model(NetworkOptions(backbone="resnet18", width=8), options, 4)
    loss, _ = build_objective(options, 4)
    output = network(torch.randn(2, 3, 32, 32))
    terms = loss(
        output.logits,
        torch.randint(0, 4, (2, 32, 32)),
        output.log_depth,
        1 + 200 * torch.rand(2, 32, 32),
        output.side_logits,
        normalizer=torch.tensor(2048),
        depth_normalizer=torch.tensor(2048),
    )
    terms.total.backward()
    # DDP waits forever for a parameter that never gets one.
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("options", "described"),
    [
        ({"objective": "s"}, "s"),
        ({"objective": "sd+ms"}, "sd+ms, beta 0.1"),
        ({"objective": "sd+r", "alpha": 2}, "sd+r, alpha 2"),
        (
            {"objective": "full"},
            "full, alpha 1, beta 0.1, fusion sum, cells 8x8, bin size 10, error misclassified, "
            "curriculum over 7 epochs",
        ),
        (
            {"objective": "sd+cl"},
            "sd+cl, fusion sum, cells 8x8, bin size 10, error misclassified, curriculum over 7 epochs",
        ),
        ({"objective": "hpm", "control": "delta"}, "hpm, alpha 1, beta 0.1, control delta"),
        ({"objective": "s", "mining": "ohem"}, "s, mining ohem"),
        (
            {"objective": "sd", "mining": "focal", "mining_place": "add"},
            "sd, alpha 1, mining focal",
        ),
    ],
)
def test_an_objective_names_the_options_that_take_part(
    options: dict[str, Any], described: str
) -> None:
    """A run of L_s alone said an alpha, a beta and cells that it has no use for."""
    assert describe_objective(ObjectiveOptions(**options), 7) == described


def test_the_log_counts_the_labelled_pixels_that_the_curriculum_keeps() -> None:
    curriculum = Curriculum(2)
    weight = torch.tensor([[[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]]])
    mask = torch.tensor([[[True, True, True, True, True, False]]])
    curriculum(weight, mask)  # below the median of the labelled pixels, 0.4
    curriculum(weight)  # a side output, which the log leaves out
    assert curriculum.pop_kept() == 2
    curriculum.step()
    curriculum(weight, mask)  # below 0.4 + (0.8 - 0.4) / 2
    assert curriculum.pop_kept() == 3
    curriculum(0 * weight, mask)  # nothing is below a threshold of 0, and nothing is lost
    assert curriculum.pop_kept() == 5
    curriculum(weight)  # below 0.4 + (1 - 0.4) / 2; without a mask all pixels are labelled
    assert curriculum.pop_kept() == 4
