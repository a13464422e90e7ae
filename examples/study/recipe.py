"""What all runs of a study share: the recipe. Two runs differ in their arm or their seed only."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

Stage = Literal["frozen", "finetune"]
Split = Literal["test", "held-out"]
Points = Literal["all", "quarter"]

FINETUNE: dict[str, Any] = {"image_size": (192, 256), "learning_rate": 6e-3, "encoder_rate": 0.03}
"""What stage "finetune" has by default in place of the values of `Recipe`; 32 divides the size."""

HELD_OUT_BLOCK = 20
"""Neighbouring frames show the same room: they are held out in blocks."""


@dataclass(frozen=True)
class Recipe:
    """How a run is trained and scored.

    Attributes:
        stage: "frozen", decoders on features that are encoded once; "finetune", end to end.
        dataset: the name of the data set.
        encoder: the name of the encoder.
        image_size: (height, width) that the encoder sees.
        score: "test", or "held-out", every fifth block of 20 training frames, which then are not
            trained on.
        epochs: passes over the training frames.
        batch_size: frames a step.
        learning_rate: the peak of the one-cycle schedule.
        encoder_rate: the encoder's learning rate as a share of the decoders' (stage "finetune").
        weight_decay: of AdamW.
        max_norm: the gradient's norm is clipped to it.
        width: channels of the decoders.
        points: "all" points of the grid are learnt from in each step, or a "quarter" of them, one
            drawn at random of each block of 2x2: the same in all arms, and a third cheaper.
        dropout: probability that a channel of a level is dropped.
    """

    stage: Stage = "frozen"
    dataset: str = "nyudv2"
    encoder: str = "efficientnet_lite2"
    image_size: tuple[int, int] = (480, 640)
    score: Split = "test"
    epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 1.5e-2
    encoder_rate: float = 0.1
    weight_decay: float = 0.02
    max_norm: float = 5.0
    width: int = 48
    dropout: float = 0.1
    points: Points = "all"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON gives them back."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain


def held_out(frames: int) -> tuple[list[int], list[int]]:
    """Training frames to learn from, and those held out: the last of each five blocks.

    With too few frames for five blocks every fifth frame is held out.
    """
    block = HELD_OUT_BLOCK if frames >= 5 * HELD_OUT_BLOCK else 1
    kept: list[int] = []
    held: list[int] = []
    for frame in range(frames):
        (held if frame // block % 5 == 4 else kept).append(frame)
    return kept, held
