"""Global settings and random states of the process: read, compared and restored."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from .expect import breach


def global_settings() -> dict[str, Any]:
    """Return the settings of the process that a forward must leave alone, by name."""
    return {
        "gradient mode": torch.is_grad_enabled(),
        "default dtype": torch.get_default_dtype(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "number of threads": torch.get_num_threads(),
        "anomaly mode": torch.is_anomaly_enabled(),
        "precision of float32 products": torch.get_float32_matmul_precision(),
        "cuDNN benchmark": torch.backends.cudnn.benchmark,
        "cuDNN determinism": torch.backends.cudnn.deterministic,
    }


def restore_settings(settings: dict[str, Any]) -> None:
    """Restore what `global_settings` read."""
    torch.set_grad_enabled(settings["gradient mode"])
    torch.set_default_dtype(settings["default dtype"])
    torch.use_deterministic_algorithms(settings["deterministic algorithms"])
    torch.set_autocast_enabled("cpu", settings["autocast"])
    if torch.get_num_threads() != settings["number of threads"]:
        torch.set_num_threads(settings["number of threads"])
    torch.autograd.set_detect_anomaly(settings["anomaly mode"])
    torch.set_float32_matmul_precision(settings["precision of float32 products"])
    torch.backends.cudnn.benchmark = settings["cuDNN benchmark"]
    torch.backends.cudnn.deterministic = settings["cuDNN determinism"]


def random_states() -> dict[str, Any]:
    """Return the states of the global random generators, in a form that can be compared."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state().tolist(),
        "random": random.getstate(),
        "numpy.random": (kind, np.asarray(keys).tolist(), *rest),
    }


def seed_all(seed: int) -> None:
    """Seed every global random generator."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)


@contextmanager
def isolated(seed: int = 0, *, small: bool = True) -> Iterator[None]:
    """Seed, turn gradients on and warnings off; restore random states and settings afterwards.

    Small images run on one thread: more of them gain little, and on a busy machine cost much.
    """
    settings = global_settings()
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seed_all(seed)
        try:
            if small:
                torch.set_num_threads(1)
            with torch.enable_grad():
                yield
        finally:
            restore_settings(settings)
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def expect_settings_kept(call: Callable[[], object], words: str) -> None:
    """Raise a `Breach` if a call changes the settings or the random states of the process."""
    after_seed = []
    for seed, with_gradients in ((1, True), (2, False)):
        with torch.set_grad_enabled(with_gradients):
            before = global_settings()
            seed_all(seed)
            call()
            now = global_settings()
            restore_settings(before)
        for name, value in before.items():
            if now[name] != value:
                breach(f"{words} changed the {name} from {value} to {now[name]}")
        after_seed.append(random_states())
    for name, state in after_seed[0].items():
        if state == after_seed[1][name]:
            breach(f"{words} seeded {name}")
