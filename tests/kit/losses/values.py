"""Losses that return something else than they should."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import lwm_loss.functional as LF
from tests.kit.losses.healthy import Base, Plain, labelled, mean, pixel_loss


class ReturnsANumber(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Any:
        return float(mean(pixel_loss(logits, target), target))


class OneValueAnImage(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return pixel_loss(logits, target).mean((1, 2))


class SumOfAll(Plain):
    """Its sum is of twice as much as its none."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = super().forward(logits, target)
        return loss * 2 if self.reduction == "sum" else loss


class NoneHasNoWeight(Plain):
    def __init__(self) -> None:
        super().__init__("none")

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        focal = (1 - (-pixel_loss(logits, target)).exp()) ** 2
        loss = focal * pixel_loss(logits, target)
        if self.reduction == "none":
            return pixel_loss(logits, target)
        return loss.sum() if self.reduction == "sum" else mean(loss, target)


class MeanOverHalf(Plain):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = super().forward(logits, target)
        return loss / 2 if self.reduction == "mean" else loss


class MeanOverAllPixels(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return pixel_loss(logits, target).mean()


class FirstImageCountsTwice(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = pixel_loss(logits, target)
        return mean(torch.cat([2 * loss[:1], loss[1:]]), target)


class BackgroundCountsLess(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = pixel_loss(logits, target)
        return mean(torch.where(target == 0, 0.5 * loss, loss), target)


class HardestOfTheBatch(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = pixel_loss(logits, target)
        return mean(loss * (loss >= loss.detach().median()), target)


class LogOfSoftmax(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        label = torch.where(labelled(target), target, 0).unsqueeze(1)
        loss = -logits.float().softmax(1).gather(1, label).squeeze(1).log()
        return mean(torch.where(labelled(target), loss, 0), target)


class SteepFocal(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = pixel_loss(logits, target)
        return mean((1 - (-loss).exp()) ** 0.5 * loss, target)


class Detached(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return mean(pixel_loss(logits.detach(), target), target)


class ErrorRate(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return mean((logits.argmax(1) != target) & labelled(target), target) + 0 * logits.sum()


class MaximisesTheProbability(Base):
    """The sign is lost."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return mean(-pixel_loss(logits, target), target)


class RewardsWrongDepth(Base):
    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor, target_depth: Tensor
    ) -> Tensor:
        return mean(pixel_loss(logits, target), target) - LF.log_depth_mse_loss(
            pred_depth, target_depth
        )


class ReturnsIntegers(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return mean(pixel_loss(logits, target), target).long()


class AddsInfinity(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return mean(pixel_loss(logits, target), target) + torch.inf


class SumOfEachImage(Plain):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.reduction == "sum":
            return pixel_loss(logits, target).sum((1, 2))
        return super().forward(logits, target)


class DividedByTheCount(Plain):
    """A weighted mean over the number of pixels, though it says that it is a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.linspace(0.5, 2, 6))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        weight = self.weight[torch.where(labelled(target), target, 0)]
        return mean(weight * pixel_loss(logits, target), target)
