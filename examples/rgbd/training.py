"""The command `train`: from a command line to a finished run."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from examples.rgbd.checkpoint import load_latest
from examples.rgbd.cli import guarded, parse
from examples.rgbd.config import OptionError, TrainConfig, from_plain
from examples.rgbd.engine import Engine, make_accelerator
from examples.rgbd.frames import Frames, Pipeline, open_frames
from examples.rgbd.metrics import score_table, summary
from examples.rgbd.runfolder import RunFolder

# What may differ between a run and its continuation without changing what is learnt.
_FREE = {
    ("data", "data"), ("data", "layout"), ("data", "workers"), ("run", "output"), ("run", "resume"),
    ("run", "device"), ("run", "checkpoint_every"), ("run", "panels_every"), ("run", "panels"),
    ("run", "tensorboard"),
}  # fmt: skip


def train(pipeline: Pipeline, args: Sequence[str] | None = None) -> None:
    """Run the command; faults of options and data end in one sentence."""
    guarded(lambda: _train(pipeline, list(sys.argv[1:] if args is None else args)))


def _value_of(args: Sequence[str], option: str) -> str | None:
    """The value of an option whose presence decides the defaults of the others."""
    for index, argument in enumerate(args):
        if argument == option and index + 1 < len(args):
            return args[index + 1]
        if argument.startswith(f"{option}="):
            return argument.split("=", 1)[1]
    return None


def _parse(pipeline: Pipeline, args: Sequence[str], default: TrainConfig) -> TrainConfig:
    rooms = (
        " Without --data it trains a small network on generated rooms; with --data DIR the defaults"
        " are the paper's recipe (see them with --data DIR --help)."
        if pipeline.trial is not None
        else ""
    )
    return parse(
        TrainConfig,
        args,
        prog=f"python -m examples.{pipeline.name}.train",
        description=f"Train on {pipeline.title} with hard pixel mining.{rooms}",
        default=default,
    )


def _resumed(args: Sequence[str], stored: TrainConfig, pipeline: Pipeline) -> TrainConfig:
    """The stored options, with those of the command line that may change."""
    config = _parse(pipeline, args, stored)
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


def _train(pipeline: Pipeline, args: Sequence[str]) -> None:
    began = time.perf_counter()
    resume = _value_of(args, "--resume")
    state = None
    if resume is not None:
        folder = RunFolder.existing(Path(resume))
        state = load_latest(folder.path)
        config = _resumed(args, from_plain(TrainConfig, json.loads(state["config"])), pipeline)
    else:
        with_data = _value_of(args, "--data") is not None or pipeline.trial is None
        config = _parse(pipeline, args, pipeline.recipe if with_data else pipeline.trial)
    config.check()
    if state is None:
        name = f"{pipeline.name if config.data.data else 'rooms'}-{config.objective.objective}"
        folder = RunFolder.choose(config.run.output, name)
    accelerator = make_accelerator(config, folder)
    main = accelerator.is_main_process
    frames = open_frames(pipeline, config.data, quiet=not main)
    engine = Engine(config, frames, folder, accelerator)
    accelerator.wait_for_everyone()
    if state is not None:
        engine.restore(state)
        if main:
            print(f"resuming {folder.path} at epoch {engine.epoch + 1}, step {engine.step + 1}")
    elif main:
        folder.write_config(config, {"classes": list(frames.classes), "depth_limits": frames.limits})
    if config.run.tensorboard:
        accelerator.init_trackers(
            "tensorboard", init_kwargs={"tensorboard": {"purge_step": engine.epoch}}
        )
    if main:
        print("\n".join(_facts(engine, frames)), flush=True)
    result = engine.fit()
    if main:
        print(f"\nTest split, {result.images} images, weights of epoch {_best_epoch(engine)}:")
        print(score_table(result.scores, frames.classes))
        print(f"for comparison, all pixels called by the most frequent class: {summary(result.baseline)}")
        print(f"{time.perf_counter() - began:.0f} s in all; everything is in {folder.path}/")


def _best_epoch(engine: Engine) -> int:
    return int(engine.best["epoch"]) if engine.best else engine.epoch


def _facts(engine: Engine, frames: Frames) -> list[str]:
    """What a run is, for its first lines."""
    config, accelerator = engine.config, engine.accelerator
    options = config.optimisation
    part = options.batch_size // (options.accumulation * accelerator.num_processes)
    device = str(accelerator.device)
    if accelerator.device.type == "cuda":
        device += f" ({torch.cuda.get_device_name(accelerator.device)})"
    elif accelerator.device.type == "cpu":
        device += f" ({torch.get_num_threads()} threads)"
    held = len(frames.held) if frames.held is not None else 0
    near, far = frames.limits
    lines = [
        f"run:       {engine.folder.path}",
        f"frames:    {frames.name}: {len(frames.train)} to train on, {held} held out, "
        f"{len(frames.test)} to test; {len(frames.classes)} classes; "
        f"{config.data.image_size[0]} x {config.data.image_size[1]}; "
        f"depth {near:g} .. {far:g} m -> levels 1 .. 256",
        f"network:   {config.network.network}, {config.network.backbone}, "
        f"{engine.parameters / 1e6:.1f} M parameters, encoder "
        + (f"from {config.network.pretrained}" if config.network.pretrained else "from scratch"),
        f"objective: {config.objective.objective}, alpha {config.objective.alpha:g}, beta "
        f"{config.objective.beta:g}, fusion {config.objective.fusion}, cells "
        f"{config.objective.cells}, bin size {config.objective.bin_size:g}, mining "
        f"{config.objective.mining}, control {config.objective.control}",
        f"batch:     {options.batch_size} images a step = {part} x {options.accumulation} accumulated "
        f"x {accelerator.num_processes} processes; {engine.sampler.steps} steps an epoch, "
        f"{options.epochs} epochs",
        f"optimiser: {options.optimizer}, learning rate {options.lr:g} (encoder "
        f"{options.lr * options.encoder_lr_factor:g}), {options.schedule}",
        f"device:    {device}, {accelerator.mixed_precision} mixed precision".replace(
            "no mixed precision", "float32"
        ),
    ]
    return lines


