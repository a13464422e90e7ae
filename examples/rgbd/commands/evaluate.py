"""The command `evaluate`: what a checkpoint scores."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from examples.rgbd.data import RGBDDataset
from examples.rgbd.data.files.atomic import write_atomically
from examples.rgbd.evaluation.metrics import image_summary, score_table, summary
from examples.rgbd.evaluation.predicted_depth import PredictedDepth
from examples.rgbd.evaluation.scoring import SINGLE_SCALE, Evaluation, View
from examples.rgbd.evaluation.scoring import evaluate as score_split
from examples.rgbd.model import input_of
from examples.rgbd.networks import reads_depth
from examples.rgbd.options.commands import EvaluateOptions
from examples.rgbd.options.groups import OptionError
from examples.rgbd.report.text import figures_of
from examples.rgbd.run.accelerator import accelerator_on
from examples.rgbd.run.trained import Trained, check_runs_without_depth, load_trained
from examples.rgbd.splits import Crop, Pipeline, check_pipeline, open_split


def evaluate(pipeline: Pipeline, options: EvaluateOptions) -> None:
    """Print what a checkpoint scores."""
    options.check()
    trained = load_trained(options.checkpoint)
    stored = trained.config.data
    check_pipeline(trained.name, pipeline, options.checkpoint, options.data)
    if options.crop and (pipeline.crop is None or trained.name == "rooms"):
        raise OptionError("Expected --crop with NYUDv2, whose images have a white frame.")
    source = stored
    if options.data is not None:
        source = dataclasses.replace(stored, data=options.data, layout=options.layout)
    accelerator = accelerator_on(options.device)
    main = accelerator.is_main_process
    own = _gives_own_depth(options, trained)
    dataset = open_split(
        pipeline,
        source,
        options.split,
        quiet=not main,
        use_depth="optional" if own else trained.use_of_depth,
        geometry=() if own else trained.geometry,
    )
    if len(dataset.classes) != len(trained.classes):
        raise OptionError(
            f"Expected frames with the {len(trained.classes)} classes of {trained.name}, but got "
            f"{len(dataset.classes)} classes: is --data missing, or of another data set?"
        )
    trained.network.to(accelerator.device)
    own_depth = own_depth_of(options, trained, dataset, accelerator.device) if own else None

    def score(view: View = SINGLE_SCALE, crop: Crop | None = None) -> Evaluation:
        return score_split(
            trained.network,
            dataset,
            num_classes=len(trained.classes),
            image_size=stored.image_size,
            limits=trained.limits,
            accelerator=accelerator,
            batch_size=options.batch_size,
            workers=options.workers,
            view=view,
            crop=crop,
            depth_of=own_depth,
            progress=main,
        )

    results = {"single scale": score()}
    if options.flip:
        results["flip"] = score(View(flip=True))
    if options.multi_scale:
        shown = ", ".join(f"{scale:g}" for scale in options.scales)
        results[f"multi-scale ({shown}) and flip"] = score(View(options.scales, flip=True))
    if options.crop:
        results["inside the white frame"] = score(crop=pipeline.crop)
    if not main:
        return
    first = results["single scale"]
    print(
        f"{trained.path}, weights of epoch {trained.epoch}, {options.split} split, "
        f"{first.images} images, single scale:"
    )
    print(score_table(first.scores, trained.classes, "--output FILE.json has all"))
    print(image_summary(first.of_images))
    if first.log_depth_rmse == first.log_depth_rmse:
        print(f"root mean squared error of log-depth {first.log_depth_rmse:.4f}")
    for name, result in list(results.items())[1:]:
        print(f"{name}: {summary(result.scores)}")
    print(f"most frequent class everywhere: {summary(first.baseline)}")
    if options.output is not None:
        _write(options.output, results, trained.classes)


def _gives_own_depth(options: EvaluateOptions, trained: Trained) -> bool:
    """Whether a network that reads depth is given another one than the measured.

    Raises:
        OptionError: it reads none, or cannot do without.
    """
    option = "--depth-from" if options.depth_from is not None else "--without-depth"
    if options.depth_from is None and not options.without_depth:
        return False
    if not reads_depth(trained.network):
        raise OptionError(
            f"Expected no {option} for {trained.path}, whose network reads images alone."
        )
    if options.depth_from is None:
        check_runs_without_depth(trained, "no --without-depth")
    return True


def own_depth_of(
    options: EvaluateOptions,
    trained: Trained,
    frames: RGBDDataset,
    device: torch.device | str,
) -> Callable[[Tensor], Tensor | None]:
    """What a network is given in place of the measured depth, from images (B, 3, H, W).

    Args:
        options: those of the command, with one of ``depth_from`` and ``without_depth``.
        trained: the network.
        frames: to be evaluated; HHA of the predicted depth needs their camera.
        device: where the other run predicts.

    Raises:
        OptionError: the other run predicts no depth in metres, or the camera is not known.
    """
    if options.depth_from is None:
        return lambda images: None
    source = load_trained(options.depth_from)
    source.network.to(device)
    return PredictedDepth(source, input_of(trained.config.network), frames.shared_camera)


def _write(path: Path, results: dict[str, Evaluation], classes: tuple[str, ...]) -> None:
    content = {name: figures_of(result, classes) for name, result in results.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(json.dumps(content, indent=2).encode()))
