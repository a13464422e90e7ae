"""Pixel accuracy, mean accuracy and IoU, from one confusion matrix over a whole split."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from examples.rgbd.data import VOID


@dataclass(frozen=True)
class Scores:
    """Figures of one split, as shares in [0, 1].

    Attributes:
        pixel_accuracy: labelled pixels that are right.
        mean_accuracy: mean over the classes that occur in the labels of the share that is right.
        mean_iou: mean IoU over the classes that occur in the labels or in the predictions. A class
            that occurs in neither has no IoU and does not count; one that is only predicted has 0.
        class_iou: IoU of each class; NaN for one that occurs in neither.
        class_share: each class's share of the labelled pixels.
    """

    pixel_accuracy: float
    mean_accuracy: float
    mean_iou: float
    class_iou: tuple[float, ...]
    class_share: tuple[float, ...]


def scores_of(confusion: Tensor) -> Scores:
    """Figures from counts (C, C) with the label in rows and the prediction in columns.

    Without any labelled pixel every figure is NaN.
    """
    counts = confusion.double().cpu()
    right, labels, predictions = counts.diag(), counts.sum(1), counts.sum(0)
    total = labels.sum()
    iou = right / (labels + predictions - right)
    return Scores(
        pixel_accuracy=float(right.sum() / total),
        mean_accuracy=float((right / labels).nanmean()),
        mean_iou=float(iou.nanmean()),
        class_iou=tuple(iou.tolist()),
        class_share=tuple((labels / total).tolist()),
    )


def majority_scores(confusion: Tensor) -> Scores:
    """What calling every pixel by the split's most frequent class would score: the trivial bar."""
    labels = confusion.sum(1)
    trivial = torch.zeros_like(confusion)
    trivial[:, labels.argmax()] = labels
    return scores_of(trivial)


class SplitMetrics:
    """Collects a split image by image; processes that see parts of it are summed up exactly.

    Args:
        num_classes: C.
        device: where predictions and labels are.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self._matrix = MulticlassConfusionMatrix(
            num_classes, ignore_index=VOID, validate_args=False
        ).to(device)

    def update(self, predicted: Tensor, label: Tensor) -> None:
        """Add predicted classes (..., H, W) and labels of the same shape, 255 = void."""
        self._matrix.update(predicted, label)

    def confusion(self) -> Tensor:
        """Counts (C, C) over everything that all processes have seen."""
        matrix: Tensor = self._matrix.compute()
        return matrix


def score_table(scores: Scores, classes: tuple[str, ...]) -> str:
    """Per-class IoU and the three means, in percent, as text."""
    width = max(len(name) for name in classes)
    lines = [f"{'class':<{width}}  share %    IoU %"]
    for name, share, iou in zip(classes, scores.class_share, scores.class_iou, strict=True):
        shown = "      -" if iou != iou else f"{100 * iou:7.2f}"
        lines.append(f"{name:<{width}}  {100 * share:7.2f}  {shown}")
    lines.append(summary(scores))
    return "\n".join(lines)


def summary(scores: Scores) -> str:
    """The three means in percent."""
    return (
        f"pixel accuracy {100 * scores.pixel_accuracy:.2f} %, "
        f"mean accuracy {100 * scores.mean_accuracy:.2f} %, mean IoU {100 * scores.mean_iou:.2f} %"
    )
