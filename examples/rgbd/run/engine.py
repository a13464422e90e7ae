"""The training engine: thin over `accelerate`, whole in its checkpoints, the same on any device."""

from __future__ import annotations

import json
import math
import sys
import time
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch import Tensor, nn

from examples.rgbd.data import DataError
from examples.rgbd.evaluation.scoring import Evaluation
from examples.rgbd.model import build_model
from examples.rgbd.networks import parameter_groups
from examples.rgbd.objectives import build_objective, has_hard_term
from examples.rgbd.options.as_json import to_plain
from examples.rgbd.options.groups import OptionError, TrainConfig
from examples.rgbd.progress import progress_bar
from examples.rgbd.report.text import TERMS, peak_memory, shown_terms
from examples.rgbd.run.accelerator import leave_processes
from examples.rgbd.run.batches import TrainingBatches
from examples.rgbd.run.checkpoint import BEST, LATEST, load_checkpoint, restore, save_checkpoint
from examples.rgbd.run.divergence import Divergence
from examples.rgbd.run.folder import RunFolder
from examples.rgbd.run.network import first_network
from examples.rgbd.run.outcome import Outcome
from examples.rgbd.run.random_state import random_state, restore_random_state
from examples.rgbd.run.schedule import Schedule, build_optimizer
from examples.rgbd.run.step import Part, TrainingStep
from examples.rgbd.splits import Frames, package_of


class Engine:
    """One training run. Everything it needs to go on lies in its checkpoint.

    Args:
        config: all options.
        frames: the data.
        folder: where to write.
        accelerator: where to run.
        class_weight: (C,), what `--class-weights` came to, or None.
        load_pretrained: False leaves all weights to `load_state_dict`.

    Attributes:
        epoch: epochs that are done.
        step: steps of the next epoch that are done.
        history: one row of figures for each epoch.
        best: score and epoch of the best weights.
    """

    def __init__(
        self,
        config: TrainConfig,
        frames: Frames,
        folder: RunFolder,
        accelerator: Accelerator,
        *,
        class_weight: Tensor | None = None,
        load_pretrained: bool = True,
    ) -> None:
        self.config = config
        self.frames = frames
        self.folder = folder
        self.accelerator = accelerator
        self.class_weight = class_weight
        self.outcome = Outcome(config, frames, folder, accelerator, class_weight)
        self.device = accelerator.device
        options = config.optimisation
        self.batches = TrainingBatches(config, frames, accelerator)
        self.objective, self.curriculum = build_objective(
            config.objective, options.epochs, class_weight
        )
        self.objective.to(self.device)
        set_seed(config.run.seed)
        network = (
            first_network(config, frames, quiet=not accelerator.is_main_process)
            if load_pretrained
            else build_model(
                config.network, config.objective, len(frames.classes), load_pretrained=False
            )
        )
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        if options.channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if options.compile:
            network.compile()
        groups = parameter_groups(network, options.lr, encoder_factor=options.encoder_lr_factor)
        optimizer = build_optimizer(groups, options)
        self.schedule = Schedule(optimizer, options, self.batches.steps * options.epochs)
        self.model, self.optimizer = accelerator.prepare(network, optimizer)
        self.take_step = TrainingStep(
            self.model, self.objective, self.curriculum, self.optimizer, self.schedule, accelerator,
            limits=frames.limits, class_weight=class_weight, clip_norm=options.clip_norm,
            channels_last=options.channels_last,
        )  # fmt: skip
        # Weights are the same in all processes; what they draw from here on is their own.
        torch.manual_seed(config.run.seed + accelerator.process_index)
        self.epoch = 0
        self.step = 0
        self.sums = torch.zeros(len(TERMS), dtype=torch.float64, device=self.device)
        self.divergence = Divergence(self.device)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None

    @property
    def network(self) -> nn.Module:
        """The network without what distributes it."""
        network: nn.Module = self.accelerator.unwrap_model(self.model)
        return network

    # --- its state ----------------------------------------------------------------------------

    def portable_state_dict(self) -> dict[str, Any]:
        """What evaluation and prediction need: weights, options, and what the classes are."""
        near, far = self.frames.limits
        return {
            "network": self.network.state_dict(),
            "config": json.dumps(to_plain(self.config)),
            "dataset": {
                "name": self.frames.name,
                "classes": list(self.frames.classes),
                "palette": torch.from_numpy(self.frames.test.palette.copy()),
                "near": near,
                "far": far,
                "metric": self.frames.metric,
            },
            "class_weight": self.class_weight,
            "epoch": self.epoch,
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain data. All processes call it: it has the random state of each."""
        scaler, curriculum = self.accelerator.scaler, self.curriculum
        return {
            **self.portable_state_dict(),
            "step": self.step,
            "sums": self.sums.cpu(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "curriculum": None if curriculum is None else curriculum.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": gather_object([random_state()]),
            "history": self.history,
            "best": self.best,
            "frames": self.frames.counts,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to where `state_dict` was taken.

        Raises:
            OptionError: the run was begun with other frames or another number of processes.
        """
        self.frames.check_begun(state["dataset"], state["frames"])
        accelerator = self.accelerator
        begun, now = len(state["random"]), accelerator.num_processes
        if begun != now:
            raise OptionError(
                f"Expected to resume with {begun} processes, as the run was begun, but got {now}."
            )
        restore(self.network, self.optimizer, state)
        self.schedule.load_state_dict(state["schedule"])
        if self.curriculum is not None:
            self.curriculum.load_state_dict(state["curriculum"])
        if accelerator.scaler is not None and state["scaler"] is not None:
            accelerator.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.sums[: len(state["sums"])].copy_(state["sums"])  # terms may have been added since
        self.history, self.best = state["history"], state["best"]
        restore_random_state(state["random"][accelerator.process_index])

    # --- the loop -------------------------------------------------------------------------------

    def fit(self) -> Evaluation:
        """Train to the last epoch, then evaluate the chosen weights once on the test split.

        Raises:
            TrainingError: the loss is no longer finite.
            DataError: a frame cannot be used.
            OSError: a file cannot be written; the last checkpoint is untouched.
        """
        while self.epoch < self.config.optimisation.epochs:
            row = self._train_epoch()
            row |= self.outcome.of_held_out(self.network)
            self.outcome.draw_epoch(self.network, self.epoch + 1, self.curriculum)
            self.history.append(row)
            self._move_on(row)
            self.save()
            self.outcome.report_epoch(row, self.history)
        return self._finish()

    def _train_epoch(self) -> dict[str, float]:
        self.model.train()
        first = self.step
        every = self.config.run.checkpoint_every
        parts: list[Part] = []
        began = time.perf_counter()
        bar = progress_bar(
            total=self.batches.steps,
            initial=first,
            description=f"epoch {self.epoch + 1}/{self.config.optimisation.epochs}",
            unit="step",
            disable=not self.accelerator.is_main_process,
        )
        with bar:
            for batch in self.batches.of_epoch(self.epoch, first):
                parts.append(self.take_step.prepare(batch))
                if len(parts) < self.config.optimisation.accumulation:
                    continue
                terms = self.take_step(parts)
                parts = []
                self.sums += terms
                self.step += 1
                self.divergence.watch(terms, self.step)
                self._show(bar, terms)
                if every and self.step % every == 0 and self.step < self.batches.steps:
                    self._check_finite()
                    self.save()
        seconds = time.perf_counter() - began
        means = (self.sums / self.batches.steps).tolist()
        self._check_finite()
        seen = (self.batches.steps - first) * self.config.optimisation.batch_size
        return {
            "epoch": self.epoch + 1,
            **dict(zip(TERMS, means)),
            # Objectives without L_h may have plain side outputs, whose formula names it.
            "hard": means[TERMS.index("hard")] if has_hard_term(self.config.objective) else 0.0,
            "curriculum_progress": 1.0 if self.curriculum is None else self.curriculum.progress,
            "learning_rate": self.optimizer.param_groups[-1]["lr"],
            "images_per_second": seen / seconds,
            "memory_mb": peak_memory(self.device),
        }

    def _show(self, bar: Any, terms: Tensor) -> None:
        # Reading a loss stalls a GPU until it has caught up, so it is not done at every step.
        if self.device.type == "cpu" or self.step % 10 == 0:
            values = dict(zip(TERMS, terms.tolist()))
            if not math.isfinite(values["loss"]):
                self._check_finite()
            bar.set_postfix(shown_terms(self.config.objective, values), refresh=False)
        bar.update()

    def _check_finite(self) -> None:
        kept = self.folder.path if self.folder.has_checkpoint else None
        self.divergence.check(self.network, self.config, self.epoch + 1, kept)

    # --- between epochs -------------------------------------------------------------------------

    def _move_on(self, row: dict[str, float]) -> None:
        """Move schedule and curriculum on, keep the best weights, and go to the next epoch."""
        held_out = self.frames.held is not None
        # Not the objective: it rises as the curriculum lets harder pixels in.
        self.schedule.after_epoch(row["val_loss" if held_out else "segmentation"])
        if self.curriculum is not None:
            self.curriculum.step()
        self.epoch, self.step = self.epoch + 1, 0
        self.sums.zero_()
        # Without held-out frames the last weights are kept.
        score = row["val_mean_iou"] if held_out else float(self.epoch)
        if self.best is None or score > self.best["score"]:
            self.best = {"score": score, "epoch": self.epoch}
            if self.accelerator.is_main_process:
                save_checkpoint(self.folder.path / BEST, self.portable_state_dict())

    def _finish(self) -> Evaluation:
        self.accelerator.wait_for_everyone()
        state = load_checkpoint(self.folder.path / BEST)
        self.network.load_state_dict(state["network"])
        try:
            result = self.outcome.score(self.network, self.frames.test)
        except Exception as error:
            ready = (
                "The run is trained: once that is mended, python -m "
                f"{package_of(self.frames.name)}.evaluate {self.folder.path} finishes the job."
            )
            if isinstance(error, DataError):
                raise DataError(f"{error} {ready}") from None
            if self.accelerator.is_main_process:
                print(ready, file=sys.stderr)
            raise
        self.outcome.report_test(self.network, result, state["epoch"], self.history)
        self.model = self.take_step.model = self.network  # or DDP would outlive its group
        leave_processes(self.accelerator)
        return result

    def save(self) -> None:
        """Write the whole state to the folder of the run, keeping the checkpoint before.

        Raises:
            OSError: it cannot be written; the checkpoint before is untouched.
        """
        state = self.state_dict()
        if self.accelerator.is_main_process:
            save_checkpoint(self.folder.path / LATEST, state, keep_previous=True)
