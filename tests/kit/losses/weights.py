"""Weightings that break what is said of M, and a healthy one that was written anew."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF
from tests.kit.losses.healthy import IGNORED, Base, labelled, mean, pixel_loss


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


class RateOfAllPixels(OwnRate):
    """Errors among the labelled pixels, divided by all that have depth."""

    def forward(self, logits, target, pred_depth=None, target_depth=None):
        whole = torch.where(labelled(target), target, logits.argmax(1))
        rate = super().forward(logits, whole, pred_depth, target_depth)
        return torch.where(labelled(target), rate, 0)


class ShareOfRightPixels(lwm.LossWeightModule):
    def forward(self, logits, target, pred_depth=None, target_depth=None, **options):
        error = LF.depth_prediction_error(pred_depth, target_depth)
        rate = LF.depth_aware_segmentation_error(
            logits, target, target_depth, ignore_index=self.ignore_index
        )
        return torch.where(target != self.ignore_index, error + 1 - rate, 0)


class SimilarityOfDepth(lwm.LossWeightModule):
    def forward(self, logits, target, pred_depth=None, target_depth=None, **options):
        error = LF.depth_prediction_error(pred_depth, target_depth)
        return torch.where(target != self.ignore_index, 1 - error, 0)


class ErrorInMetres(OwnRate):
    """Healthy: R of depth itself, which it does not say."""

    fusion = "sum"

    def forward(self, logits, target, pred_depth, target_depth):
        known = (target_depth > 0) & target_depth.isfinite()
        gap = pred_depth.detach().float() - torch.where(known, target_depth, 1)
        error = torch.where(known, gap.abs(), 0)
        error = error / error.amax((1, 2), keepdim=True).clamp(min=1e-6)
        rate = super().forward(logits, target, pred_depth, target_depth)
        return torch.where(labelled(target), error + rate, 0)


class NearCountsMore(nn.Module):
    """Healthy: a weight by depth, without scores."""

    ignore_index = IGNORED

    def forward(self, logits, target, pred_depth, target_depth):
        known = (target_depth > 0) & target_depth.isfinite() & labelled(target)
        return torch.where(known, 1 / (1 + torch.where(known, target_depth, 1)), 0)


class BinaryAtAHalf(lwm.LossWeightModule):
    """Takes the logit for a probability."""

    def __init__(self, ignore_index: int) -> None:
        super().__init__(task="binary", ignore_index=ignore_index)

    def forward(self, logits, target, pred_depth=None, target_depth=None, **options):
        return super().forward(logits - 0.5, target, pred_depth, target_depth, **options)
