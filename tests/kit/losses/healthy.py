"""Healthy losses that no one here wrote, and what the faulty ones are made from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import lwm_loss.functional as LF

IGNORED = 255


def labelled(target: Tensor) -> Tensor:
    return target != IGNORED


def pixel_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy by pixel, 0 where ignored, without one of torch's modules."""
    label = torch.where(labelled(target), target, 0).unsqueeze(1)
    logits = torch.where(labelled(target).unsqueeze(1), logits, 0)
    loss = -logits.float().log_softmax(1).gather(1, label).squeeze(1)
    return torch.where(labelled(target), loss, 0)


def mean(loss: Tensor, target: Tensor) -> Tensor:
    return loss.sum() / labelled(target).sum().clamp(min=1)


class Base(nn.Module):
    ignore_index = IGNORED


class Plain(Base):
    """A healthy cross-entropy."""

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = pixel_loss(logits, target)
        if self.reduction == "none":
            return loss
        return loss.sum() if self.reduction == "sum" else mean(loss, target)


class WithDepth(Base):
    """A healthy sum of cross-entropy and log-depth error."""

    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor, target_depth: Tensor
    ) -> Tensor:
        depth = LF.log_depth_mse_loss(pred_depth, target_depth)
        return mean(pixel_loss(logits, target), target) + depth


class ClassBalanced(Base):
    """A healthy loss with class weights and terms in a dict."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("class_weight", weight)

    def forward(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        weight = self.class_weight[torch.where(labelled(target), target, 0)]
        return {"loss": mean(weight * pixel_loss(logits, target), target)}


def plain_function(logits: Tensor, target: Tensor, ignore_index: int = IGNORED) -> Tensor:
    """A healthy function."""
    return mean(pixel_loss(logits, target), target)


class WithMetres(Base):
    """A healthy loss that compares depth and not its logs, and does not say so."""

    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor, target_depth: Tensor
    ) -> Tensor:
        known = (target_depth > 0) & target_depth.isfinite()
        gap = torch.where(known, pred_depth.float() - torch.where(known, target_depth, 1), 0)
        depth = gap.abs().sum() / known.sum().clamp(min=1)
        return mean(pixel_loss(logits, target), target) + 0.01 * depth
