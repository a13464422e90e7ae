"""The objective as the paper's text reads: a loop over images, cells and depth bins."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.batch import VOID, Batch
from benchmarks.losses import ALPHA, EPOCHS

LOW, HIGH = 1.0, 256.0


def segmentation_error_by_masks(
    wrong: Tensor, target: Tensor, depth: Tensor, cells: int = 8, bin_size: float = 10.0
) -> Tensor:
    """Z, with one mask of the whole image for each region."""
    result = torch.zeros(wrong.shape, device=wrong.device)
    bins = math.ceil((HIGH - LOW) / bin_size)
    height, width = wrong.shape[1:]
    rows = torch.arange(height, device=wrong.device)[:, None] * cells // height
    columns = torch.arange(width, device=wrong.device)[None, :] * cells // width
    for image in range(len(wrong)):
        counted = (target[image] != VOID) & (depth[image] > 0)
        level = ((depth[image] - LOW) / bin_size).floor().clamp(0, bins - 1)
        for row in range(cells):
            for column in range(cells):
                cell = counted & (rows == row) & (columns == column)
                for depth_bin in range(bins):
                    region = cell & (level == depth_bin)
                    if region.any():
                        result[image][region] = wrong[image][region].float().mean()
    return result


def segmentation_error_by_windows(
    wrong: Tensor, target: Tensor, depth: Tensor, cells: int = 8, bin_size: float = 10.0
) -> Tensor:
    """Z, with the window of a cell cut out first: the loop of somebody who minds the time."""
    result = torch.zeros(wrong.shape, device=wrong.device)
    bins = math.ceil((HIGH - LOW) / bin_size)
    height, width = wrong.shape[1:]
    for image in range(len(wrong)):
        counted = (target[image] != VOID) & (depth[image] > 0)
        level = ((depth[image] - LOW) / bin_size).floor().clamp(0, bins - 1)
        for row in range(cells):
            # Pixel y lies in cell floor(y h / H): the window begins at ceil(row H / h).
            top, bottom = (-(-edge * height // cells) for edge in (row, row + 1))
            for column in range(cells):
                left, right = (-(-edge * width // cells) for edge in (column, column + 1))
                window = (image, slice(top, bottom), slice(left, right))
                inside = counted[window[1:]]
                for depth_bin in range(bins):
                    region = inside & (level[window[1:]] == depth_bin)
                    if region.any():
                        result[window][region] = wrong[window][region].float().mean()
    return result


def objective(batch: Batch) -> Tensor:
    """Eq. 9 without side outputs, in the middle of the curriculum."""
    labelled, known = batch.target != VOID, batch.depth > 0
    loss = F.cross_entropy(batch.logits.float(), batch.target, ignore_index=VOID, reduction="none")
    gap = (batch.log_depth - batch.log_target)[known]
    with torch.no_grad():
        wrong = (batch.logits.argmax(1) != batch.target) & labelled
        weight = segmentation_error_by_masks(wrong, batch.target, batch.depth)
        error = torch.where(known, (batch.log_depth - batch.log_target).abs(), 0)
        for image in range(len(weight)):
            weight[image] += error[image] / error[image].max()
            of_labelled = weight[image][labelled[image]]
            low, high = of_labelled.median(), of_labelled.max()
            threshold = low + (EPOCHS // 2) / EPOCHS * (high - low)
            weight[image][weight[image] >= threshold] = 0.0
    count = labelled.sum()
    return loss.sum() / count + gap.square().mean() + ALPHA * (weight * loss).sum() / count
