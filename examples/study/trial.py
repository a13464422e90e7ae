"""One run: an arm and a seed, trained and scored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from examples.study.arm import Arm
from examples.study.arms import ARMS
from examples.study.features import Material
from examples.study.measures import Measures
from examples.study.network import FineTuned, build_network, inputs_of
from examples.study.objective import Objective
from examples.study.recipe import Recipe, held_out
from examples.study.targets import depth_edges, label_boundaries, mixed_flat_regions
from examples.study.weightings import Setting, Visit, part_of

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Run:
    """An arm and a seed."""

    arm: str
    seed: int

    @property
    def key(self) -> str:
        """The name of its file."""
        return f"{self.arm.replace('*', 'x').replace(':', '_')}-{self.seed}"


class Trial:
    """Trains and scores one run.

    Args:
        run: which one.
        recipe: what all runs share.
        material: frames.
        encoder: builds the encoder of stage "finetune".
    """

    def __init__(
        self,
        run: Run,
        recipe: Recipe,
        material: Material,
        encoder: Callable[[], nn.Module] | None = None,
    ) -> None:
        self.run, self.recipe, self.material = run, recipe, material
        self.arm: Arm = ARMS[run.arm]
        frames = len(material.train.label)
        self.kept, self.held = np.arange(frames), np.arange(0)
        if recipe.score == "held-out":
            self.kept, self.held = (np.asarray(each) for each in held_out(frames))
        self.network = build_network(material, recipe, run.seed, encoder)
        self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        height, width = material.train.label.shape[1:]
        grid = (height, width) if recipe.points == "all" else (height // 2, width // 2)
        setting = Setting(material.class_share, frames, grid, seed=run.seed + 1_000_003)
        self.objective = Objective(self.arm, setting, recipe.epochs)
        self.batch = min(recipe.batch_size, len(self.kept))
        self.steps = len(self.kept) // self.batch  # the rest of an epoch's order is left out
        self.optimizer = torch.optim.AdamW(self._groups(), weight_decay=recipe.weight_decay)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            [group["lr"] for group in self.optimizer.param_groups],
            total_steps=self.steps * recipe.epochs,
        )
        # What is drawn comes from a stream of its own, so that it is the same in all arms.
        self.generator = torch.Generator().manual_seed(run.seed)
        self.options = {
            "with_depth": self.arm.depth,
            "detach_depth": self.arm.detach_depth,
            "with_sides": self.arm.beta > 0,
        }
        self.curve: list[float] = []

    def _groups(self) -> list[dict[str, Any]]:
        rate = self.recipe.learning_rate
        if isinstance(self.network, FineTuned):
            return [
                {"params": list(self.network.decoders.parameters()), "lr": rate},
                {
                    "params": list(self.network.encoder.parameters()),
                    "lr": rate * self.recipe.encoder_rate,
                },
            ]
        return [{"params": list(self.network.parameters()), "lr": rate}]

    def batches(self) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        """Frames and whether they are mirrored, for each step of an epoch."""
        order = torch.randperm(len(self.kept), generator=self.generator).numpy()
        mirrored = torch.rand(len(self.kept), generator=self.generator).numpy() < 0.5
        for step in range(self.steps):
            part = slice(step * self.batch, (step + 1) * self.batch)
            yield self.kept[order[part]], mirrored[part]

    def train(self, saved: Path | None = None, progress: Progress = lambda share: None) -> None:
        """All epochs; with `saved`, kept there after each, and taken up again from there."""
        first = self._load(saved)
        for epoch in range(first, self.recipe.epochs):
            self.network.train()
            losses = []
            for step, (frames, mirrored) in enumerate(self.batches()):
                share = (epoch * self.steps + step) / (self.recipe.epochs * self.steps)
                losses.append(self._step(frames, mirrored, share))
                progress(share)
            self.curve.append(float(torch.stack(losses).mean()))
            if self.objective.curriculum is not None:
                self.objective.curriculum.step()
            self._save(saved, epoch + 1)

    def _draw_part(self) -> tuple[int, int] | None:
        """Which point of each block of 2x2 points of the grid a step learns from; None for all."""
        if self.recipe.points == "all":
            return None
        row, column = torch.randint(2, (2,), generator=self.generator).tolist()
        return int(row), int(column)

    def _step(
        self, frames: np.ndarray[Any, Any], mirrored: np.ndarray[Any, Any], share: float
    ) -> Tensor:
        """One step; returns L_s (Eq. 1) of the batch, whatever the arm's loss is."""
        truth = self.material.train
        label = torch.from_numpy(truth.label[frames]).long()
        depth = torch.from_numpy(truth.depth[frames])
        flip = torch.from_numpy(mirrored)
        label = torch.where(flip[:, None, None], label.flip(2), label)
        depth = torch.where(flip[:, None, None], depth.flip(2), depth)
        part = self._draw_part()
        inputs = inputs_of(self.material, frames + mirrored * len(truth.label))
        masks = self.network.draw_masks(len(frames), self.generator)  # type: ignore[operator]
        output = self.network(*inputs, masks, part=part, **self.options)
        now = Visit(torch.from_numpy(frames), flip, share)
        if part is not None:
            now = now._replace(label=label, depth=depth, part=part)
            label, depth = part_of(label, part), part_of(depth, part)
        self.objective.visit(now)
        loss, plain = self.objective(output, label, depth)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.max_norm)
        self.optimizer.step()
        self.schedule.step()
        found: Tensor = plain.detach()
        return found

    @torch.inference_mode()
    def score(self, progress: Progress = lambda share: None) -> dict[str, Any]:
        """All measures on the frames that the recipe scores."""
        self.network.eval()
        measures = Measures(self.material.class_share)
        held = self.recipe.score == "held-out"
        truth = self.material.train if held else self.material.test
        chosen = self.held if held else np.arange(len(truth.label))
        first = 0 if held else 2 * len(self.material.train.label)
        for start in range(0, len(chosen), self.batch):
            frames = chosen[start : start + self.batch]
            output = self.network(*inputs_of(self.material, first + frames), **self.options)
            label = torch.from_numpy(truth.label[frames]).long()
            depth = torch.from_numpy(truth.depth[frames])
            if held:
                classes = len(self.material.classes)
                regions = (
                    label_boundaries(label),
                    depth_edges(depth),
                    mixed_flat_regions(label, depth, classes),
                )
            else:
                regions = tuple(torch.from_numpy(each[frames]) for each in self.material.regions)  # type: ignore[assignment]
            measures.update(output.logits, output.log_depth, label, depth, regions)
            progress(start / len(chosen))
        return measures.results()

    def _streams(self) -> list[torch.Generator]:
        """Everything that draws: the run's own stream and those of its weighting."""
        found = [self.generator]
        for module in self.objective.modules():
            stream = getattr(module, "generator", None)
            if isinstance(stream, torch.Generator):
                found.append(stream)
        return found

    def _save(self, path: Path | None, epoch: int) -> None:
        if path is None:
            return
        state = {
            "epoch": epoch,
            "curve": self.curve,
            "parts": [each.state_dict() for each in self._parts()],
            "streams": [each.get_state() for each in self._streams()],
        }
        part = path.with_name(f".{path.name}.part")
        torch.save(state, part)
        part.replace(path)

    def _load(self, path: Path | None) -> int:
        if path is None or not path.exists():
            return 0
        state = torch.load(path, weights_only=True)
        for part, values in zip(self._parts(), state["parts"]):
            part.load_state_dict(values)
        for stream, values in zip(self._streams(), state["streams"]):
            stream.set_state(values)
        self.curve = state["curve"]
        epoch: int = state["epoch"]
        return epoch

    def _parts(self) -> tuple[Any, ...]:
        return (self.network, self.objective, self.optimizer, self.schedule)


def run_trial(
    run: Run,
    recipe: Recipe,
    material: Material,
    encoder: Callable[[], nn.Module] | None = None,
    saved: Path | None = None,
    progress: Progress = lambda share: None,
) -> dict[str, Any]:
    """Train and score a run.

    Returns:
        A row of the results: the run, all measures, the learning curve (mean L_s of each epoch in
        training) and the seconds it took.
    """
    began, used = time.perf_counter(), time.process_time()
    trial = Trial(run, recipe, material, encoder)
    trial.train(saved, lambda share: progress(0.85 * share))
    results = trial.score(lambda share: progress(0.85 + 0.15 * share))
    if saved is not None:
        saved.unlink(missing_ok=True)
    return {
        "arm": run.arm,
        "seed": run.seed,
        **results,
        "curve": trial.curve,
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
    }
