"""The training engine: thin over `accelerate`, whole in its checkpoints, the same on any device."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin, gather_object, set_seed
from torch import Tensor, nn
from tqdm import tqdm

import lwm_loss as lwm
import lwm_loss.functional as LF
from examples.rgbd.checkpoint import (
    BEST,
    LATEST,
    load_checkpoint,
    random_state,
    restore_random_state,
    save_checkpoint,
)
from examples.rgbd.config import OptionError, TrainConfig, to_plain
from examples.rgbd.data import VOID, Augmented, Batch
from examples.rgbd.evaluation import Evaluation, evaluate
from examples.rgbd.frames import Frames
from examples.rgbd.model import build_model, parameter_groups
from examples.rgbd.objective import ARMS, build_objective
from examples.rgbd.optimisation import Schedule, build_optimizer
from examples.rgbd.panels import draw_panels
from examples.rgbd.runfolder import RunFolder
from examples.rgbd.sampling import StepSampler, batches, collate, loader

TERMS = ("loss", "segmentation", "depth", "hard", "sides", "kept_share")


class TrainingError(OptionError):
    """Training that cannot go on, told in one sentence."""


def make_accelerator(config: TrainConfig, folder: RunFolder | None = None) -> Accelerator:
    """Where and in which precision to run.

    Raises:
        OptionError: the device cannot do what the options ask for.
    """
    options = config.optimisation
    try:
        return Accelerator(
            cpu=config.run.device == "cpu",
            # None leaves the choice to `accelerate launch`.
            mixed_precision=None if options.mixed_precision == "no" else options.mixed_precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(
                num_steps=options.accumulation, sync_with_dataloader=False
            ),
            log_with="tensorboard" if config.run.tensorboard else None,
            project_dir=None if folder is None else str(folder.path),
        )
    except (ValueError, ImportError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise OptionError(f"Expected options that this machine can run, but got: {reason}.") from error


class Engine:
    """One training run. Everything it needs to go on lies in its checkpoint.

    Args:
        config: all options.
        frames: the data.
        folder: where to write.
        accelerator: where to run.
    """

    def __init__(
        self, config: TrainConfig, frames: Frames, folder: RunFolder, accelerator: Accelerator
    ) -> None:
        self.config = config
        self.frames = frames
        self.folder = folder
        self.accelerator = accelerator
        options = config.optimisation
        set_seed(config.run.seed)
        self.augmented = Augmented(
            frames.train, config.data.image_size, config.run.seed, config.augmentation
        )
        self.sampler = StepSampler(
            len(frames.train),
            options.batch_size,
            parts=options.accumulation,
            seed=config.run.seed,
            process=accelerator.process_index,
            processes=accelerator.num_processes,
        )
        self.loader = loader(
            self.augmented,
            workers=config.data.workers,
            pin=accelerator.device.type == "cuda",
            batch_sampler=self.sampler,
            collate_fn=collate,
        )
        network = build_model(config.network, config.objective, len(frames.classes))
        self.parameters = sum(parameter.numel() for parameter in network.parameters())
        if options.channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if options.compile:
            network.compile()
        optimizer = build_optimizer(parameter_groups(network, options), options)
        self.schedule = Schedule(optimizer, options, self.sampler.steps * options.epochs)
        self.model, self.optimizer = accelerator.prepare(network, optimizer)
        self.objective, self.curriculum = build_objective(config.objective, options.epochs)
        if isinstance(self.objective, nn.Module):
            self.objective.to(accelerator.device)
        self.epoch = 0
        self.step = 0  # of the epoch
        self.sums = torch.zeros(len(TERMS), dtype=torch.float64, device=accelerator.device)
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] | None = None
        self.validated = False
        torch.manual_seed(config.run.seed + accelerator.process_index)

    # --- the loop -------------------------------------------------------------------------------

    def fit(self) -> Evaluation:
        """Train to the last epoch, then evaluate the chosen weights once on the test split."""
        options = self.config.optimisation
        while self.epoch < options.epochs:
            row = self._train_epoch()
            row |= self._after_epoch(row)
            self.history.append(row)
            self.epoch, self.step = self.epoch + 1, 0
            self.sums.zero_()
            self.save()
            self._report(row)
        return self._finish()

    def _train_epoch(self) -> dict[str, float]:
        self.model.train()
        self.augmented.set_epoch(self.epoch)
        first = self.step
        self.sampler.start(self.epoch, first)
        parts: list[Batch] = []
        began = time.perf_counter()
        bar = tqdm(
            total=self.sampler.steps,
            initial=first,
            desc=f"epoch {self.epoch + 1}/{self.config.optimisation.epochs}",
            unit="step",
            disable=not self.accelerator.is_main_process,
            leave=False,
            mininterval=0.5,
            dynamic_ncols=True,
        )
        # Reading a loss stalls a GPU until it has caught up, so it is not done at every step.
        shown_every = 10 if self.accelerator.device.type == "cuda" else 1
        with bar:
            for batch in batches(self.loader):
                parts.append(self._to_device(batch))
                if len(parts) < self.config.optimisation.accumulation:
                    continue
                terms = self._take_step(parts)
                parts = []
                self.sums += terms
                self.step += 1
                bar.update()
                if self.step % shown_every == 0:
                    values = terms.tolist()
                    self._check_finite(values[0])
                    bar.set_postfix(self._shown(values), refresh=False)
                every = self.config.run.checkpoint_every
                if every and self.step % every == 0 and self.step < self.sampler.steps:
                    self._check_finite(float(self.sums[0]))
                    self.save()
        seconds = time.perf_counter() - began
        values = (self.sums / self.sampler.steps).tolist()
        self._check_finite(values[0])
        seen = (self.sampler.steps - first) * self.config.optimisation.batch_size
        return {
            "epoch": self.epoch + 1,
            **dict(zip(TERMS, values)),
            "curriculum_progress": 1.0 if self.curriculum is None else self.curriculum.progress,
            "learning_rate": self.optimizer.param_groups[-1]["lr"],
            "images_per_second": seen / seconds if seen else 0.0,
            "memory_mb": self._memory(),
        }

    def _to_device(self, batch: Batch) -> Batch:
        device = self.accelerator.device
        layout = (
            torch.channels_last
            if self.config.optimisation.channels_last
            else torch.contiguous_format
        )
        return batch._replace(
            image=batch.image.to(device, non_blocking=True, memory_format=layout),
            label=batch.label.to(device, non_blocking=True),
            depth=LF.rescale_depth(
                batch.depth.to(device, non_blocking=True), *self.frames.limits
            ),
        )

    def _take_step(self, parts: Sequence[Batch]) -> Tensor:
        """One step of the optimiser over all parts of all processes; returns its terms."""
        accelerator = self.accelerator
        counts = torch.stack(
            [torch.stack([(part.label != VOID).sum(), (part.depth > 0).sum()]) for part in parts]
        ).sum(0)
        # The true normaliser: the pixels of the whole step, wherever they are.
        labelled, known = accelerator.reduce(counts, "sum").unbind()
        # DDP averages over processes and accelerate over parts; the terms are sums already.
        undo_mean = accelerator.num_processes * len(parts)
        total = self.sums.new_zeros(len(TERMS))
        for part in parts:
            with accelerator.accumulate(self.model):
                output = lwm.MultiTaskOutput.of(self.model(part.image))
                if not self.validated:
                    lwm.validate(
                        output.logits, part.label, output.log_depth, part.depth, ignore_index=VOID
                    )
                    self.validated = True
                terms = self.objective(
                    output.logits,
                    part.label,
                    output.log_depth,
                    part.depth,
                    output.side_logits,
                    normalizer=labelled,
                    depth_normalizer=known,
                )
                accelerator.backward(terms.total * undo_mean)
                if accelerator.sync_gradients and self.config.optimisation.clip_norm:
                    accelerator.clip_grad_norm_(
                        self.model.parameters(), self.config.optimisation.clip_norm
                    )
                self.optimizer.step()
                self.optimizer.zero_grad()
            kept = terms.total.new_ones(()) if self.curriculum is None else self.curriculum.pop_share()
            total += torch.stack(
                [
                    terms.total.detach(),
                    terms.segmentation,
                    terms.depth,
                    terms.hard,
                    terms.sides.sum(),
                    kept / undo_mean,
                ]
            )
        self.schedule.after_step()
        return accelerator.reduce(total, "sum")

    def _after_epoch(self, row: dict[str, float]) -> dict[str, float]:
        """Validate, move schedule and curriculum on, and keep the best weights."""
        figures = {
            "val_loss": float("nan"),
            "val_pixel_accuracy": float("nan"),
            "val_mean_accuracy": float("nan"),
            "val_mean_iou": float("nan"),
            "val_log_depth_rmse": float("nan"),
        }
        if self.frames.held is not None:
            result = self.evaluate(self.frames.held)
            figures = {
                "val_loss": result.loss,
                "val_pixel_accuracy": result.scores.pixel_accuracy,
                "val_mean_accuracy": result.scores.mean_accuracy,
                "val_mean_iou": result.scores.mean_iou,
                "val_log_depth_rmse": result.log_depth_rmse,
            }
        # Not the objective: it rises as the curriculum lets harder pixels in.
        watched = row["segmentation"] if self.frames.held is None else figures["val_loss"]
        self.schedule.after_epoch(watched)
        every = self.config.run.panels_every
        if every and (self.epoch + 1) % every == 0:
            self._draw(self.frames.held or self.frames.train, f"epoch-{self.epoch + 1:03d}")
        if self.curriculum is not None:
            self.curriculum.step()
        # Without held-out frames the last weights are kept.
        score = figures["val_mean_iou"] if self.frames.held is not None else self.epoch
        if self.best is None or score > self.best["score"]:
            self.best = {"score": score, "epoch": self.epoch + 1}
            self._write(lambda: save_checkpoint(self.folder.path / BEST, self._portable()))
        return figures

    def _finish(self) -> Evaluation:
        self.accelerator.wait_for_everyone()
        state = load_checkpoint(self.folder.path / BEST)
        self.network.load_state_dict(state["network"])
        result = self.evaluate(self.frames.test)
        self._draw(self.frames.test, "test")
        if self.accelerator.is_main_process:
            scores = result.scores
            self.folder.write_json(
                "results.json",
                {
                    "split": "test",
                    "images": result.images,
                    "epoch": state["epoch"],
                    "pixel_accuracy": scores.pixel_accuracy,
                    "mean_accuracy": scores.mean_accuracy,
                    "mean_iou": scores.mean_iou,
                    "log_depth_rmse": _plain(result.log_depth_rmse),
                    "class_iou": {
                        name: _plain(iou)
                        for name, iou in zip(self.frames.classes, scores.class_iou)
                    },
                    "majority_class": {
                        "pixel_accuracy": result.baseline.pixel_accuracy,
                        "mean_accuracy": result.baseline.mean_accuracy,
                        "mean_iou": result.baseline.mean_iou,
                    },
                },
            )
        if self.config.run.tensorboard:
            self.accelerator.end_training()
        return result

    # --- parts ----------------------------------------------------------------------------------

    @property
    def network(self) -> nn.Module:
        """The network without what distributes it."""
        network: nn.Module = self.accelerator.unwrap_model(self.model)
        return network

    def evaluate(self, dataset: Any) -> Evaluation:
        """Score the network on a split at a single scale."""
        return evaluate(
            self.network,
            dataset,
            num_classes=len(self.frames.classes),
            image_size=self.config.data.image_size,
            limits=self.frames.limits,
            accelerator=self.accelerator,
            batch_size=self.config.optimisation.batch_size,
            workers=self.config.data.workers,
        )

    def _draw(self, dataset: Any, name: str) -> None:
        if not self.accelerator.is_main_process or not ARMS[self.config.objective.objective].depth:
            return
        draw_panels(
            self.network,
            dataset,
            self.folder.panels,
            name,
            count=self.config.run.panels,
            image_size=self.config.data.image_size,
            limits=self.frames.limits,
            objective=self.config.objective,
            classes=self.frames.classes,
            palette=self.frames.test.palette,
            curriculum=self.curriculum,
            device=self.accelerator.device,
        )

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"Expected a finite loss, but got {loss} in epoch {self.epoch + 1} by step "
                f"{self.step}: did you mean a lower --lr, or --clip-norm 1?"
            )

    def _shown(self, values: Sequence[float]) -> dict[str, str]:
        arm = ARMS[self.config.objective.objective]
        names = {"loss": "loss", "segmentation": "seg"}
        if arm.depth:
            names["depth"] = "depth"
        if arm.mined or self.config.objective.mining_place == "add":
            names["hard"] = "hard"
        if arm.sides:
            names["sides"] = "sides"
        if arm.curriculum:
            names["kept_share"] = "kept"
        return {names[key]: f"{value:.3f}" for key, value in zip(TERMS, values) if key in names}

    def _report(self, row: dict[str, float]) -> None:
        if self.config.run.tensorboard:
            self.accelerator.log(row, step=int(row["epoch"]))
        if not self.accelerator.is_main_process:
            return
        self.folder.write_metrics(self.history)
        terms = " ".join(
            f"{name} {value}" for name, value in self._shown([row[key] for key in TERMS]).items()
        )
        held = (
            f" | held out: pixel accuracy {100 * row['val_pixel_accuracy']:.1f} %, mean accuracy "
            f"{100 * row['val_mean_accuracy']:.1f} %, mean IoU {100 * row['val_mean_iou']:.1f} %"
            if self.frames.held is not None
            else ""
        )
        print(
            f"epoch {self.epoch}/{self.config.optimisation.epochs}: {terms}{held} | "
            f"lr {row['learning_rate']:.2g}, {row['images_per_second']:.1f} images/s",
            flush=True,
        )

    def _memory(self) -> float:
        """Peak memory in MB: of the GPU, or of this process."""
        if self.accelerator.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

    # --- checkpoints ----------------------------------------------------------------------------

    def _portable(self) -> dict[str, Any]:
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
            },
            "epoch": self.epoch + 1,
        }

    def _write(self, write: Any) -> None:
        if self.accelerator.is_main_process:
            write()

    def save(self) -> None:
        """Write the whole state to the folder of the run, keeping the checkpoint before."""
        random_states = gather_object([random_state()])
        scaler = self.accelerator.scaler
        self._write(
            lambda: save_checkpoint(
                self.folder.path / LATEST,
                {
                    **self._portable(),
                    "epoch": self.epoch,
                    "step": self.step,
                    "sums": self.sums.cpu(),
                    "optimizer": self.optimizer.state_dict(),
                    "schedule": self.schedule.state_dict(),
                    "curriculum": None if self.curriculum is None else self.curriculum.state_dict(),
                    "scaler": None if scaler is None else scaler.state_dict(),
                    "random": random_states,
                    "history": self.history,
                    "best": self.best,
                },
                keep_previous=True,
            )
        )

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `save` wrote.

        Raises:
            OptionError: the run was written by another number of processes.
        """
        processes = len(state["random"])
        if processes != self.accelerator.num_processes:
            raise OptionError(
                f"Expected to resume with {processes} processes, as the run was begun, but got "
                f"{self.accelerator.num_processes}."
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.curriculum is not None:
            self.curriculum.load_state_dict(state["curriculum"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.sums.copy_(state["sums"])
        self.history, self.best = state["history"], state["best"]
        restore_random_state(state["random"][self.accelerator.process_index])


def _plain(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
