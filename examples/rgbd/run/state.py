"""The state of a run as plain data: all that it needs to go on as if nothing had happened."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import gather_object

from examples.rgbd.options.as_json import to_plain
from examples.rgbd.options.groups import OptionError

if TYPE_CHECKING:
    from examples.rgbd.run.engine import Engine


def portable_state(engine: Engine) -> dict[str, Any]:
    """What evaluation and prediction need: weights, options, and what the classes are."""
    near, far = engine.frames.limits
    return {
        "network": engine.network.state_dict(),
        "config": json.dumps(to_plain(engine.config)),
        "dataset": {
            "name": engine.frames.name,
            "classes": list(engine.frames.classes),
            "palette": torch.from_numpy(engine.frames.test.palette.copy()),
            "near": near,
            "far": far,
        },
        "epoch": engine.epoch,
    }


def whole_state(engine: Engine) -> dict[str, Any]:
    """Everything. All processes have to call it: the random state of each is part of it."""
    scaler, curriculum = engine.accelerator.scaler, engine.curriculum
    return {
        **portable_state(engine),
        "step": engine.step,
        "sums": engine.sums.cpu(),
        "optimizer": engine.optimizer.state_dict(),
        "schedule": engine.schedule.state_dict(),
        "curriculum": None if curriculum is None else curriculum.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
        "random": gather_object([random_state()]),
        "history": engine.history,
        "best": engine.best,
        "frames": _counts(engine),
    }


def restore(engine: Engine, state: dict[str, Any]) -> None:
    """Put an engine back to where `whole_state` was taken.

    Raises:
        OptionError: the run was begun with other frames or another number of processes.
    """
    _check_frames(engine, state)
    accelerator = engine.accelerator
    begun, now = len(state["random"]), accelerator.num_processes
    if begun != now:
        raise OptionError(
            f"Expected to resume with {begun} processes, as the run was begun, but got {now}."
        )
    engine.network.load_state_dict(state["network"])
    engine.optimizer.load_state_dict(state["optimizer"])
    engine.schedule.load_state_dict(state["schedule"])
    if engine.curriculum is not None:
        engine.curriculum.load_state_dict(state["curriculum"])
    if accelerator.scaler is not None and state["scaler"] is not None:
        accelerator.scaler.load_state_dict(state["scaler"])
    engine.epoch, engine.step = state["epoch"], state["step"]
    engine.sums.copy_(state["sums"])
    engine.history, engine.best = state["history"], state["best"]
    restore_random_state(state["random"][accelerator.process_index])


def _check_frames(engine: Engine, state: dict[str, Any]) -> None:
    frames, dataset = engine.frames, state["dataset"]
    begun = (dataset["name"], len(dataset["classes"]), *state["frames"])
    now = (frames.name, len(frames.classes), *_counts(engine))
    if begun != now:
        raise OptionError(
            "Expected the frames that the run was begun with, {} with {} classes, {} to train on "
            "and {} held out, but got {} with {} classes, {} and {}: did you mean another "
            "--data?".format(*begun, *now)
        )


def _counts(engine: Engine) -> list[int]:
    """How many frames there are to train on, and how many are held out."""
    frames = engine.frames
    return [len(frames.train), 0 if frames.held is None else len(frames.held)]


def random_state() -> dict[str, Any]:
    """The state of every global random generator of this process, as plain data and tensors."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest],
        "python": random.getstate(),
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Go back to what `random_state` returned."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
