"""The command `evaluate`: what a checkpoint scores."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from accelerate import Accelerator

from examples.rgbd.cli import guarded, parse
from examples.rgbd.data import Split
from examples.rgbd.evaluation.metrics import score_table, summary
from examples.rgbd.evaluation.scoring import SINGLE_SCALE, Crop, Evaluation, View, evaluate
from examples.rgbd.options.groups import WORKERS, OptionError
from examples.rgbd.report.text import figures_of
from examples.rgbd.run.checkpoint import write_atomically
from examples.rgbd.run.trained import load_trained
from examples.rgbd.splits import Pipeline, open_split


@dataclass(frozen=True)
class EvaluateOptions:
    """What to evaluate, and how."""

    checkpoint: tyro.conf.Positional[Path]
    """Folder of a run, whose best weights are taken, or a checkpoint file."""
    data: Path | None = None
    """Folder of the data set; by default the one that the run was trained on."""
    layout: str | None = None
    """How the folder is laid out; recognised by itself if it is not said."""
    split: Split = "test"
    """Which split."""
    flip: bool = False
    """Also with the mirror image, averaged: a figure of its own."""
    multi_scale: bool = False
    """Also with several scales and their mirror images, averaged: a figure of its own."""
    scales: tuple[float, ...] = (0.75, 1.0, 1.25)
    """The scales of --multi-scale."""
    crop: bool = False
    """Also without the white frame of NYUDv2's images: a figure of its own."""
    batch_size: int = 8
    """Images at a time."""
    workers: int = WORKERS
    """Processes that read frames."""
    device: Literal["auto", "cpu"] = "auto"
    """auto takes the GPU if there is one."""
    output: Path | None = None
    """JSON file to write the figures to."""

    def check(self) -> None:
        """Raise `OptionError` at the first option that cannot be used."""
        if self.batch_size < 1 or self.workers < 0:
            raise OptionError(
                f"Expected --batch-size of at least 1 and --workers of at least 0, but got "
                f"{self.batch_size} and {self.workers}."
            )
        if not self.scales or not all(0.1 <= scale <= 10 for scale in self.scales):
            raise OptionError(f"Expected --scales from 0.1 to 10, but got {self.scales}.")


def run_evaluate(pipeline: Pipeline, args: Sequence[str] | None = None) -> None:
    """Run the command; faults of options and data end in one sentence."""
    options = parse(
        EvaluateOptions,
        sys.argv[1:] if args is None else args,
        prog=f"python -m examples.{pipeline.name}.evaluate",
        description="Score a trained network: at a single scale, and by option in other ways too.",
    )
    guarded(lambda: _evaluate(pipeline, options))


def _evaluate(pipeline: Pipeline, options: EvaluateOptions) -> None:
    options.check()
    trained = load_trained(options.checkpoint)
    stored = trained.config.data
    if options.data is None and trained.name not in ("rooms", pipeline.name):
        raise OptionError(
            f"Expected a run on {pipeline.title}, but {options.checkpoint} was trained on "
            f"{trained.name}: did you mean examples.{trained.name}.evaluate, or --data?"
        )
    if options.crop and (pipeline.crop is None or trained.name == "rooms"):
        raise OptionError("Expected --crop with NYUDv2, whose images have a white frame.")
    source = stored
    if options.data is not None:
        source = dataclasses.replace(stored, data=options.data, layout=options.layout)
    accelerator = Accelerator(cpu=options.device == "cpu")
    main = accelerator.is_main_process
    dataset = open_split(pipeline, source, options.split, quiet=not main)
    if len(dataset.classes) != len(trained.classes):
        raise OptionError(
            f"Expected frames with the {len(trained.classes)} classes of {trained.name}, but got "
            f"{len(dataset.classes)} classes: is --data missing, or of another data set?"
        )
    trained.network.to(accelerator.device)

    def score(view: View = SINGLE_SCALE, crop: Crop | None = None) -> Evaluation:
        return evaluate(
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
    print(score_table(first.scores, trained.classes))
    if first.log_depth_rmse == first.log_depth_rmse:
        print(f"root mean squared error of log-depth {first.log_depth_rmse:.4f}")
    for name, result in list(results.items())[1:]:
        print(f"{name}: {summary(result.scores)}")
    print(f"most frequent class everywhere: {summary(first.baseline)}")
    if options.output is not None:
        _write(options.output, results, trained.classes)


def _write(path: Path, results: dict[str, Evaluation], classes: tuple[str, ...]) -> None:
    content = {name: figures_of(result, classes) for name, result in results.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(json.dumps(content, indent=2).encode()))
