"""L_h of Eq. 4 around any criterion."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

import lwm_loss as lwm
from lwm_loss.testing import reference as ref
from lwm_loss.testing.strategies import Batch, batches
from tests.support import (
    arrays_of,
    clear_of_thresholds,
    mining_of,
    scene,
    smallest_peak,
    tolerance,
    weighting_of,
    wrapped,
)


@given(batches(), st.sampled_from([0.0, 0.2]), st.booleans())
def test_hard_pixel_loss_is_the_oracles(batch: Batch, smoothing: float, weighted: bool) -> None:
    assume(smallest_peak(batch) > 0.01)
    arrays = arrays_of(batch)
    classes = batch.logits.shape[1]
    class_weight = [0.5 + j for j in range(classes)] if weighted else None
    criterion = nn.CrossEntropyLoss(
        weight=torch.tensor(class_weight, dtype=batch.logits.dtype) if weighted else None,
        ignore_index=batch.ignore_index,
        label_smoothing=smoothing,
        reduction="none",
    )
    weight = ref.loss_weight(*arrays[:4], mining_of(batch), depth_mask=arrays.depth_mask).weight
    loss = ref.cross_entropy(
        arrays.logits,
        arrays.target,
        ignore_index=batch.ignore_index,
        class_weight=class_weight,
        label_smoothing=smoothing,
    )
    truth = ref.weighted_loss(weight, loss, arrays.target, ignore_index=batch.ignore_index)
    ours = lwm.HardPixelLoss(criterion, weighting_of(batch))(
        *batch[:4], depth_mask=batch.depth_mask
    )
    assert ours.shape == ()
    assert ours.dtype == batch.logits.dtype
    assert ours.item() == pytest.approx(truth, **tolerance(batch.logits.dtype))


@given(batches(jitter=True), st.integers(0, 5))
def test_hard_pixel_loss_with_a_curriculum_is_the_oracles(batch: Batch, epoch: int) -> None:
    assume(smallest_peak(batch) > 0.01)
    curriculum = lwm.SelfPacedCurriculum(4)
    for _ in range(epoch):
        curriculum.step()
    arrays = arrays_of(batch)
    labelled = arrays.target != batch.ignore_index
    weight = ref.loss_weight(*arrays[:4], mining_of(batch), depth_mask=arrays.depth_mask).weight
    assume(clear_of_thresholds(weight, epoch / 4, labelled))
    truth = ref.weighted_loss(
        ref.curriculum_filter(weight, epoch / 4, labelled),
        ref.cross_entropy(arrays.logits, arrays.target, ignore_index=batch.ignore_index),
        arrays.target,
        ignore_index=batch.ignore_index,
    )
    criterion = nn.CrossEntropyLoss(ignore_index=batch.ignore_index, reduction="none")
    ours = lwm.HardPixelLoss(criterion, weighting_of(batch), curriculum)(
        *batch[:4], depth_mask=batch.depth_mask
    )
    assert ours.item() == pytest.approx(truth, **tolerance(batch.logits.dtype))


def test_the_mean_is_over_labelled_pixels_only() -> None:
    target = torch.tensor([[[0, 1, 255, 255]]])
    ones = torch.ones(1, 1, 4)
    loss = wrapped()(torch.zeros(1, 2, 1, 4), target, ones, ones)
    # R = 1 everywhere, class 0 is predicted everywhere, and the four cells hold a pixel each.
    assert loss.item() == pytest.approx((1.0 + 2.0) * math.log(2) / 2)


def test_the_mean_is_over_the_batch_not_over_images() -> None:
    target = torch.tensor([[[1, 1, 1]], [[1, 255, 255]]])
    ones = torch.ones(2, 1, 3)
    logits = torch.zeros(2, 2, 1, 3)
    logits[1, 0] = 3.0
    loss = wrapped()(logits, target, ones, ones)
    hard = math.log1p(math.exp(3.0))
    assert loss.item() == pytest.approx(2.0 * (3 * math.log(2) + hard) / 4)


@pytest.mark.parametrize("as_tensor", [False, True])
def test_a_normalizer_takes_the_place_of_n(as_tensor: bool) -> None:
    data = scene()
    loss = wrapped()
    count = int((data.target != 255).sum())
    normalizer = torch.tensor(100.0) if as_tensor else 100.0
    assert loss(*data, normalizer=normalizer).item() == pytest.approx(
        loss(*data).item() * count / 100.0, rel=1e-5
    )


def test_micro_batches_with_one_normalizer_add_up() -> None:
    data = scene(images=4)
    loss = wrapped()
    count = (data.target != 255).sum()
    parts = [
        loss(*(tensor[i : i + 1] for tensor in data), normalizer=count).item() for i in range(4)
    ]
    assert sum(parts) == pytest.approx(loss(*data).item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("curriculum", [False, True])
def test_all_ignored_is_zero_with_a_graph(dtype: torch.dtype, curriculum: bool) -> None:
    data = scene(dtype=dtype, ignored=1.1)
    assert (data.target == 255).all()
    logits = data.logits.requires_grad_()
    loss = wrapped(lwm.SelfPacedCurriculum(3) if curriculum else None)(logits, *data[1:])
    assert loss.item() == 0.0
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_ignored_pixels_get_no_gradient() -> None:
    data = scene()
    logits = data.logits.requires_grad_()
    wrapped()(logits, *data[1:]).backward()
    assert logits.grad is not None
    by_pixel = logits.grad.abs().sum(1)
    assert (by_pixel[data.target == 255] == 0.0).all()
    weight = lwm.LossWeightModule(ignore_index=255)(*data)
    assert ((by_pixel > 0) == (weight > 0)).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_logits_under_an_ignored_label_stay_there(bad: float) -> None:
    data = scene(images=1, size=(3, 4), ignored=0.0)
    data.target[0, 1, 2] = 255
    clean = wrapped()(*data)
    logits = data.logits.clone()
    logits[0, :, 1, 2] = bad
    logits.requires_grad_()
    loss = wrapped()(logits, *data[1:])
    assert loss.item() == pytest.approx(clean.item())
    loss.backward()
    assert logits.grad is not None
    others = data.target != 255
    assert logits.grad.movedim(1, -1)[others].isfinite().all()


def test_nan_in_a_prediction_stays_visible() -> None:
    data = scene(images=1, size=(3, 4), ignored=0.0, missing=0.0)
    for which in (0, 2):
        tensors = [tensor.clone() for tensor in data]
        tensors[which].view(-1)[0] = math.nan
        assert wrapped()(*tensors).isnan()
        terms = lwm.HardPixelMiningLoss(num_sides=0, ignore_index=255)(*tensors)
        assert terms.total.isnan()
        assert terms.hard.isnan()


def test_no_gradient_through_m() -> None:
    data = scene()
    log_depth = data.pred_depth.requires_grad_()
    loss = wrapped()(data.logits.requires_grad_(), data.target, log_depth, data.target_depth)
    (gradient,) = torch.autograd.grad(loss, log_depth, allow_unused=True)
    assert gradient is None or gradient.count_nonzero() == 0


@pytest.mark.parametrize("curriculum", [False, True])
def test_gradcheck(curriculum: bool) -> None:
    data = scene(images=2, classes=3, size=(3, 4), dtype=torch.float64)
    schedule = lwm.SelfPacedCurriculum(3) if curriculum else None
    loss = wrapped(schedule)

    def of_logits(logits: Tensor) -> Tensor:
        return loss(logits, *data[1:])

    assert of_logits(data.logits).item() > 0.0
    assert torch.autograd.gradcheck(of_logits, (data.logits.requires_grad_(),))
    assert torch.autograd.gradgradcheck(of_logits, (data.logits,))


def test_nan_stays_visible_behind_a_curriculum() -> None:
    data = scene(images=1, size=(3, 4), ignored=0.0, missing=0.0)
    log_depth = data.pred_depth.clone()
    log_depth[0, 1, 1] = math.nan
    loss = wrapped(lwm.SelfPacedCurriculum(3))
    assert loss(data.logits, data.target, log_depth, data.target_depth).isnan()


class Halved(lwm.LossWeightModule):
    """A weighting that changes what its base computes."""

    def forward(self, *args: Tensor, **options: Tensor) -> Tensor:
        return super().forward(*args, **options) / 2


def test_a_subclass_with_its_own_forward_is_heeded() -> None:
    data = scene()
    criterion = nn.CrossEntropyLoss(ignore_index=255, reduction="none")
    halved = lwm.HardPixelLoss(criterion, Halved(ignore_index=255))
    torch.testing.assert_close(halved(*data), wrapped()(*data) / 2)


def test_a_plain_function_is_a_weighting() -> None:
    data = scene()
    criterion = nn.CrossEntropyLoss(ignore_index=255, reduction="none")
    loss = lwm.HardPixelLoss(criterion, lambda logits, target, *depths: (target == 2).float())
    each = nn.functional.cross_entropy(data.logits, data.target, ignore_index=255, reduction="none")
    labelled = data.target != 255
    expected = each[data.target == 2].sum() / labelled.sum()
    torch.testing.assert_close(loss(*data), expected)
    assert loss.ignore_index == 255


def test_a_function_filters_like_a_curriculum() -> None:
    data = scene()
    criterion = nn.CrossEntropyLoss(ignore_index=255, reduction="none")
    weighting = lwm.LossWeightModule(ignore_index=255)
    schedule = lwm.SelfPacedCurriculum(3)
    by_function = lwm.HardPixelLoss(criterion, weighting, lambda m, mask: schedule(m, mask))
    assert torch.equal(by_function(*data), wrapped(schedule)(*data))
