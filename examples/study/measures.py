"""What is measured in one pass over the frames that are scored."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from examples.rgbd.data import SAMPLE_VOID as VOID
from lwm_loss.analysis import BinnedErrors, segmentation_error_by_depth_gap

REGIONS = ("boundary", "depth_edge", "mixed_flat")
CALIBRATION_BINS = 15


def percent(part: Tensor, whole: Tensor) -> float:
    """A share in percent; NaN of nothing."""
    return float(100 * part.double() / whole.double())


class Measures:
    """Collects predictions batch by batch.

    Every count is over labelled pixels. The frame's mean over classes is over the classes of its
    labels, as the first version of the paper's code takes it.

    Args:
        class_share: (C,) share of each class in the training pixels: the half of the classes with
            the least share are the rare ones.
    """

    def __init__(self, class_share: Tensor) -> None:
        number = len(class_share)
        self.num_classes = number
        self.rare = class_share.argsort()[: number // 2]
        self.confusion = torch.zeros(number, number, dtype=torch.int64)
        self.by_image: list[Tensor] = []
        self.right = torch.zeros(len(REGIONS), dtype=torch.int64)
        self.total = torch.zeros(len(REGIONS), dtype=torch.int64)
        self.gaps: BinnedErrors | None = None
        self.depth_sums = torch.zeros(3, dtype=torch.float64)
        self.calibration = torch.zeros(3, CALIBRATION_BINS, dtype=torch.float64)

    def update(
        self,
        logits: Tensor,
        log_depth: Tensor | None,
        label: Tensor,
        depth: Tensor,
        regions: tuple[Tensor, ...],
    ) -> None:
        """Add a batch.

        Args:
            logits: (B, C, h, w), at any size: they are interpolated to the labels'.
            log_depth: (B, h, w), or None for a network without depth.
            label: (B, H, W) int64, 255 = void.
            depth: (B, H, W) levels, 0 = missing.
            regions: bool (B, H, W) each, one for each name in `REGIONS`.
        """
        self._calibrate(logits, label)
        # Channels last: the interpolation and the search for the highest score run over them.
        logits = logits.contiguous(memory_format=torch.channels_last)
        scores = F.interpolate(logits, label.shape[1:], mode="bilinear", align_corners=False)
        predicted = scores.argmax(1)
        counted = label != VOID
        right = (predicted == label) & counted
        pair = torch.where(counted, label * self.num_classes + predicted, self.num_classes**2)
        cells = self.num_classes**2
        for one in pair:
            table = torch.bincount(one.flatten(), minlength=cells + 1)[:cells]
            table = table.view(self.num_classes, self.num_classes)
            self.confusion += table
            self.by_image.append(_means(table, seen="label"))
        for place, region in enumerate(regions):
            self.right[place] += (right & region).sum()
            self.total[place] += (counted & region).sum()
        if log_depth is not None:
            self._compare_depth(log_depth, predicted, label, depth)

    def _compare_depth(
        self, log_depth: Tensor, predicted: Tensor, label: Tensor, depth: Tensor
    ) -> None:
        size = depth.shape[1:]
        log_depth = F.interpolate(log_depth[:, None], size, mode="bilinear", align_corners=False)[
            :, 0
        ]
        binned = segmentation_error_by_depth_gap(
            predicted, label, log_depth, depth, ignore_index=VOID
        )
        self.gaps = binned if self.gaps is None else self.gaps.merge(binned)
        known = (depth > 0) & depth.isfinite()
        gap = torch.where(known, log_depth - torch.where(known, depth, 1).log(), 0).double()
        self.depth_sums += torch.stack([gap.square().sum(), gap.abs().sum(), known.sum().double()])

    def _calibrate(self, logits: Tensor, label: Tensor) -> None:
        """Confidence against accuracy, at the size of the scores."""
        height, width = logits.shape[2:]
        rows = torch.arange(height) * label.shape[1] // height
        columns = torch.arange(width) * label.shape[2] // width
        label = label[:, rows[:, None], columns]
        highest, predicted = logits.float().max(1)
        confidence = (highest - logits.float().logsumexp(1)).exp()
        counted = (label != VOID).flatten()
        place = (confidence * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1).flatten()
        right = (predicted == label).flatten()
        for row, value in enumerate(
            (torch.ones_like(confidence).flatten(), confidence.flatten(), right)
        ):
            weight = (value.double() * counted).flatten()
            self.calibration[row] += torch.bincount(place, weight, CALIBRATION_BINS)

    def results(self) -> dict[str, Any]:
        """All measures: percentages, and log-depth errors in units of log-depth."""
        iou, accuracy, pixel = _means(self.confusion, seen="either").tolist()
        images = torch.stack(self.by_image).nanmean(0).tolist()
        class_iou = _class_iou(self.confusion)
        rare = class_iou[self.rare]
        found: dict[str, Any] = {
            "miou": 100 * iou,
            "mean_accuracy": 100 * accuracy,
            "pixel_accuracy": 100 * pixel,
            "image_miou": 100 * images[0],
            "image_mean_accuracy": 100 * images[1],
            "image_pixel_accuracy": 100 * images[2],
            "rare_miou": 100 * float(rare.nanmean()),
        }
        for name, right, total in zip(REGIONS, self.right, self.total):
            found[f"{name}_accuracy"] = percent(right, total)
        squares, absolute, known = self.depth_sums.tolist()
        found["log_depth_rmse"] = (squares / known) ** 0.5 if known else float("nan")
        found["log_depth_mae"] = absolute / known if known else float("nan")
        number, confidence, right = self.calibration
        found["calibration_error"] = percent((confidence - right).abs().sum(), number.sum())
        found["class_iou"] = [100 * value for value in class_iou.tolist()]
        if self.gaps is not None:
            found["depth_gap_wrong"] = self.gaps.wrong.tolist()
            found["depth_gap_total"] = self.gaps.total.tolist()
        return found


def _class_iou(confusion: Tensor) -> Tensor:
    counts = confusion.double()
    return counts.diag() / (counts.sum(0) + counts.sum(1) - counts.diag())


def _means(confusion: Tensor, seen: str) -> Tensor:
    """Mean IoU, mean accuracy and pixel accuracy of a table with the labels in rows.

    IoU is averaged over the classes that occur in the labels ("label"), or also over those that
    are only predicted, whose IoU is 0 ("either").
    """
    counts = confusion.double()
    labels = counts.sum(1)
    iou = _class_iou(confusion)
    if seen == "label":
        iou = torch.where(labels > 0, iou, torch.nan)
    accuracy = counts.diag() / labels
    return torch.stack([iou.nanmean(), accuracy.nanmean(), counts.diag().sum() / labels.sum()])
