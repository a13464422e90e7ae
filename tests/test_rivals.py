"""The rivals of Table IV as weightings: OHEM, focal and loss max-pooling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

import lwm_loss as lwm
from lwm_loss.testing import reference as ref
from lwm_loss.testing.strategies import Batch, batches
from tests.support import arrays_of, assert_map, scene, tolerance

RIVALS = [
    lwm.OHEMWeighting(ignore_index=255),
    lwm.FocalWeighting(ignore_index=255),
    lwm.LossMaxPoolingWeighting(ignore_index=255),
]
BY_NAME = pytest.mark.parametrize("weighting", RIVALS, ids=lambda rival: type(rival).__name__)


def wrapped(weighting: nn.Module, ignore_index: int = 255) -> lwm.HardPixelLoss:
    """A rival around cross-entropy."""
    criterion = nn.CrossEntropyLoss(ignore_index=ignore_index, reduction="none")
    return lwm.HardPixelLoss(criterion, weighting)


def gradient_of_mean(weight: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """The gradient of the weighted mean of cross-entropy, the weight a constant."""
    loss = F.cross_entropy(logits, target, ignore_index=255, reduction="none")
    mean = (weight.detach() * loss).sum() / (target != 255).sum()
    return torch.autograd.grad(mean, logits)[0]


# --- OHEM -----------------------------------------------------------------------------------------


@given(
    batches(jitter=True),
    st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    st.sampled_from([0, 1, 5, 10_000]),
)
def test_ohem_is_the_oracles(batch: Batch, threshold: float, min_kept: int) -> None:
    arrays = arrays_of(batch)
    probability = ref.true_class_probability(arrays.logits, arrays.target, batch.ignore_index)
    labelled = probability[arrays.target != batch.ignore_index]
    ordered = np.sort(labelled)
    assume((np.abs(labelled - threshold) > 1e-5).all())
    assume((np.diff(ordered) > 1e-6).all())
    truth = ref.ohem_weight(arrays.logits, arrays.target, threshold, min_kept, batch.ignore_index)
    weighting = lwm.OHEMWeighting(threshold, min_kept, ignore_index=batch.ignore_index)
    ours = weighting(batch.logits, batch.target)
    assert_map(ours, truth, double=batch.logits.dtype == torch.float64)
    loss = wrapped(weighting, batch.ignore_index)(batch.logits, batch.target)
    expected = ref.weighted_loss(
        truth,
        ref.cross_entropy(arrays.logits, arrays.target, ignore_index=batch.ignore_index),
        arrays.target,
        ignore_index=batch.ignore_index,
    )
    assert loss.item() == pytest.approx(expected, **tolerance(batch.logits.dtype))


def odds(probabilities: list[float]) -> tuple[Tensor, Tensor]:
    """One image whose pixels have these probabilities of their true class."""
    p = torch.tensor(probabilities, dtype=torch.float64)
    logits = torch.stack([p.log(), (1 - p).log()])[None, :, None]
    return logits, torch.zeros(1, 1, len(probabilities), dtype=torch.long)


def test_ohem_keeps_the_hard_ones() -> None:
    logits, target = odds([0.9, 0.2, 0.75, 0.5])
    assert lwm.OHEMWeighting(0.7, 0)(logits, target).tolist() == [[[0, 1, 0, 1]]]
    assert lwm.OHEMWeighting(0.7, 3)(logits, target).tolist() == [[[0, 1, 1, 1]]]
    assert lwm.OHEMWeighting(0.1, 1)(logits, target).tolist() == [[[0, 1, 0, 0]]]
    assert lwm.OHEMWeighting(0.1, 99)(logits, target).tolist() == [[[1, 1, 1, 1]]]


def test_ohem_keeps_ties() -> None:
    logits, target = odds([0.9, 0.8, 0.8, 0.8])
    assert lwm.OHEMWeighting(0.1, 1)(logits, target).tolist() == [[[0, 1, 1, 1]]]


def test_ohem_counts_by_image_and_only_labelled_pixels() -> None:
    logits, target = odds([0.9, 0.2, 0.75, 0.5])
    logits, target = torch.cat([logits, logits]), torch.cat([target, target])
    target[1, 0, 1] = 255
    weight = lwm.OHEMWeighting(0.1, 2, ignore_index=255)(logits, target)
    assert weight.tolist() == [[[0, 1, 0, 1]], [[0, 0, 1, 1]]]


def test_ohem_over_the_kept_pixels() -> None:
    logits, target = odds([0.9, 0.2, 0.75, 0.5])
    logits, target = torch.cat([logits, logits]), torch.cat([target, target])
    target[1, 0, 1] = 255
    weighting = lwm.OHEMWeighting(0.7, 0, ignore_index=255, mean_over="kept")
    loss = wrapped(weighting)(logits, target)
    kept = torch.tensor([0.2, 0.5, 0.5], dtype=torch.float64)
    assert loss.item() == pytest.approx(-kept.log().mean().item(), rel=1e-14)


# --- focal ----------------------------------------------------------------------------------------


@given(batches(), st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0]))
def test_focal_is_the_oracles(batch: Batch, gamma: float) -> None:
    arrays = arrays_of(batch)
    truth = ref.focal_weight(arrays.logits, arrays.target, gamma, batch.ignore_index)
    ours = lwm.FocalWeighting(gamma, ignore_index=batch.ignore_index)(batch.logits, batch.target)
    # With gamma < 1 the weight's slope is steep where 1 - p is nearly 0.
    double = batch.logits.dtype == torch.float64
    assert_map(ours, truth, atol=1e-7 if double else 2e-3 if gamma < 1 else 2e-6, double=double)


def test_focal_lets_the_gradient_through_the_weight() -> None:
    data = scene(dtype=torch.float64)
    logits = data.logits.requires_grad_()
    loss = wrapped(lwm.FocalWeighting(gamma=2.0, ignore_index=255))(logits, data.target)
    (ours,) = torch.autograd.grad(loss, logits)
    labelled = data.target != 255
    safe = data.target.where(labelled, torch.zeros_like(data.target))
    log_p = logits.log_softmax(1).gather(1, safe[:, None])[:, 0]
    focal = (-((1 - log_p.exp()) ** 2) * log_p * labelled).sum() / labelled.sum()
    (truth,) = torch.autograd.grad(focal, logits)
    torch.testing.assert_close(ours, truth)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_is_finite_where_the_net_is_certain(gamma: float) -> None:
    logits = torch.tensor([[[[200.0, -200.0]], [[0.0, 0.0]]]], requires_grad=True)
    target = torch.tensor([[[0, 0]]])
    loss = wrapped(lwm.FocalWeighting(gamma=gamma, ignore_index=255))(logits, target)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_focal_with_gamma_zero_is_the_plain_loss() -> None:
    data = scene()
    loss = wrapped(lwm.FocalWeighting(gamma=0.0, ignore_index=255))(data.logits, data.target)
    plain = F.cross_entropy(data.logits, data.target, ignore_index=255)
    torch.testing.assert_close(loss, plain)


# --- loss max-pooling -----------------------------------------------------------------------------


@given(
    batches(jitter=True),
    st.sampled_from([0.01, 0.3, 0.7, 1.0]),
    st.sampled_from([1.3, 1.7, 3.0]),
)
def test_loss_max_pooling_is_the_oracles(batch: Batch, ratio: float, p: float) -> None:
    arrays = arrays_of(batch)
    labelled = arrays.target != batch.ignore_index
    loss = ref.cross_entropy(arrays.logits, arrays.target, ignore_index=batch.ignore_index)
    truth = ref.loss_max_pooling_weight(arrays.logits, arrays.target, ratio, p, batch.ignore_index)
    weighting = lwm.LossMaxPoolingWeighting(ratio, p, ignore_index=batch.ignore_index)
    ours = weighting(batch.logits, batch.target)
    double = batch.logits.dtype == torch.float64
    assert ours.dtype == (torch.float64 if double else torch.float32)
    if (loss[labelled] > 1e-3).all():
        assert_map(ours, truth, atol=1e-8 if double else 1e-3)
    assert (ours[batch.target == batch.ignore_index] == 0.0).all()
    assert ours.isfinite().all()
    pooled = wrapped(weighting, batch.ignore_index)(batch.logits, batch.target)
    expected = ref.weighted_loss(truth, loss, arrays.target, ignore_index=batch.ignore_index)
    assert pooled.item() == pytest.approx(expected, rel=1e-9 if double else 1e-4, abs=1e-6)


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.6])
def test_loss_max_pooling_obeys_its_constraints(ratio: float) -> None:
    p = 1.7
    data = scene(images=3, size=(9, 11), dtype=torch.float64)
    weight = lwm.LossMaxPoolingWeighting(ratio, p, ignore_index=255)(data.logits, data.target)
    for image, target in zip(weight, data.target, strict=True):
        n = int((target != 255).sum())
        w = image / n
        radius = n ** (1 / p - 1)
        tau = radius * (ratio * n) ** (-1 / p)
        assert float((w**p).sum() ** (1 / p)) == pytest.approx(radius)
        assert float(w.max()) <= tau * (1 + 1e-12)


def test_loss_max_pooling_with_ratio_one_is_the_plain_loss() -> None:
    data = scene()
    loss = wrapped(lwm.LossMaxPoolingWeighting(ratio=1.0, ignore_index=255))(
        data.logits, data.target
    )
    torch.testing.assert_close(loss, F.cross_entropy(data.logits, data.target, ignore_index=255))


def test_zero_losses_do_not_push_out_the_highest() -> None:
    # A float32 cross-entropy of a certain pixel is exactly zero.
    logits = torch.zeros(1, 2, 1, 10)
    logits[:, 0, :, :9] = 200.0
    target = torch.zeros(1, 1, 10, dtype=torch.long)
    weight = lwm.LossMaxPoolingWeighting(ratio=0.3, p=1.7)(logits, target)
    tau = 10 ** (1 / 1.7 - 1) * 3 ** (-1 / 1.7)
    assert weight[0, 0, 9].item() == pytest.approx(10 * tau, rel=1e-5)
    assert weight.isfinite().all()


def test_all_losses_zero() -> None:
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 0] = 200.0
    target = torch.zeros(1, 2, 2, dtype=torch.long)
    loss = wrapped(lwm.LossMaxPoolingWeighting(ignore_index=255))(logits, target)
    assert loss.item() == 0.0


# --- all of them ----------------------------------------------------------------------------------


@BY_NAME
def test_all_ignored(weighting: nn.Module) -> None:
    data = scene(ignored=1.1)
    logits = data.logits.requires_grad_()
    loss = wrapped(weighting)(logits, data.target)
    assert loss.item() == 0.0
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@BY_NAME
def test_ignored_pixels_do_not_matter(weighting: nn.Module) -> None:
    data = scene()
    other = data.logits.clone()
    ignored = (data.target == 255)[:, None].expand_as(other)
    other[ignored] = 40.0
    assert torch.equal(weighting(other, data.target), weighting(data.logits, data.target))
    assert (weighting(data.logits, data.target)[data.target == 255] == 0.0).all()


@BY_NAME
def test_depth_is_taken_and_not_needed(weighting: nn.Module) -> None:
    data = scene()
    assert torch.equal(weighting(*data), weighting(data.logits, data.target))
    assert torch.equal(wrapped(weighting)(*data), wrapped(weighting)(data.logits, data.target))


@BY_NAME
def test_images_do_not_influence_each_other(weighting: nn.Module) -> None:
    data = scene(images=3)
    together = weighting(data.logits, data.target)
    for i in range(3):
        alone = weighting(data.logits[i : i + 1], data.target[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)


@BY_NAME
def test_harder_pixels_weigh_no_less(weighting: nn.Module) -> None:
    logits, target = odds([0.99, 0.9, 0.8, 0.6, 0.4, 0.2, 0.1, 0.01])
    weighting = {
        lwm.OHEMWeighting: lwm.OHEMWeighting(0.7, 2),
        lwm.FocalWeighting: lwm.FocalWeighting(),
        lwm.LossMaxPoolingWeighting: lwm.LossMaxPoolingWeighting(),
    }[type(weighting)]
    weight = weighting(logits, target).flatten()
    assert (weight.diff() >= -1e-12).all()
    assert weight[-1] > weight[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@BY_NAME
def test_half_precision(weighting: nn.Module, dtype: torch.dtype) -> None:
    data = scene(dtype=dtype)
    half = weighting(data.logits, data.target)
    assert half.dtype == torch.float32
    wide = weighting(data.logits.float(), data.target)
    torch.testing.assert_close(half, wide, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weighting", [RIVALS[0], RIVALS[2]], ids=["ohem", "lmp"])
def test_the_weight_is_a_constant(weighting: nn.Module) -> None:
    data = scene(dtype=torch.float64)
    logits = data.logits.requires_grad_()
    weight = weighting(logits, data.target)
    assert not weight.requires_grad
    loss = wrapped(weighting)(logits, data.target)
    (ours,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(ours, gradient_of_mean(weight, logits, data.target))


@pytest.mark.parametrize(
    "rival", [lwm.OHEMWeighting, lwm.FocalWeighting, lwm.LossMaxPoolingWeighting]
)
def test_the_criterions_ignored_label_is_enough(rival: type[nn.Module]) -> None:
    data = scene()
    loss = wrapped(rival())(data.logits, data.target)
    assert torch.equal(loss, wrapped(rival(ignore_index=255))(data.logits, data.target))
