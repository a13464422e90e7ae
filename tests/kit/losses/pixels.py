"""Losses in which ignored labels or missing depth count."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.kit.losses.healthy import Base, labelled, mean, pixel_loss


class IgnoredBecomesClassZero(nn.Module):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target.clamp(min=0))


class IgnoredIsClamped(nn.Module):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target.clamp(0, logits.shape[1] - 1))


class MaskedLogits(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        masked = logits * labelled(target).unsqueeze(1)
        label = torch.where(labelled(target), target, 0)
        return F.cross_entropy(masked, label, reduction="sum") / labelled(target).sum()


class SmoothsEverywhere(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        smooth = -logits.float().log_softmax(1).mean(1)
        return mean(pixel_loss(logits, target), target) + 0.1 * smooth.mean()


class NaNWhenAllIgnored(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return pixel_loss(logits, target).sum() / labelled(target).sum()


class NewZeroWhenAllIgnored(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if not labelled(target).any():
            return torch.tensor(0.0)
        return mean(pixel_loss(logits, target), target)


class MultipliesTheMask(Base):
    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor, target_depth: Tensor
    ) -> Tensor:
        known = (target_depth > 0) & target_depth.isfinite()
        gap = (pred_depth - target_depth.log()).square() * known
        return mean(pixel_loss(logits, target), target) + gap.sum() / known.sum().clamp(min=1)


class SingleWhere(Base):
    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor, target_depth: Tensor
    ) -> Tensor:
        known = (target_depth > 0) & target_depth.isfinite()
        gap = torch.where(known, (pred_depth - target_depth.log()).square(), 0)
        return mean(pixel_loss(logits, target), target) + gap.sum() / known.sum().clamp(min=1)


class ZeroIsDepth(Base):
    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor, target_depth: Tensor
    ) -> Tensor:
        depth = target_depth.nan_to_num(0, 0, 0).clamp(min=0)
        gap = (pred_depth - (depth + 1e-3).log()).square().mean()
        return mean(pixel_loss(logits, target), target) + gap


class CountsMissingDepth(Base):
    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor, target_depth: Tensor
    ) -> Tensor:
        known = target_depth > 0
        log = torch.where(known, target_depth, 1).log()
        gap = torch.where(known, pred_depth - log, 0).square().mean()
        return mean(pixel_loss(logits, target), target) + gap


class MultipliesTheLoss(Base):
    """By 0 where the label is ignored: of an infinite loss that makes NaN."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        label = torch.where(labelled(target), target, 0)
        loss = F.cross_entropy(logits.float(), label, reduction="none")
        return mean(loss * labelled(target), target)


class OneWhereIgnored(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return torch.where(labelled(target), pixel_loss(logits, target), 1)


class GradientOfNothing(Base):
    """Adds 0, but not a gradient of 0."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return mean(pixel_loss(logits, target), target) + logits.sum() - logits.sum().detach()


class ZerosCost(Base):
    """Depth that is missing as 0 costs more than depth that is missing as NaN."""

    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor, target_depth: Tensor
    ) -> Tensor:
        return mean(pixel_loss(logits, target), target) + (target_depth == 0).float().mean()


class DerivativeOfIgnoredScores(Base):
    """Torch's own cross-entropy: at an ignored pixel NaN times 0."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = F.cross_entropy(
            logits.float(), target, ignore_index=self.ignore_index, reduction="sum"
        )
        return loss / labelled(target).sum().clamp(min=1)


class GeneralisedCrossEntropy(Base):
    """(1 - p ** q) / q, whose derivative is infinite where p is 0, also where it is not counted."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        label = torch.where(labelled(target), target, 0).unsqueeze(1)
        scores = torch.where(logits.isfinite(), logits, 0).float()
        p = scores.softmax(1).gather(1, label).squeeze(1)
        return mean(torch.where(labelled(target), (1 - p**0.7) / 0.7, 0), target)


class CountsBrokenScores(Base):
    """Scores that are NaN change the loss, wherever they are."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        broken = logits.detach().isnan().float().mean()
        return mean(pixel_loss(logits, target), target) * (1 + broken)
