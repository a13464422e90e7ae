"""The command `train`: from a command line to a finished run."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from examples.rgbd.class_weights import class_weights, given_weights
from examples.rgbd.evaluation.metrics import image_summary, score_table, summary
from examples.rgbd.launch import parse_train, value_of
from examples.rgbd.model import geometry_of, input_of
from examples.rgbd.objectives import ARMS
from examples.rgbd.options.as_json import from_plain
from examples.rgbd.options.groups import OptionError, TrainConfig
from examples.rgbd.options.rules import check
from examples.rgbd.report.text import describe_run
from examples.rgbd.run.accelerator import check_precision, make_accelerator
from examples.rgbd.run.checkpoint import load_latest
from examples.rgbd.run.engine import Engine
from examples.rgbd.run.folder import RunFolder
from examples.rgbd.splits import Frames, Pipeline, name_of, open_frames

# What may differ between a run and its continuation without changing what is learnt.
_FREE = {
    ("data", "data"), ("data", "layout"), ("data", "workers"), ("run", "resume"), ("run", "device"),
    ("run", "checkpoint_every"), ("run", "panels_every"), ("run", "panels"), ("run", "tensorboard"),
}  # fmt: skip


def _speaks() -> bool:
    """Whether this is the one of several processes that speaks for all, as launchers number them.

    Needed before accelerate is set up.
    """
    return os.environ.get("RANK", "0") == "0"


def _keep_curriculum(config: TrainConfig, stored: TrainConfig) -> TrainConfig:
    """A run that goes on to another epoch keeps the length of the curriculum it was begun with."""
    if (
        config.optimisation.epochs == stored.optimisation.epochs
        or not ARMS[stored.objective.objective].curriculum
        or stored.objective.curriculum_epochs is not None
    ):
        return config
    length = stored.optimisation.epochs
    objective = dataclasses.replace(config.objective, curriculum_epochs=length)
    return dataclasses.replace(config, objective=objective)


def _resumed(
    args: Sequence[str], stored: TrainConfig, pipeline: Pipeline, folder: RunFolder
) -> TrainConfig:
    """The stored options, with those of the command line that may change."""
    config = parse_train(pipeline, args, stored)
    output = value_of(args, "--output")
    if output is not None and Path(output).resolve() != folder.path.resolve():
        raise OptionError(
            f"Expected --resume without --output, for a run goes on in its own folder, but got "
            f"--output {output}: did you mean a copy of {folder.path}?"
        )
    free = set(_FREE)
    if stored.optimisation.schedule in ("plateau", "constant"):
        free.add(("optimisation", "epochs"))
    for group in dataclasses.fields(TrainConfig):
        before, after = getattr(stored, group.name), getattr(config, group.name)
        for option in dataclasses.fields(before):
            was, now = getattr(before, option.name), getattr(after, option.name)
            if was != now and (group.name, option.name) not in free:
                raise OptionError(
                    f"Expected --{option.name.replace('_', '-')} {was} as the run was begun with, "
                    f"but got {now}: did you mean a new run?"
                )
    return config


def train(pipeline: Pipeline, args: Sequence[str], config: TrainConfig | None) -> None:
    """Train, from the beginning or from where a run was left.

    Args:
        pipeline: the data set.
        args: the command line.
        config: its options; None if it has --resume, whose run decides the defaults.
    """
    config, folder, state = _plan(pipeline, args, config)
    try:
        check(config)
        _run(pipeline, config, folder, state)
    except KeyboardInterrupt:
        if folder.has_checkpoint:
            raise KeyboardInterrupt(f"go on by --resume {folder.path}") from None
        raise
    finally:
        folder.release()


def _run(
    pipeline: Pipeline, config: TrainConfig, folder: RunFolder, state: dict[str, Any] | None
) -> None:
    """Train from the state of a run, or from the beginning, and say how it went."""
    began = time.perf_counter()
    # Before the processes are joined: rooms are drawn by forked workers, and to fork beside the
    # threads that join processes can lock up.
    check_precision(config)
    if state is None:
        given_weights(config.objective.class_weights)
    geometry = geometry_of(config.network, training=True)
    reads = input_of(config.network) != "rgb" or bool(geometry)
    needs_depth = ARMS[config.objective.objective].depth or reads
    frames = open_frames(
        pipeline, config.data, not _speaks(), needs_depth=needs_depth, geometry=geometry
    )
    accelerator = make_accelerator(config, folder)
    main = accelerator.is_main_process
    weights = _class_weights(config, frames, accelerator, state)
    engine = Engine(
        config, frames, folder, accelerator, class_weight=weights, load_pretrained=state is None
    )
    accelerator.wait_for_everyone()  # nobody creates the folder before all have chosen it
    if state is not None:
        engine.load_state_dict(state)
    if main:
        folder.claim()
        folder.sweep()
        facts: dict[str, Any] = {"classes": list(frames.classes), "depth_limits": frames.limits}
        if weights is not None:
            facts["class_weights"] = weights.tolist()
        folder.write_config(config, facts)
    folder.path = Path(broadcast_object_list([str(folder.path)])[0])
    if config.run.tensorboard:
        # All rows anew: a run killed at the wrong moment has a row in its checkpoint that it has
        # not logged, or the other way round.
        accelerator.project_configuration.logging_dir = str(folder.path)
        accelerator.init_trackers("tensorboard", init_kwargs={"tensorboard": {"purge_step": 0}})
        for row in engine.history:
            accelerator.log(row, step=int(row["epoch"]))
    if main:
        place = f", resumed at epoch {engine.epoch + 1}, step {engine.step + 1}" if state else ""
        print(f"{'run':<10} {folder.path}{place}")
        print(describe_run(config, frames, accelerator, engine.parameters, engine.batches.steps))
        sys.stdout.flush()
    result = engine.fit()
    if main:
        best = engine.epoch if engine.best is None else engine.best["epoch"]
        print(f"\nTest split, {result.images} images, weights of epoch {best}:")
        print(score_table(result.scores, frames.classes, "results.json has all"))
        print(image_summary(result.of_images))
        print(f"(the most frequent class everywhere: {summary(result.baseline)})")
        print(f"{time.perf_counter() - began:.0f} s in all; everything is in {folder.path}/")


def _class_weights(
    config: TrainConfig, frames: Frames, accelerator: Accelerator, state: dict[str, Any] | None
) -> Tensor | None:
    """The weights that a run was begun with, or those of a new one."""
    if state is not None:
        stored: Tensor | None = state.get("class_weight")
        return stored
    return class_weights(
        config.objective.class_weights,
        frames.train,
        len(frames.classes),
        accelerator=accelerator,
        workers=config.data.workers,
        progress=accelerator.is_main_process,
    )


def _plan(
    pipeline: Pipeline, args: Sequence[str], config: TrainConfig | None
) -> tuple[TrainConfig, RunFolder, dict[str, Any] | None]:
    """The options, the folder and, to go on with, the state of a run."""
    resume = value_of(args, "--resume")
    if resume is None or config is not None:
        config = config or pipeline.recipe
        name = f"{name_of(pipeline, config.data)}-{config.objective.objective}"
        return config, RunFolder.choose(config.run.output, name), None
    folder = RunFolder.existing(Path(resume))
    say: Callable[[str], None] = print if _speaks() else lambda message: None
    if not folder.has_checkpoint:
        say(f"{folder.path} has no checkpoint yet: it is begun anew with its own options.")
        return _resumed(args, folder.read_config(), pipeline, folder), folder, None
    if _speaks():
        folder.claim()  # before it is read, for another run could be writing to it
    state = load_latest(folder.path, say)
    stored = from_plain(TrainConfig, json.loads(state["config"]))
    config = _keep_curriculum(_resumed(args, stored, pipeline, folder), stored)
    if state["epoch"] >= config.optimisation.epochs and (folder.path / "results.json").exists():
        raise OptionError(
            f"Expected a run to go on with, but {folder.path} has its results already: did you "
            "mean more --epochs?"
        )
    return config, folder, state
