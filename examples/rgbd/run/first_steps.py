"""The first steps of a run, without folder, checkpoints and evaluation: do its options train?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from accelerate import Accelerator

import lwm_loss as lwm
from examples.rgbd.class_weights import class_weights
from examples.rgbd.data import VOID, Sample, to_tensors
from examples.rgbd.data.loading import stack
from examples.rgbd.model import build_model
from examples.rgbd.networks import parameter_groups
from examples.rgbd.objectives import build_objective
from examples.rgbd.options.groups import TrainConfig
from examples.rgbd.report.text import TERMS
from examples.rgbd.run.network import start_depth_at_its_mean
from examples.rgbd.run.schedule import Schedule, build_optimizer
from examples.rgbd.run.step import TrainingStep


class FirstSteps(NamedTuple):
    """What the first steps gave.

    Attributes:
        rows: the terms of each step.
        before: plain cross-entropy of all frames before the first step.
        after: the same after the last step. The L_s of a curriculum is over pixels that change.
    """

    rows: list[dict[str, float]]
    before: float
    after: float


def first_steps(
    config: TrainConfig,
    frames: Sequence[Sample],
    limits: tuple[float, float],
    num_classes: int,
    steps: int,
) -> FirstSteps:
    """Train on the same few frames by the options of a run, on the CPU.

    Args:
        config: the options; frames are neither resized nor varied.
        frames: all of one size.
        limits: (near, far) in metres.
        num_classes: C.
        steps: of the optimiser, ``config.optimisation.batch_size`` frames each, in turn.
    """
    options = config.optimisation
    torch.manual_seed(config.run.seed)
    model = build_model(config.network, config.objective, num_classes)
    start_depth_at_its_mean(model, frames, limits)
    weights = class_weights(config.objective.class_weights, frames, num_classes)
    objective, curriculum = build_objective(config.objective, 2, weights)
    accelerator = Accelerator(cpu=True, mixed_precision=options.mixed_precision)
    groups = parameter_groups(model, options.lr, encoder_factor=options.encoder_lr_factor)
    optimizer = build_optimizer(groups, options)
    schedule = Schedule(optimizer, options, steps)
    model, optimizer = accelerator.prepare(model, optimizer)
    step = TrainingStep(
        model, objective, curriculum, optimizer, schedule, accelerator, limits=limits,
        class_weight=weights, clip_norm=options.clip_norm, channels_last=options.channels_last,
    )  # fmt: skip
    samples = [to_tensors(frame) for frame in frames]
    whole = step.prepare(stack(samples))

    def cross_entropy() -> float:
        with torch.no_grad():
            logits = lwm.MultiTaskOutput.of(step.forward(whole)).logits.float()
        return F.cross_entropy(logits, whole.label, ignore_index=VOID).item()

    model.train()
    before, rows = cross_entropy(), []
    for index in range(steps):
        chosen = [
            samples[(index * options.batch_size + each) % len(samples)]
            for each in range(options.batch_size)
        ]
        terms = step([step.prepare(stack(chosen))])
        rows.append(dict(zip(TERMS, terms.tolist())))
    return FirstSteps(rows, before, cross_entropy())
