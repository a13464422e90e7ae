"""Frames whose numbers of labels and depths differ widely, and training on them in a process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from examples.nyudv2.train import main
from examples.rgbd.data import GeneratedRooms, Sample, void_of
from examples.rgbd.run.engine import Engine
from tests.examples.network_support import add_tiny_encoders

SIZE = (32, 48)


def uneven(self: Any, index: int) -> Sample:
    """In the place of `GeneratedRooms.__getitem__`."""
    rng = np.random.default_rng(index)
    label = (13 * rng.uniform(size=SIZE) ** 3).astype(np.uint8)  # classes differ in frequency
    depth = rng.uniform(1, 5, SIZE).astype(np.float32)
    label[: (index * 11) % SIZE[0]] = void_of(label)
    depth[:, : (index * 17) % SIZE[1]] = 0
    return Sample(rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8), label, depth, str(index))


def drift_apart(engine: Engine, result: dict[str, float]) -> dict[str, float]:
    """Give the second process running statistics of its own, as a batch norm that learns would."""
    if engine.accelerator.process_index == 1:
        for name, buffer in engine.network.named_buffers():
            if name.endswith("running_mean"):
                buffer += 1
    return result


def train_apart(args: Sequence[str]) -> None:
    """Train on uneven frames, in a process that ends with it."""
    add_tiny_encoders()
    train_epoch = Engine._train_epoch
    GeneratedRooms.__getitem__ = uneven  # type: ignore[method-assign]
    Engine._train_epoch = lambda self: drift_apart(self, train_epoch(self))  # type: ignore[method-assign]
    main(args)
