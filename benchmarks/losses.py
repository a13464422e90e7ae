"""The objective, and what people train with instead: each a function of a batch."""

from __future__ import annotations

import importlib
import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lwm_loss as lwm
from benchmarks.batch import VOID, Batch
from benchmarks.measure import Rival

Loss = Callable[[Batch], Tensor]
ALPHA, BETA = 1.0, 0.1
EPOCHS = 10


def step_of(name: str, loss: Loss, batch: Batch) -> Rival:
    """Forward and backward down to everything that wants a gradient."""
    return Rival(name, lambda: torch.autograd.grad(loss(batch), batch.leaves))


# --- torch's own ---------------------------------------------------------------------------------


def plain(batch: Batch) -> Tensor:
    """L_s + L_d as one writes it without thinking: the log of the depth is given to it."""
    segmentation = F.cross_entropy(batch.logits, batch.target, ignore_index=VOID)
    return segmentation + F.mse_loss(batch.log_depth, batch.log_target)


def plain_with_sides(batch: Batch) -> Tensor:
    """The same, with side outputs interpolated to full size."""
    total = plain(batch)
    for side in batch.sides:
        full = F.interpolate(side, batch.target.shape[1:], mode="bilinear", align_corners=False)
        total = total + BETA * F.cross_entropy(full, batch.target, ignore_index=VOID)
    return total


# --- the objective -------------------------------------------------------------------------------


class OrdinaryCrossEntropy(nn.CrossEntropyLoss):
    """Cross-entropy that the objective does not recognise: it is called as any other criterion."""


def half_way() -> lwm.SelfPacedCurriculum:
    """The curriculum in its middle, when the threshold does its work."""
    curriculum = lwm.SelfPacedCurriculum(EPOCHS)
    for _ in range(EPOCHS // 2):
        curriculum.step()
    return curriculum


def objective(num_sides: int, device: str, *, fused: bool = True) -> Loss:
    """Eq. 9 as a user has it, or with cross-entropy as a criterion like any other."""
    kind = nn.CrossEntropyLoss if fused else OrdinaryCrossEntropy
    module = lwm.HardPixelMiningLoss(
        num_sides,
        ALPHA,
        BETA,
        curriculum=half_way(),
        criterion=kind(ignore_index=VOID, reduction="none"),
        ignore_index=VOID,
    ).to(device)

    def loss(batch: Batch) -> Tensor:
        terms: lwm.LossTerms = module(
            batch.logits, batch.target, batch.log_depth, batch.depth, side_logits=batch.sides
        )
        return terms.total

    return loss


# --- what may be missing -------------------------------------------------------------------------


class NotMeasuredError(Exception):
    """Why a rival takes no part, in one sentence."""


def compiled(loss: Loss, device: str) -> Loss:
    """A loss through torch.compile."""
    compilers = filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++"))
    if device == "cpu" and not any(map(shutil.which, compilers)):
        raise NotMeasuredError("torch.compile was not measured: there is no C++ compiler here.")
    return torch.compile(loss)


def _module(name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, about their own dependencies
            return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise NotMeasuredError(
            f"{package} was not measured: it is not installed ({error})."
        ) from error


def kornia_focal() -> Loss:
    """Focal loss of kornia in place of cross-entropy."""
    focal = _module("kornia.losses").FocalLoss(
        alpha=None, gamma=2.0, reduction="mean", ignore_index=VOID
    )
    return lambda batch: (
        focal(batch.logits, batch.target) + F.mse_loss(batch.log_depth, batch.log_target)
    )


def monai_focal() -> Loss:
    """Focal loss of MONAI in place of cross-entropy."""
    focal = _module("monai.losses").FocalLoss(
        to_onehot_y=True, use_softmax=True, gamma=2.0, ignore_index=VOID
    )
    return lambda batch: (
        focal(batch.logits, batch.target[:, None]) + F.mse_loss(batch.log_depth, batch.log_target)
    )
