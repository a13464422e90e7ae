"""Healthy losses that no one here wrote, and losses that each break one contract on purpose."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lwm_loss as lwm
import lwm_loss.functional as LF

IGNORED = 255


def labelled(target: Tensor) -> Tensor:
    return target != IGNORED


def pixel_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy by pixel, 0 where ignored, without one of torch's modules."""
    label = torch.where(labelled(target), target, 0).unsqueeze(1)
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


# --- values -------------------------------------------------------------------------------------


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


# --- labels and depth ---------------------------------------------------------------------------


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


# --- weights ------------------------------------------------------------------------------------


class WeightKeepsItsGradient(lwm.LossWeightModule):
    def forward(self, logits, target, pred_depth=None, target_depth=None, **options):
        weight = super().forward(logits, target, pred_depth, target_depth, **options)
        known = (target_depth > 0) & target_depth.isfinite() & (target != self.ignore_index)
        log = torch.where(known, target_depth, 1).log()
        return weight + torch.where(known, (pred_depth - log).abs(), 0) * 1e-2


class BareSoftWeight(nn.Module):
    """No subclass, no `fusion`: 1 - p of the true class, with its gradient."""

    ignore_index = IGNORED

    def forward(self, logits, target, pred_depth, target_depth):
        return 1 - (-pixel_loss(logits, target)).exp()


class LossThroughTheWeight(Base):
    def forward(self, logits, target, pred_depth, target_depth):
        known = (target_depth > 0) & target_depth.isfinite()
        log = torch.where(known, target_depth, 1).log()
        gap = torch.where(known, pred_depth - log, 0)
        return mean(gap.abs() * pixel_loss(logits, target), target)


class SignedWeight(lwm.LossWeightModule):
    def forward(self, logits, target, pred_depth=None, target_depth=None, **options):
        weight = super().forward(logits, target, pred_depth, target_depth, **options)
        centred = weight - weight.mean((1, 2), keepdim=True)
        return torch.where(target != self.ignore_index, centred, 0)


class TripledWeight(lwm.LossWeightModule):
    def forward(self, logits, target, pred_depth=None, target_depth=None, **options):
        return 3 * super().forward(logits, target, pred_depth, target_depth, **options)


class RawError(nn.Module):
    ignore_index = IGNORED

    def forward(self, logits, target, pred_depth, target_depth):
        error = LF.depth_prediction_error(pred_depth, target_depth, normalize=False)
        return torch.where(labelled(target), error, 0)


class RateByPixel(lwm.LossWeightModule):
    def forward(self, logits, target, pred_depth=None, target_depth=None, **options):
        kept = target != self.ignore_index
        error = LF.depth_prediction_error(pred_depth, target_depth)
        rate = LF.depth_aware_segmentation_error(
            logits, target, target_depth, cells="pixel", ignore_index=self.ignore_index
        )
        return torch.where(kept, error + rate, 0)


class NormalisedOverTheBatch(lwm.LossWeightModule):
    def forward(self, logits, target, pred_depth=None, target_depth=None, **options):
        kept = target != self.ignore_index
        error = LF.depth_prediction_error(pred_depth, target_depth, normalize=False)
        error = error / error.max().clamp(min=1e-6)
        rate = LF.depth_aware_segmentation_error(
            logits, target, target_depth, ignore_index=self.ignore_index
        )
        return torch.where(kept, error + rate, 0)


class RegionsAcrossImages(lwm.LossWeightModule):
    """The region number lacks the image."""

    def forward(self, logits, target, pred_depth=None, target_depth=None, **options):
        regions = LF.depth_aware_regions(target_depth)
        counted = (regions >= 0) & (target != self.ignore_index)
        table = 64 * 26
        slots = torch.where(counted, regions % table, table).flatten()
        wrong = ((logits.argmax(1) != target) & counted).flatten().float()
        zeros = torch.zeros(table + 1)
        rate = zeros.scatter_add(0, slots, wrong) / zeros.scatter_add(
            0, slots, torch.ones_like(wrong)
        ).clamp(min=1)
        dse = torch.where(counted, rate[slots].reshape(target.shape), 0)
        error = LF.depth_prediction_error(pred_depth, target_depth)
        return torch.where(target != self.ignore_index, error + dse, 0)


class OwnRate(nn.Module):
    """Healthy: Z of the default regions, written without this library."""

    ignore_index = IGNORED
    fusion = "dse"

    def cell(self, place: Tensor, size: int) -> Tensor:
        return place * 8 // size

    def depth_bin(self, depth: Tensor) -> Tensor:
        return ((depth - 1) / 10).floor().long().clamp(0, 25)

    def forward(self, logits, target, pred_depth=None, target_depth=None):
        counted = (target_depth > 0) & target_depth.isfinite() & labelled(target)
        batch, height, width = target.shape
        row, column = (self.cell(torch.arange(size), size) for size in (height, width))
        cell = row[:, None] * 8 + column + 64 * torch.arange(batch)[:, None, None]
        region = cell * 26 + self.depth_bin(torch.where(counted, target_depth, 1))
        slots = torch.where(counted, region, batch * 64 * 26).flatten()
        wrong = ((logits.argmax(1) != target) & counted).flatten().float()
        zeros = torch.zeros(batch * 64 * 26 + 1)
        rate = zeros.scatter_add(0, slots, wrong) / zeros.scatter_add(
            0, slots, torch.ones_like(wrong)
        ).clamp(min=1)
        return torch.where(counted, rate[slots].reshape(target.shape), 0)


class CellsOfARoundedSize(OwnRate):
    def cell(self, place: Tensor, size: int) -> Tensor:
        return (place // -(-size // 8)).clamp(max=7)


class BinsFromZero(OwnRate):
    def depth_bin(self, depth: Tensor) -> Tensor:
        return (depth / 10).floor().long().clamp(0, 25)


class ErrorsForARate(OwnRate):
    def forward(self, logits, target, pred_depth=None, target_depth=None):
        known = (target_depth > 0) & target_depth.isfinite()
        return ((logits.argmax(1) != target) & known & labelled(target)).float()


class LastOfATie(lwm.LossWeightModule):
    """Its arguments have other names than those of the module that it overrides."""

    def forward(self, x, y, p=None, d=None, **options):
        classes = x.shape[1]
        mirrored = torch.where(y == self.ignore_index, y, classes - 1 - y)
        return super().forward(x.flip(1), mirrored, p, d, **options)


class CountsInHalf(lwm.LossWeightModule):
    def forward(self, logits, target, pred_depth=None, target_depth=None, **options):
        regions = LF.depth_aware_regions(target_depth)
        counted = (regions >= 0) & (target != self.ignore_index)
        table = len(target) * 64 * 26
        slots = torch.where(counted, regions, table).flatten()
        wrong = ((logits.argmax(1) != target) & counted).flatten().to(logits.dtype)
        zeros = torch.zeros(table + 1, dtype=logits.dtype)
        rate = zeros.index_add(0, slots, wrong) / zeros.index_add(
            0, slots, torch.ones_like(wrong)
        ).clamp(min=1)
        dse = torch.where(counted, rate[slots].reshape(target.shape), 0)
        error = LF.depth_prediction_error(pred_depth, target_depth)
        return torch.where(target != self.ignore_index, error + dse, 0)


# --- process ------------------------------------------------------------------------------------


class HalfMean(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = pixel_loss(logits, target).to(logits.dtype)
        return loss.sum() / labelled(target).to(logits.dtype).sum().clamp(min=1)


class BooleanIndexing(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return pixel_loss(logits, target)[labelled(target)].sum() / labelled(target).sum().clamp(1)


class ReadsACount(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return pixel_loss(logits, target).sum() / max(1, labelled(target).sum().item())


class BranchesOnLabels(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = mean(pixel_loss(logits, target), target)
        return loss if labelled(target).any() else 0 * logits.sum()


class HoldsALock(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class WritesToTheTarget(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        kept = labelled(target)
        target[~kept] = 0
        loss = F.cross_entropy(logits, target, reduction="none")
        return torch.where(kept, loss, 0).sum() / kept.sum().clamp(min=1)


class WritesToTheDepth(Base):
    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor, target_depth: Tensor
    ) -> Tensor:
        target_depth.clamp_(min=1.0)
        return mean(pixel_loss(logits, target), target) + LF.log_depth_mse_loss(
            pred_depth, target_depth
        )


class WarmsUp(Base):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.calls += 1
        return mean(pixel_loss(logits, target), target) * min(1.0, self.calls / 10)


class DrawsPixels(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = pixel_loss(logits, target)
        return mean(loss * (torch.rand_like(loss) < 0.5), target)


class ForgetsWhenCopied(Base):
    """Its copies agree with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 0.5

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.factor * mean(pixel_loss(logits, target), target)

    def __deepcopy__(self, memo: dict[int, Any]) -> ForgetsWhenCopied:
        new = ForgetsWhenCopied()
        new.factor = 1.0
        return new


class TurnsGradientsOn(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        torch.set_grad_enabled(False)
        hard = (logits.argmax(1) != target).float()
        torch.set_grad_enabled(True)
        return mean((1 + hard) * pixel_loss(logits, target), target)


class TurnsGradientsOff(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = mean(pixel_loss(logits, target), target)
        torch.set_grad_enabled(False)
        return loss


# --- curricula ----------------------------------------------------------------------------------


class EpochInPython(lwm.SelfPacedCurriculum):
    def __init__(self, epochs: int) -> None:
        super().__init__(epochs)
        del self.epoch
        self.epoch = torch.zeros((), dtype=torch.int64)


class EpochNotSaved(lwm.SelfPacedCurriculum):
    def __init__(self, epochs: int) -> None:
        super().__init__(epochs)
        self.register_buffer("epoch", self.epoch, persistent=False)


class EpochOnTheClass(nn.Module):
    """All of them move together."""

    epoch = 0

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs

    def step(self) -> None:
        type(self).epoch += 1

    def reset(self) -> None:
        type(self).epoch = 0

    def forward(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        progress = self.epoch / self.epochs
        pace = LF.curriculum_threshold(weight_map, progress, mask=mask).reshape(-1, 1, 1)
        return torch.where((weight_map < pace) | (progress >= 1), weight_map, 0)


class KeepsTheHard(lwm.SelfPacedCurriculum):
    def forward(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        return weight_map - super().forward(weight_map, mask)


class NeverMoves(lwm.SelfPacedCurriculum):
    def step(self) -> None:
        pass


class KeepsLess(lwm.SelfPacedCurriculum):
    def forward(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        left = self.epochs - self.epoch
        bound = weight_map.amax((1, 2), keepdim=True) * left / self.epochs
        return torch.where((weight_map > bound) & (left > 0), 0, weight_map)


class MovesInForward(lwm.SelfPacedCurriculum):
    def forward(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        kept = super().forward(weight_map, mask)
        self.step()
        return kept


class Unregistered:
    """A curriculum that is held in a list."""

    def __init__(self, curriculum: lwm.SelfPacedCurriculum) -> None:
        self.held = curriculum

    def __call__(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.held(weight_map, mask)

    def step(self) -> None:
        self.held.step()

    @property
    def epochs(self) -> Tensor:
        return self.held.epochs


class HoldsUnregistered(lwm.HardPixelLoss):
    """A loss whose state_dict lacks its curriculum."""

    def __init__(self) -> None:
        super().__init__(
            nn.CrossEntropyLoss(ignore_index=IGNORED, reduction="none"),
            lwm.LossWeightModule(ignore_index=IGNORED),
        )
        self.curriculum = Unregistered(lwm.SelfPacedCurriculum(4))
