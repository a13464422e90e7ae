"""Scores against a loop over pixels in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lwm_loss as lwm
from examples.rgbd.data import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    VOID,
    RGBDDataset,
    Sample,
    label_palette,
)
from examples.rgbd.evaluation.metrics import (
    SplitMetrics,
    image_scores,
    image_summary,
    majority_scores,
    score_table,
    scores_of,
)
from examples.rgbd.evaluation.scoring import (
    SINGLE_SCALE,
    Crop,
    Evaluation,
    View,
    evaluate,
    predict,
)
from examples.rgbd.options.groups import OptionError
from tests.examples.accelerators import forget_accelerator


def by_loops(predicted: np.ndarray, label: np.ndarray, classes: int) -> tuple[float, ...]:
    """Pixel accuracy, mean accuracy and mean IoU, counted pixel by pixel."""
    right = [0] * classes
    labelled = [0] * classes
    union = [0] * classes
    for guess, truth in zip(predicted.ravel().tolist(), label.ravel().tolist()):
        if truth == VOID:
            continue
        labelled[truth] += 1
        right[truth] += guess == truth
        for name in {guess, truth}:
            union[name] += 1
    recalls = [r / n for r, n in zip(right, labelled) if n]
    ious = [r / u for r, u in zip(right, union) if u]
    return sum(right) / sum(labelled), sum(recalls) / len(recalls), sum(ious) / len(ious)


def by_loops_of_present(predicted: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Mean accuracy and mean IoU of one image over the classes in its labels."""
    accuracies, ious = [], []
    pixels = [(g, t) for g, t in zip(predicted.ravel(), label.ravel()) if t != VOID]
    for name in {truth for _, truth in pixels}:
        right = sum(g == t == name for g, t in pixels)
        accuracies.append(right / sum(t == name for _, t in pixels))
        ious.append(right / sum(name in (g, t) for g, t in pixels))
    return sum(accuracies) / len(accuracies), sum(ious) / len(ious)


@given(seed=st.integers(0, 10**6), classes=st.integers(2, 6), images=st.integers(1, 3))
def test_scores_are_those_of_the_whole_split(seed: int, classes: int, images: int) -> None:
    rng = np.random.default_rng(seed)
    # Few of the classes occur, in the labels and in the predictions, so that some are absent.
    present, guessed = (rng.choice(classes, rng.integers(1, classes + 1)) for _ in range(2))
    label = rng.choice(present, (images, 5, 7))
    label[rng.random(label.shape) < 0.2] = VOID
    label[0, 0, 0] = present[0]
    predicted = rng.choice(guessed, label.shape)
    metrics = SplitMetrics(classes)
    for guess, truth in zip(predicted, label):
        metrics.update(torch.from_numpy(guess), torch.from_numpy(truth))
    scores = scores_of(metrics.counts)
    got = (scores.pixel_accuracy, scores.mean_accuracy, scores.mean_iou)
    assert got == pytest.approx(by_loops(predicted, label, classes))
    pairs = [(g, t) for g, t in zip(predicted, label) if (t != VOID).any()]
    each = [by_loops_of_present(guess, truth) for guess, truth in pairs]
    of_images = image_scores(metrics.of_images)
    assert of_images.images == len(each)
    assert (of_images.mean_accuracy, of_images.mean_iou) == pytest.approx(
        tuple(sum(column) / len(each) for column in zip(*each))
    )
    kept = label[label != VOID]
    most = np.bincount(kept, minlength=classes).argmax()
    trivial = majority_scores(metrics.counts)
    expected = by_loops(np.full_like(label, most), label, classes)
    assert (trivial.pixel_accuracy, trivial.mean_accuracy, trivial.mean_iou) == pytest.approx(
        expected
    )


def test_an_absent_class_does_not_count_and_a_class_only_predicted_has_iou_0() -> None:
    counts = torch.tensor([[3, 4, 0, 0], [4, 4, 0, 0], [3, 5, 0, 0]])
    scores = scores_of(counts)
    assert scores.class_iou[:2] == pytest.approx((0.75, 0.8))
    assert math.isnan(scores.class_iou[2])
    assert scores.mean_iou == pytest.approx(0.775)
    predicted_only = torch.tensor([[3, 4, 0, 0], [5, 4, 0, 0], [3, 5, 1, 0]])
    assert scores_of(predicted_only).mean_iou == pytest.approx((3 / 5 + 4 / 5 + 0) / 3)
    table = score_table(scores, ("wall", "floor", "box", "lamp"), "a file has all")
    assert "wall" in table
    assert table.splitlines()[3].endswith("-")
    assert "a file" not in table


def test_a_table_of_300_classes_shows_the_most_frequent_and_says_where_the_others_are() -> None:
    share = torch.arange(300).flip(0)
    names = tuple(f"class {number}" for number in range(300))
    lines = score_table(scores_of(torch.stack([share] * 3)), names, "a file has all").splitlines()
    assert [line.split()[1] for line in lines[1:-2]] == [str(number) for number in range(40)]
    assert lines[-2] == "... and 260 less frequent classes: a file has all"


def test_a_split_without_labels_has_no_scores() -> None:
    metrics = SplitMetrics(3)
    metrics.update(torch.zeros(2, 2, dtype=torch.long), torch.full((2, 2), VOID))
    scores, of_images = scores_of(metrics.counts), image_scores(metrics.of_images)
    assert math.isnan(scores.pixel_accuracy)
    assert math.isnan(scores.mean_iou)
    assert math.isnan(of_images.mean_iou)
    assert of_images.images == 0


def test_many_classes_need_no_table_of_all_pairs() -> None:
    metrics = SplitMetrics(65_000)  # whose confusion matrix would take 34 GB
    metrics.update(torch.tensor([[64_999, 3]]), torch.tensor([[64_999, 4]]))
    assert scores_of(metrics.counts).mean_iou == pytest.approx(1 / 3)
    assert image_scores(metrics.of_images).mean_iou == pytest.approx(1 / 2)


class Ragged(RGBDDataset):
    """Frames whose label maps have different sizes."""

    classes = ("dark", "bright")
    palette = label_palette(2)
    depth_limits = (0.5, 8.0)
    sizes = ((40, 60), (32, 32), (50, 33))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Sample:
        height, width = self.sizes[index]
        image = np.zeros((height, width, 3), np.uint8)
        image[:, width // 2 :] = 255
        label = (image[..., 0] > 127).astype(np.uint8)
        label[0] = 255
        depth = np.full((height, width), 2.0, np.float32)
        depth[:, 0] = 0
        return Sample(image, label, depth, str(index))


class Threshold(torch.nn.Module):
    """Calls bright what is bright; its log-depth is off by 0.25 everywhere."""

    def forward(self, image: torch.Tensor) -> lwm.MultiTaskOutput:
        bright = image.mean(1, keepdim=True)
        level = 1 + (2.0 - 0.5) * 255 / 7.5
        log_depth = torch.full_like(image[:, 0], math.log(level) + 0.25)
        return lwm.MultiTaskOutput(torch.cat([-bright, bright], 1), log_depth)


@pytest.fixture
def accelerator():
    yield Accelerator(cpu=True)
    forget_accelerator()


def test_labels_are_scored_at_their_own_sizes(accelerator: Accelerator) -> None:
    result = evaluate(
        Threshold(),
        Ragged(),
        num_classes=2,
        image_size=(64, 64),
        limits=(0.5, 8.0),
        accelerator=accelerator,
        batch_size=2,
    )
    assert result.images == 3
    # Only the pixels beside the border can be wrong, for it is resampled.
    assert result.scores.pixel_accuracy > 0.95
    assert result.log_depth_rmse == pytest.approx(0.25, rel=1e-4)
    share = sum((h - 1) * (w - w // 2) for h, w in Ragged.sizes)
    share /= sum((h - 1) * w for h, w in Ragged.sizes)
    assert result.scores.class_share[1] == pytest.approx(share)
    assert result.of_images.images == 3
    assert f"IoU {100 * result.of_images.mean_iou:.2f} %" in image_summary(result.of_images)


def test_a_crop_leaves_out_what_lies_outside(
    accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score(crop: Crop) -> Evaluation:
        return evaluate(
            Threshold(),
            Ragged(),
            num_classes=2,
            image_size=(64, 64),
            limits=(0.5, 8.0),
            accelerator=accelerator,
            crop=crop,
        )

    crop = Crop((40, 60), slice(0, 10), slice(28, 33))
    with pytest.raises(OptionError, match="shrunk copy"):
        score(crop)
    monkeypatch.setattr(Ragged, "sizes", ((40, 60), (40, 60)))
    assert score(crop).scores.class_share == pytest.approx((0.4, 0.6))


def test_views_are_averaged_as_probabilities_and_turned_back() -> None:
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 64)
    network = Threshold()
    plain = predict(network, image)
    # The network sees each pixel by itself, so that the mirror image must tell the same.
    flipped = predict(network, image, View(flip=True))
    torch.testing.assert_close(flipped.logits, plain.logits.log_softmax(1))
    several = predict(network, image, View((0.5, 1.0), flip=True))
    assert several.logits.exp().sum(1).allclose(torch.ones(1, 64, 64))
    assert not several.logits.allclose(plain.logits.log_softmax(1), atol=1e-3)
    assert torch.equal(several.log_depth, plain.log_depth)


class Certain(torch.nn.Module):
    """A perfect network that is so sure that every other class has the probability 0 in float32."""

    def forward(self, image: Tensor) -> lwm.MultiTaskOutput:
        gap = 150.0 * torch.where(denormalised(image)[:, None] > 127.5, 1.0, -1.0)
        return lwm.MultiTaskOutput(torch.cat([-gap, gap], 1))


def denormalised(image: Tensor) -> Tensor:
    """The first channel (B, H, W) of normalised images, from 0 to 255."""
    return (image[:, 0] * IMAGENET_STD[0] + IMAGENET_MEAN[0]) * 255


class Halves(RGBDDataset):
    """Frames whose left half is black and of class 0, and whose right half is white and of class 1."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        label = np.zeros((48, 96 + 32 * index), np.uint8)  # larger than what the network sees
        label[:, label.shape[1] // 2 :] = 1
        image = np.repeat(255 * label[..., None], 3, 2)
        return Sample(image, label, np.ones(label.shape, np.float32), str(index))


@pytest.mark.parametrize("view", [View(flip=True), View((0.5, 1.0, 2.0), flip=True)], ids=str)
def test_a_perfect_network_stays_perfect_in_several_views(
    view: View, accelerator: Accelerator
) -> None:
    """At a gap of 104 and more a class has the probability 0, and its logarithm is -inf."""

    def score(view: View) -> Evaluation:
        return evaluate(
            Certain(), Halves(), num_classes=2, image_size=(32, 64), limits=(0.5, 8.0),
            accelerator=accelerator, view=view,
        )  # fmt: skip

    single, several = score(SINGLE_SCALE), score(view)
    assert single.scores.mean_iou == 1
    assert several.scores.mean_iou == 1
    assert math.isfinite(several.loss)


def test_scores_of_several_views_are_finite_whatever_the_gap() -> None:
    image = torch.full((1, 3, 32, 32), 5.0)
    image[..., 16:] = -5.0
    logits = predict(Certain(), image, View(flip=True)).logits
    assert logits.isfinite().all()
    assert torch.equal(logits.argmax(1), predict(Certain(), image).logits.argmax(1))
