"""The oracle against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lwm_loss.testing import reference as ref


def test_rescale_depth_by_hand() -> None:
    metres = np.array([1.0, 2.0, 3.0, 0.2, 30.0, 0.0, -1.0, math.nan, math.inf])
    levels = ref.rescale_depth(metres, near=1.0, far=3.0, depth_range=(1.0, 256.0))
    assert levels.tolist() == [1.0, 128.5, 256.0, 1.0, 256.0, 0.0, 0.0, 0.0, 0.0]


def test_dpe_by_hand() -> None:
    # log D* = 0, log 2, log 4 and two missing; log D = 1, log 2 + 2, log 4 - 4.
    depth = np.array([[[1.0, 2.0, 4.0, 0.0, math.nan]]])
    log_d = np.array([[[1.0, math.log(2) + 2, math.log(4) - 4, 50.0, 50.0]]])
    raw = ref.depth_prediction_error(log_d, depth, normalize=False)
    np.testing.assert_allclose(raw, [[[1.0, 2.0, 4.0, 0.0, 0.0]]])
    np.testing.assert_allclose(
        ref.depth_prediction_error(log_d, depth), [[[0.25, 0.5, 1.0, 0.0, 0.0]]]
    )
    masked = ref.depth_prediction_error(
        log_d, depth, depth_mask=np.array([[[True, True, False, True, True]]])
    )
    np.testing.assert_allclose(masked, [[[0.5, 1.0, 0.0, 0.0, 0.0]]])
    metric = ref.depth_prediction_error(
        np.array([[[math.e]]]), np.array([[[1.0]]]), log_input=False, normalize=False
    )
    assert metric.item() == pytest.approx(1.0)
    perfect = ref.depth_prediction_error(np.zeros((1, 1, 2)), np.ones((1, 1, 2)))
    assert perfect.tolist() == [[[0.0, 0.0]]]


def test_normalisation_is_per_image() -> None:
    depth = np.ones((2, 1, 1))
    assert ref.depth_prediction_error(np.array([[[2.0]], [[8.0]]]), depth).tolist() == [
        [[1.0]],
        [[1.0]],
    ]


def test_nan_prediction_is_visible_and_nan_target_is_not() -> None:
    log_d = np.array([[[math.nan, 1.0]]])
    assert np.isnan(ref.depth_prediction_error(log_d, np.ones((1, 1, 2)))).all()
    assert ref.depth_prediction_error(log_d, np.array([[[0.0, 1.0]]])).tolist() == [[[0.0, 1.0]]]


def test_cells_by_hand() -> None:
    # Seven pixels in three cells: floor(3 y / 7) = 0 0 0 1 1 2 2.
    assert [ref.cell_of((y, 0), (7, 1), (3, 1))[0] for y in range(7)] == [0, 0, 0, 1, 1, 2, 2]
    # Two pixels in eight cells: cells 0 and 4.
    assert [ref.cell_of((y, 0), (2, 1), (8, 8))[0] for y in range(2)] == [0, 4]
    assert ref.cell_of((3, 5, 6), (4, 8, 8), (2, 2)) == (0, 1, 1)
    assert ref.cell_of((3, 5, 6), (4, 8, 8), (2, 2, 2)) == (1, 1, 1)
    assert ref.cell_of((3, 5), (8, 8), "pixel") == (3, 5)


def test_bins_by_hand() -> None:
    paper = (1.0, 256.0)
    assert ref.depth_bin(256.0, 1.0, paper) == 254  # 255 levels of one: 1..2, ..., 255..256
    assert [ref.depth_bin(d, 10.0, paper) for d in (10.999, 11.0, 250.9, 251.0)] == [0, 1, 24, 25]
    assert [ref.depth_bin(d, 300.0, paper) for d in (0.1, 1.0, 256.0)] == [0, 0, 0]
    assert [ref.depth_bin(d, 2.5, (0.0, 10.0)) for d in (2.4, 2.5, 10.0, 99.0)] == [0, 1, 3, 3]


def test_dse_by_hand() -> None:
    # One cell, two bins. Bin 0: pixels 0, 1, 2 (one ignored, one wrong); bin 1: pixel 3, right.
    predicted = np.array([[[0, 1, 1, 2, 2]]])
    target = np.array([[[0, 0, -100, 2, 0]]])
    depth = np.array([[[1.0, 5.0, 6.0, 11.0, 0.0]]])
    dse = ref.depth_aware_segmentation_error(predicted, target, depth, cells=(1, 1))
    assert dse.tolist() == [[[0.5, 0.5, 0.0, 0.0, 0.0]]]
    pixelwise = ref.depth_aware_segmentation_error(predicted, target, depth, cells="pixel")
    assert pixelwise.tolist() == [[[0.0, 1.0, 0.0, 0.0, 0.0]]]


def test_regions_do_not_cross_images() -> None:
    predicted, target = np.array([[[0]], [[1]]]), np.array([[[0]], [[0]]])
    dse = ref.depth_aware_segmentation_error(predicted, target, np.ones((2, 1, 1)), cells=(1, 1))
    assert dse.tolist() == [[[0.0]], [[1.0]]]


def test_first_class_wins_a_tie() -> None:
    logits = np.zeros((1, 3, 1, 2))
    assert ref.misclassified(logits, np.array([[[0, 1]]])).tolist() == [[[0.0, 1.0]]]


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_is_torchs(smoothing: float, weighted: bool) -> None:
    logits = torch.randn(2, 4, 3, 2, dtype=torch.float64)
    target = torch.randint(0, 4, (2, 3, 2))
    target[0, 0, 0] = 255
    weight = [0.5, 1.0, 2.0, 0.0] if weighted else None
    torchs = torch.nn.functional.cross_entropy(
        logits,
        target,
        weight=None if weight is None else torch.tensor(weight, dtype=torch.float64),
        ignore_index=255,
        label_smoothing=smoothing,
        reduction="none",
    )
    ours = ref.cross_entropy(
        logits.numpy(),
        target.numpy(),
        ignore_index=255,
        class_weight=weight,
        label_smoothing=smoothing,
    )
    np.testing.assert_allclose(ours, torchs.numpy(), rtol=1e-12, atol=1e-14)


def test_fusion_by_hand() -> None:
    r, z = np.array([0.25, 0.5]), np.array([0.5, 0.0])
    results = {mode: ref.fuse(r, z, mode).tolist() for mode in ref.FUSIONS}
    assert results == {
        "sum": [0.75, 0.5],
        "product": [0.125, 0.0],
        "max": [0.5, 0.5],
        "dpe": [0.25, 0.5],
        "dse": [0.5, 0.0],
    }


def test_curriculum_by_hand() -> None:
    weight = np.array([[[0.5, 0.1, 0.9, 0.3]], [[2.0, 2.0, 2.0, 2.0]]])
    assert ref.curriculum_threshold(weight, 0.0).tolist() == [0.3, 2.0]  # the lower median
    assert ref.curriculum_threshold(weight, 0.5) == pytest.approx([0.6, 2.0])
    assert ref.curriculum_filter(weight, 0.0).tolist() == [[[0.0, 0.1, 0.0, 0.0]], [[0.0] * 4]]
    assert ref.curriculum_filter(weight, 1.0).tolist() == weight.tolist()
    mask = np.array([[[True, False, True, False]], [[False] * 4]])
    assert ref.curriculum_threshold(weight, 1.0, mask).tolist() == [0.9, 0.0]


@pytest.mark.parametrize("size", [(3, 5), (8, 2), (7, 11), (1, 1), (4, 6)])
def test_upsample_is_torchs(size: tuple[int, int]) -> None:
    small = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    torchs = torch.nn.functional.interpolate(small, size, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(ref.upsample(small.numpy(), size), torchs.numpy(), atol=1e-14)


def test_upsample_of_a_volume_is_torchs() -> None:
    small = torch.randn(1, 2, 2, 3, 2, dtype=torch.float64)
    torchs = torch.nn.functional.interpolate(small, (3, 5, 5), mode="trilinear")
    np.testing.assert_allclose(ref.upsample(small.numpy(), (3, 5, 5)), torchs.numpy(), atol=1e-14)


def test_upsample_is_in_float64_whatever_it_is_given() -> None:
    small = torch.randn(1, 2, 3, 4)
    wide = ref.upsample(small.double().numpy(), (7, 5))
    np.testing.assert_array_equal(ref.upsample(small.numpy(), (7, 5)), wide)


def test_nearest_by_hand() -> None:
    row = np.arange(7)[None, None]
    assert ref.resize_nearest(row, (1, 3)).tolist() == [[[0, 2, 4]]]
    assert ref.resize_nearest(row, (2, 7))[0].tolist() == [list(range(7))] * 2


def test_total_by_hand() -> None:
    # Two classes, even odds: every cross-entropy is log 2. R = 1 and 0.5; the second is wrong.
    logits, target = np.zeros((1, 2, 1, 2)), np.array([[[0, 1]]])
    log_d, depth = np.array([[[2.0, 1.0]]]), np.ones((1, 1, 2))
    terms = ref.total_loss(logits, target, log_d, depth, [logits], alpha=2.0, beta=0.5)
    log2 = math.log(2.0)
    assert terms.weight.tolist() == [[[1.0, 1.5]]]
    assert terms.segmentation == pytest.approx(log2)
    assert terms.depth == pytest.approx(2.5)
    assert terms.hard == pytest.approx(1.25 * log2)
    assert terms.sides == pytest.approx((1.25 * log2,))
    assert terms.total == pytest.approx(log2 + 2.5 + 2.5 * log2 + 0.625 * log2)
    easy = ref.total_loss(logits, target, log_d, depth, mining=ref.Mining(), progress=0.5)
    assert easy.weight.tolist() == [[[1.0, 0.0]]]  # the threshold is 1 + (1.5 - 1) / 2


def test_ohem_by_hand() -> None:
    # p of class 0: 0.2, 0.5, 0.8, 0.9.
    odds = np.log(np.array([0.25, 1.0, 4.0, 9.0]))
    logits = np.stack([odds, np.zeros(4)])[None, :, None]
    target = np.zeros((1, 1, 4), dtype=np.int64)
    assert ref.ohem_weight(logits, target, 0.7, 0).tolist() == [[[1, 1, 0, 0]]]
    assert ref.ohem_weight(logits, target, 0.7, 3).tolist() == [[[1, 1, 1, 0]]]
    assert ref.ohem_weight(logits, target, 0.1, 1).tolist() == [[[1, 0, 0, 0]]]


def test_focal_by_hand() -> None:
    logits = np.log(np.array([0.2, 0.8])).reshape(1, 2, 1, 1)
    weight = ref.focal_weight(logits, np.array([[[1]]]), gamma=3.0)
    assert weight.item() == pytest.approx(0.2**3)


def pooled_by_bisection(losses: list[float], ratio: float, p: float) -> list[float]:
    """The optimum from its conditions: ``w = min(tau, s * l ** (1 / (p - 1)))`` on the p-ball."""
    n = len(losses)
    q = p / (p - 1)
    radius = n ** (-1 / q)
    tau = radius * max(ratio * n, 1.0) ** (-1 / p)

    def weights(scale: float) -> list[float]:
        return [min(tau, scale * loss ** (1 / (p - 1))) for loss in losses]

    low, high = 0.0, 1.0
    while sum(w**p for w in weights(high)) < radius**p and high < 1e12:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if sum(w**p for w in weights(middle)) < radius**p:
            low = middle
        else:
            high = middle
    return weights(low)


@pytest.mark.parametrize("ratio", [0.05, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("p", [1.3, 1.7, 3.0])
def test_loss_max_pooling_is_the_optimum(ratio: float, p: float) -> None:
    noise = np.random.default_rng(3)
    for n in (1, 2, 3, 7, 20):
        losses = noise.exponential(size=n).tolist()
        ours = ref.loss_max_pooling(losses, ratio, p)
        best = pooled_by_bisection(losses, ratio, p)
        np.testing.assert_allclose(ours, best, rtol=1e-6, atol=1e-12)
        value = sum(w * loss for w, loss in zip(ours, losses, strict=True))
        # No weights drawn at random inside both constraints do better.
        radius, tau = n ** (1 / p - 1), n ** (1 / p - 1) * max(ratio * n, 1.0) ** (-1 / p)
        for _ in range(50):
            w = noise.random(n)
            w = np.minimum(w * radius / (w**p).sum() ** (1 / p), tau)
            assert (w * losses).sum() <= value * (1 + 1e-9)


def test_loss_max_pooling_keeps_the_highest_when_most_losses_are_zero() -> None:
    ours = ref.loss_max_pooling([0.0] * 9 + [1.0], ratio=0.3, p=1.7)
    tau = 10 ** (1 / 1.7 - 1) * 3 ** (-1 / 1.7)
    assert ours == [0.0] * 9 + [pytest.approx(tau)]
