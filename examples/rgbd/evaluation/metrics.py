"""Pixel accuracy, mean accuracy and IoU, from counts over a whole split; and means over its images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from examples.rgbd.data import VOID

_MANY, _FREQUENT = 60, 40  # classes from which a table shows the most frequent ones, and how many


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


@dataclass(frozen=True)
class ImageScores:
    """Means over images, of the classes that occur in the labels of each, as shares in [0, 1].

    Not the figures of `Scores`, where a class counts once in a split: here a class that is in few
    images counts in these alone, and one that is predicted where it is not costs nothing but what
    it takes from others. Some papers report these under the same names.

    Attributes:
        mean_accuracy: mean over images of the mean accuracy of its classes.
        mean_iou: likewise of the IoU.
        images: how many have labelled pixels.
    """

    mean_accuracy: float
    mean_iou: float
    images: int


def class_counts(predicted: Tensor, label: Tensor, num_classes: int) -> Tensor:
    """Labelled pixels of each class that are right, that have it, and that are taken for it.

    The diagonal and the sums of the confusion matrix, which itself would have C x C counts.

    Args:
        predicted: predicted classes, any shape.
        label: labels of the same shape, ``VOID`` = void.
        num_classes: C.

    Returns:
        int64 (3, C).
    """
    # Void goes to a last bin, which is cut off: nothing is selected, and shapes stay.
    void = label == VOID
    kinds = (
        label.masked_fill(void | (predicted != label), num_classes),
        label.masked_fill(void, num_classes),
        predicted.masked_fill(void, num_classes),
    )
    return torch.stack(
        [kind.flatten().bincount(minlength=num_classes + 1)[:num_classes] for kind in kinds]
    )


def scores_of(counts: Tensor) -> Scores:
    """Figures from counts (3, C); see `class_counts`. Without any labelled pixel all are NaN."""
    right, labels, predictions = counts.double().cpu()
    total = labels.sum()
    iou = right / (labels + predictions - right)
    return Scores(
        pixel_accuracy=float(right.sum() / total),
        mean_accuracy=float((right / labels).nanmean()),
        mean_iou=float(iou.nanmean()),
        class_iou=tuple(iou.tolist()),
        class_share=tuple((labels / total).tolist()),
    )


def majority_scores(counts: Tensor) -> Scores:
    """What calling every pixel by the split's most frequent class would score: the trivial bar."""
    labels = counts[1]
    most = labels.argmax()
    right, predictions = torch.zeros_like(labels), torch.zeros_like(labels)
    right[most], predictions[most] = labels[most], labels.sum()
    return scores_of(torch.stack([right, labels, predictions]))


class SplitMetrics:
    """Collects a split image by image. What processes have of it is summed up exactly.

    Args:
        num_classes: C.
        device: where predictions and labels are.

    Attributes:
        counts: float64 (3, C), see `class_counts`; whole numbers.
        of_images: float64 (3,), sums over images of mean accuracy and mean IoU, and their number.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.counts = torch.zeros(3, num_classes, dtype=torch.float64, device=device)
        self.of_images = torch.zeros(3, dtype=torch.float64, device=device)

    def update(self, predicted: Tensor, label: Tensor) -> None:
        """Add the predicted classes (H, W) of one image and its labels, ``VOID`` = void."""
        counts = class_counts(predicted, label, self.counts.shape[1]).double()
        self.counts += counts
        right, labels, predictions = counts
        present = labels > 0
        number = present.sum().clamp(min=1)
        accuracy = right / labels.clamp(min=1)
        iou = right / (labels + predictions - right).clamp(min=1)
        for place, share in enumerate((accuracy, iou)):
            self.of_images[place] += share.where(present, 0.0).sum() / number
        self.of_images[2] += present.any()


def image_scores(of_images: Tensor) -> ImageScores:
    """Means from the sums of `SplitMetrics`; NaN without any labelled image."""
    accuracy, iou, images = of_images.tolist()
    if not images:
        return ImageScores(float("nan"), float("nan"), 0)
    return ImageScores(accuracy / images, iou / images, int(images))


def score_table(scores: Scores, classes: tuple[str, ...], all_in: str) -> str:
    """Per-class IoU and the three means, in percent, as text.

    Of more classes than a screen holds it has the most frequent ones, and says that `all_in` has
    the others.
    """
    rows = list(zip(classes, scores.class_share, scores.class_iou, strict=True))
    if len(rows) > _MANY:
        rows = sorted(rows, key=lambda row: -row[1])[:_FREQUENT]
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{'class':<{width}}  share %    IoU %"]
    for name, share, iou in rows:
        shown = "      -" if iou != iou else f"{100 * iou:7.2f}"
        lines.append(f"{name:<{width}}  {100 * share:7.2f}  {shown}")
    if len(rows) < len(classes):
        lines.append(f"... and {len(classes) - len(rows)} less frequent classes: {all_in}")
    lines.append(summary(scores))
    return "\n".join(lines)


def summary(scores: Scores) -> str:
    """The three means in percent."""
    return (
        f"pixel accuracy {100 * scores.pixel_accuracy:.2f} %, "
        f"mean accuracy {100 * scores.mean_accuracy:.2f} %, mean IoU {100 * scores.mean_iou:.2f} %"
    )


def image_summary(scores: ImageScores) -> str:
    """The two means over images in percent, and what they are."""
    return (
        f"averaged over {scores.images} images, over the classes in the labels of each: mean "
        f"accuracy {100 * scores.mean_accuracy:.2f} %, mean IoU {100 * scores.mean_iou:.2f} %"
    )
