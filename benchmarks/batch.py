"""Batches to measure on: generated scenes with surfaces, holes and mistakes like real ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

VOID = 255
SIDE_STRIDES = (4, 8, 16, 32)


@dataclass(frozen=True)
class Shape:
    """Size and dtype of the logits."""

    images: int
    classes: int
    height: int
    width: int
    dtype: torch.dtype = torch.float32

    @property
    def nbytes(self) -> int:
        return self.images * self.classes * self.height * self.width * self.dtype.itemsize

    def __str__(self) -> str:
        size = (self.images, self.classes, self.height, self.width)
        return f"{size} {str(self.dtype).removeprefix('torch.')}"


class Batch(NamedTuple):
    """What a network gave and what it should have given.

    Attributes:
        logits: (B, C, H, W), wants a gradient.
        target: int64 (B, H, W), about a tenth of it void.
        log_depth: (B, H, W), wants a gradient.
        depth: (B, H, W) in levels, 0 where it is missing: about a twentieth.
        log_target: log of the depth for losses that do not take it themselves, 0 where missing.
        sides: side logits at 1/4 to 1/32, each wants a gradient; or empty.
    """

    logits: Tensor
    target: Tensor
    log_depth: Tensor
    depth: Tensor
    log_target: Tensor
    sides: tuple[Tensor, ...] = ()

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """What gets a gradient."""
        return (self.logits, self.log_depth, *self.sides)


def make_batch(shape: Shape, device: str, *, sides: bool = False) -> Batch:
    """A batch from a fixed seed, made where it is used."""
    torch.manual_seed(0)
    size = (shape.height, shape.width)

    def coarse(step: int, mode: str) -> Tensor:
        """Noise in patches or waves of this many pixels, in [0, 1]."""
        low = [max(1, math.ceil(length / step)) for length in size]
        noise = torch.rand(shape.images, 1, *low, device=device)
        options = {} if mode == "nearest" else {"align_corners": False}
        return F.interpolate(noise, size, mode=mode, **options).squeeze(1)

    target = (coarse(40, "nearest") * shape.classes).long().clamp(max=shape.classes - 1)
    logits = torch.randn(shape.images, shape.classes, *size, device=device, dtype=torch.float32).to(
        shape.dtype
    )
    # The true class is raised, so that about two pixels in three are right.
    logits.scatter_add_(1, target[:, None], torch.full_like(logits[:, :1], 2.5))
    target[coarse(24, "nearest") < 0.1] = VOID
    depth = 1 + 254 * coarse(96, "bilinear") * (0.7 + 0.3 * coarse(60, "nearest"))
    log_depth = depth.log() + 0.2 * (coarse(16, "bilinear") - 0.5)
    depth[coarse(12, "nearest") < 0.05] = 0.0
    log_target = torch.where(depth > 0, depth, 1).log()
    side_logits = tuple(
        torch.randn(
            shape.images,
            shape.classes,
            math.ceil(shape.height / stride),
            math.ceil(shape.width / stride),
            device=device,
        )
        .to(shape.dtype)
        .requires_grad_()
        for stride in (SIDE_STRIDES if sides else ())
    )
    return Batch(
        logits.requires_grad_(), target, log_depth.requires_grad_(), depth, log_target, side_logits
    )
