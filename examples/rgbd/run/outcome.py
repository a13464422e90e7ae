"""What a run shows of its network: scores, panels, a row of figures, the results of the test split."""

from __future__ import annotations

import math
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

import lwm_loss as lwm
from examples.rgbd.evaluation.scoring import Evaluation, evaluate
from examples.rgbd.objectives import Curriculum
from examples.rgbd.options.groups import TrainConfig
from examples.rgbd.report.panels import draw_panels
from examples.rgbd.report.text import describe_epoch, figures_of
from examples.rgbd.run.folder import RunFolder
from examples.rgbd.splits import Frames


class Outcome:
    """Scores and draws the network of a run, and writes to the run's folder in the main process.

    Args:
        config: all options.
        frames: the data.
        folder: where to write.
        accelerator: where to run.
        class_weight: (C,), what `--class-weights` came to, or None.
    """

    def __init__(
        self,
        config: TrainConfig,
        frames: Frames,
        folder: RunFolder,
        accelerator: Accelerator,
        class_weight: Tensor | None = None,
    ) -> None:
        self.config = config
        self.frames = frames
        self.folder = folder
        self.accelerator = accelerator
        self.class_weight = class_weight

    def score(self, network: nn.Module, dataset: Any) -> Evaluation:
        """Score a network on a split at a single scale."""
        if self.accelerator.num_processes > 1:
            # Each process has moved its own running statistics on; those of the first are saved.
            for buffer in network.buffers():
                broadcast(buffer)
        return evaluate(
            network,
            dataset,
            num_classes=len(self.frames.classes),
            image_size=self.config.data.image_size,
            limits=self.frames.limits,
            accelerator=self.accelerator,
            batch_size=self.config.optimisation.batch_size,
            workers=self.config.data.workers,
            class_weight=self.class_weight,
            progress=self.accelerator.is_main_process,
        )

    def of_held_out(self, network: nn.Module) -> dict[str, float]:
        """Score a network on the frames that are held out; NaN where none are."""
        result = None if self.frames.held is None else self.score(network, self.frames.held)
        scores = None if result is None else result.scores
        return {
            "val_loss": math.nan if result is None else result.loss,
            "val_pixel_accuracy": math.nan if scores is None else scores.pixel_accuracy,
            "val_mean_accuracy": math.nan if scores is None else scores.mean_accuracy,
            "val_mean_iou": math.nan if scores is None else scores.mean_iou,
            "val_log_depth_rmse": math.nan if result is None else result.log_depth_rmse,
        }

    def draw_epoch(self, network: nn.Module, epoch: int, curriculum: Curriculum | None) -> None:
        """Draw panels of held-out frames, after the epochs that `--panels-every` names."""
        every, held = self.config.run.panels_every, self.frames.held
        if every and epoch % every == 0:
            dataset, kind = (
                (self.frames.train, "trained on") if held is None else (held, "held out")
            )
            # A copy: the curriculum itself counts what it keeps, and panels are no training.
            shown = curriculum and curriculum.copy()
            caption = f"{kind}, after epoch {epoch}"
            self._draw(network, dataset, f"epoch-{epoch:03d}", caption, shown)

    def report_epoch(self, row: dict[str, float], history: list[dict[str, float]]) -> None:
        """Log and print the figures of an epoch, and write those of all epochs."""
        if self.config.run.tensorboard:
            self.accelerator.log(row, step=len(history))
        if self.accelerator.is_main_process:
            self.folder.write_metrics(history)
            print(describe_epoch(self.config, row), flush=True)

    def report_test(
        self,
        network: nn.Module,
        result: Evaluation,
        epoch: int,
        history: list[dict[str, float]],
    ) -> None:
        """Write the results of the weights of an epoch on the test split, and draw its panels."""
        if self.accelerator.is_main_process:
            self.folder.write_metrics(history)
            figures = figures_of(result, self.frames.classes)
            self.folder.write_json("results.json", {"split": "test", "epoch": epoch, **figures})
        self._draw(network, self.frames.test, "test", f"test split, weights of epoch {epoch}")

    def _draw(
        self,
        network: nn.Module,
        dataset: Any,
        prefix: str,
        caption: str,
        curriculum: lwm.SelfPacedCurriculum | None = None,
    ) -> None:
        if not self.accelerator.is_main_process or not self.config.run.panels:
            return
        draw_panels(
            network,
            dataset,
            self.folder.panels,
            prefix,
            caption,
            count=self.config.run.panels,
            image_size=self.config.data.image_size,
            limits=self.frames.limits,
            objective=self.config.objective,
            classes=self.frames.classes,
            palette=self.frames.test.palette,
            metric=self.frames.metric,
            curriculum=curriculum,
            device=self.accelerator.device,
        )
