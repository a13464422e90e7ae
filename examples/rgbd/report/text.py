"""What a run says about itself: its first lines, its progress, its results."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator

from examples.rgbd.evaluation.metrics import Scores
from examples.rgbd.evaluation.scoring import Evaluation
from examples.rgbd.model import input_of
from examples.rgbd.objectives import ARMS, has_hard_term, measured
from examples.rgbd.options.groups import ObjectiveOptions, TrainConfig
from examples.rgbd.splits import Frames

TERMS = ("loss", "segmentation", "depth", "hard", "sides", "kept_share", "normals")


def shown_terms(options: ObjectiveOptions, values: Mapping[str, float]) -> dict[str, str]:
    """The terms that an objective has, by short names."""
    arm = ARMS[options.objective]
    names = {
        "loss": "loss",
        "segmentation": "seg",
        "depth": "depth" if arm.depth else None,
        "hard": "hard" if has_hard_term(options) else None,
        "sides": "sides" if arm.sides else None,
        "kept_share": "kept" if arm.curriculum else None,
        "normals": "normals" if values["normals"] else None,
    }
    return {name: f"{values[key]:.3f}" for key, name in names.items() if name is not None}


def describe_run(
    config: TrainConfig, frames: Frames, accelerator: Accelerator, parameters: int, steps: int
) -> str:
    """What is going to be trained, on what, and how.

    Args:
        config: all options.
        frames: the data.
        accelerator: where it runs.
        parameters: of the network.
        steps: of an epoch.
    """
    options, objective, data = config.optimisation, config.objective, config.data
    part = options.batch_size // (options.accumulation * accelerator.num_processes)
    held = 0 if frames.held is None else len(frames.held)
    near, far = frames.limits
    source = config.network.pretrained
    precision = accelerator.mixed_precision
    depth = f"depth {near:g} .. {far:g} m -> levels 1 .. 256"
    if not frames.metric:
        depth = "relative depth, levels 1 .. 256 of each image"
    reads = input_of(config.network)
    beside = "" if reads == "rgb" else f", {reads}"
    lines = {
        "frames": f"{frames.name}: {len(frames.train)} to train on, {held} held out, "
        f"{len(frames.test)} to test; {len(frames.classes)} classes",
        "input": f"{data.image_size[0]} x {data.image_size[1]}{beside}; {depth}",
        "network": f"{config.network.network}, {config.network.backbone} "
        f"{'from scratch' if source is None else f'from {source}'}, "
        f"{parameters / 1e6:.1f} M parameters",
        "objective": describe_objective(objective, options.epochs),
        "batch": f"{options.batch_size} images a step = {part} x {options.accumulation} "
        f"accumulated x {accelerator.num_processes} processes; {steps} steps an epoch, "
        f"{options.epochs} epochs",
        "optimiser": f"{options.optimizer}, learning rate {options.lr:g} (encoder "
        f"{options.lr * options.encoder_lr_factor:g}), schedule {options.schedule}",
        "device": f"{_describe_device(accelerator.device)}, "
        f"{'float32' if precision == 'no' else f'{precision} mixed precision'}",
    }
    return "\n".join(f"{name:<10} {text}" for name, text in lines.items())


def describe_objective(options: ObjectiveOptions, epochs: int) -> str:
    """Name an objective and those of its options that take part in it.

    Args:
        options: of the objective.
        epochs: of the run, over which the curriculum goes where nothing else is said.
    """
    arm = ARMS[options.objective]
    parts: list[str] = [options.objective]
    if has_hard_term(options):
        parts.append(f"alpha {options.alpha:g}")
    if arm.sides:
        parts.append(f"beta {options.beta:g}")
    maps = measured(options)
    if maps == "both":
        parts.append(f"fusion {options.fusion}")
    if maps in ("both", "dse"):
        region = f"cells {options.cells}", f"bin size {options.bin_size:g}"
        parts += [*region, f"error {options.error}"]
    chosen = {
        "mining": options.mining,
        "control": options.control,
        "class weights": options.class_weights,
    }
    parts += [f"{name} {value}" for name, value in chosen.items() if value != "none"]
    if arm.curriculum:
        parts.append(f"curriculum over {options.curriculum_epochs or epochs} epochs")
    return ", ".join(parts)


def _describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)


def describe_epoch(config: TrainConfig, row: Mapping[str, float]) -> str:
    """One epoch in one line."""
    terms = " ".join(f"{name} {text}" for name, text in shown_terms(config.objective, row).items())
    held = ""
    if not math.isnan(row["val_mean_iou"]):
        held = (
            f" | held out: pixel accuracy {100 * row['val_pixel_accuracy']:.1f} %, mean accuracy "
            f"{100 * row['val_mean_accuracy']:.1f} %, mean IoU {100 * row['val_mean_iou']:.1f} %"
        )
    return (
        f"epoch {row['epoch']:.0f}/{config.optimisation.epochs}: {terms}{held} | "
        f"lr {row['learning_rate']:.2g}, {row['images_per_second']:.1f} images/s"
    )


def figures_of(result: Evaluation, classes: tuple[str, ...]) -> dict[str, Any]:
    """An evaluation as JSON; what is undefined is null."""

    def plain(value: float) -> float | None:
        return None if math.isnan(value) else value

    def means(scores: Scores) -> dict[str, float | None]:
        return {
            "pixel_accuracy": plain(scores.pixel_accuracy),
            "mean_accuracy": plain(scores.mean_accuracy),
            "mean_iou": plain(scores.mean_iou),
        }

    return {
        "images": result.images,
        **means(result.scores),
        "averaged_over_images": {
            "mean_accuracy": plain(result.of_images.mean_accuracy),
            "mean_iou": plain(result.of_images.mean_iou),
        },
        "log_depth_rmse": plain(result.log_depth_rmse),
        "class_iou": {name: plain(iou) for name, iou in zip(classes, result.scores.class_iou)},
        "majority_class": means(result.baseline),
    }


def peak_memory(device: torch.device) -> float:
    """Peak memory in MB: of the GPU, or of this process; NaN where it is not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
