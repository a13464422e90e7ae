"""One step of the optimiser: the gradient of a whole batch, wherever its parts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

import lwm_loss as lwm
import lwm_loss.functional as LF
from examples.rgbd.class_weights import weight_of_labels
from examples.rgbd.data import VOID, FrameTensors
from examples.rgbd.data.normals import has_normal, normal_loss
from examples.rgbd.networks import second_input
from examples.rgbd.objectives import Curriculum
from examples.rgbd.report.text import TERMS
from examples.rgbd.run.schedule import Schedule


class Part(NamedTuple):
    """A part of a batch on the device.

    Attributes:
        image: (B, 3, H, W), normalised.
        label: (B, H, W).
        depth: (B, H, W), levels: the target.
        beside: the second input of a network that reads depth, else None; see ``second_input``.
        normals: (B, 3, H, W), the target of a network that predicts normals, else None.
    """

    image: Tensor
    label: Tensor
    depth: Tensor
    beside: Tensor | None
    normals: Tensor | None


class TrainingStep:
    """A step over all accumulated parts of all processes, with the true normalisers.

    However a batch is divided, the gradient is that of the undivided one.

    Args:
        model: the network, as accelerate prepared it.
        objective: called like `lwm_loss.HardPixelMiningLoss`, with both normalisers.
        curriculum: of the objective, if it has one.
        optimizer: as accelerate prepared it.
        schedule: moved on after the step.
        accelerator: where to run.
        limits: (near, far) in metres.
        class_weight: (C,), that of the objective's cross-entropy, if it has one.
        clip_norm: largest norm of the gradient; 0 does not clip.
        channels_last: memory order of the images.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: nn.Module,
        curriculum: Curriculum | None,
        optimizer: Optimizer,
        schedule: Schedule,
        accelerator: Accelerator,
        *,
        limits: tuple[float, float],
        class_weight: Tensor | None = None,
        clip_norm: float = 0.0,
        channels_last: bool = False,
    ) -> None:
        self.model = model
        self.objective = objective
        self.curriculum = curriculum
        self.optimizer = optimizer
        self.schedule = schedule
        self.accelerator = accelerator
        self.limits = limits
        self.class_weight = (
            None if class_weight is None else class_weight.to(accelerator.device, torch.float64)
        )
        self.clip_norm = clip_norm
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._values_checked = False
        self._network = accelerator.unwrap_model(model)

    def forward(self, part: Part) -> Any:
        """Call the network with what it reads of a part."""
        # `model` may be wrapped, so what it reads is told by `beside`.
        return (
            self.model(part.image) if part.beside is None else self.model(part.image, part.beside)
        )

    def prepare(self, batch: FrameTensors) -> Part:
        """Bring a part to the device, with depth in levels."""
        device = self.accelerator.device
        depth = batch.depth.to(device, non_blocking=True)
        geometry = {
            kind: each.to(device, non_blocking=True) for kind, each in batch.geometry.items()
        }
        return Part(
            image=batch.image.to(device, non_blocking=True, memory_format=self._layout),
            label=batch.label.to(device, non_blocking=True),
            depth=LF.rescale_depth(depth, *self.limits),
            beside=second_input(self._network, depth, geometry),
            normals=geometry.get("normals"),
        )

    def __call__(self, parts: Sequence[Part]) -> Tensor:
        """Take the step.

        Args:
            parts: this process' share of the batch, prepared.

        Returns:
            The terms of the whole batch, in the order of `TERMS`, float64.
        """
        accelerator = self.accelerator
        counts = torch.stack([self._counts(part) for part in parts])
        # The true normaliser: the pixels of the whole step, wherever they are.
        labelled, known, weighted, facing = accelerator.reduce(counts.sum(0), "sum").unbind()
        # DDP averages over processes and accelerate over parts, but these terms are to be summed.
        undo_mean = accelerator.num_processes * len(parts)
        total = torch.zeros(len(TERMS), dtype=torch.float64, device=accelerator.device)
        for part, (mine, *_) in zip(parts, counts, strict=True):
            with accelerator.accumulate(self.model):
                raw = self.forward(part)
                output = lwm.MultiTaskOutput.of(raw)
                self._check_values_once(output, part)
                terms = self.objective(
                    output.logits,
                    part.label,
                    output.log_depth,
                    part.depth,
                    output.side_logits,
                    normalizer=weighted,
                    depth_normalizer=known,
                )
                normals = output.logits.new_zeros(())
                if part.normals is not None and isinstance(raw, Mapping):
                    gaps = normal_loss(raw["normals"].float(), part.normals, reduction="sum")
                    normals = gaps / facing.clamp(min=1)
                accelerator.backward((terms.total + normals) * undo_mean)
                if accelerator.sync_gradients and self.clip_norm:
                    accelerator.clip_grad_norm_(self.model.parameters(), self.clip_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
            kept = mine if self.curriculum is None else self.curriculum.pop_kept()
            total += torch.stack(
                [
                    (terms.total + normals).detach(),
                    terms.segmentation,
                    terms.depth,
                    terms.hard,
                    terms.sides.sum(),
                    kept / labelled.clamp(min=1),
                    normals.detach(),
                ]
            )
        self.schedule.after_step()
        summed: Tensor = accelerator.reduce(total, "sum")
        return summed

    def _counts(self, part: Part) -> Tensor:
        """Pixels that are labelled, that have depth, labelled by class weight, with a normal."""
        known = part.depth > 0
        facing = known if part.normals is None else has_normal(part.normals)
        labelled = weight_of_labels(part.label, None)
        weighted = weight_of_labels(part.label, self.class_weight)
        return torch.stack([labelled, known.sum(), weighted, facing.sum()])

    def _check_values_once(self, output: lwm.MultiTaskOutput, part: Part) -> None:
        """Read the values of a first batch: on a GPU the losses never do."""
        if self._values_checked:
            return
        depth = None if output.log_depth is None else part.depth  # nothing is learnt from it then
        lwm.validate(output.logits, part.label, output.log_depth, depth, ignore_index=VOID)
        self._values_checked = True
