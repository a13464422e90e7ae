"""L_h of Eq. 4 around any criterion."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
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
    truth = ref.weighted_loss(
        weight,
        loss,
        arrays.target,
        ignore_index=batch.ignore_index,
        class_weight=class_weight,
    )
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


@pytest.mark.slow
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


def test_a_filter_that_is_none_is_named() -> None:
    data = scene()
    criterion = nn.CrossEntropyLoss(ignore_index=255, reduction="none")
    weighting = lwm.LossWeightModule(ignore_index=255)

    def halve(weight: Tensor, mask: Tensor) -> Tensor:
        return weight.flatten(1).mean(1, keepdim=True)

    for curriculum, got in ((halve, r"shape \(2, 1\) from halve"), (lambda *maps: 3, "int")):
        loss = lwm.HardPixelLoss(criterion, weighting, curriculum)
        with pytest.raises(
            (TypeError, ValueError), match=rf"Expected `curriculum.+, but got {got}"
        ):
            loss(*data)


def test_what_a_filter_gives_at_ignored_pixels_does_not_count() -> None:
    data = scene()
    ignored = data.target == 255

    def loss(bad: float) -> Tensor:
        return lwm.HardPixelLoss(
            nn.CrossEntropyLoss(ignore_index=255, reduction="none"),
            lwm.LossWeightModule(ignore_index=255),
            lambda weight, mask: torch.where(ignored, bad, weight),
        )(*data)

    assert loss(0.0) > 0
    assert torch.equal(loss(torch.nan), loss(0.0))
    assert torch.equal(loss(torch.inf), loss(0.0))


class_weight = torch.tensor([0.1, 2.0, 1.0, 0.5, 30.0])


@pytest.mark.parametrize(
    "build",
    [
        lambda **options: nn.CrossEntropyLoss(**options),
        lambda **options: type("Mine", (nn.CrossEntropyLoss,), {})(**options),
        lambda **options: functools.partial(nn.functional.cross_entropy, **options),
    ],
    ids=["module", "subclass", "partial"],
)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_with_a_uniform_weight_it_is_the_criterion(build: Any, smoothing: float) -> None:
    data = scene()
    options = {"weight": class_weight, "ignore_index": 255, "label_smoothing": smoothing}

    def ones(logits: Tensor, target: Tensor, *depths: Tensor) -> Tensor:
        return torch.ones_like(target, dtype=torch.float32)

    ours = lwm.HardPixelLoss(build(reduction="none", **options), ones)(*data)
    torch.testing.assert_close(ours, nn.CrossEntropyLoss(**options)(*data[:2]))


def test_all_of_a_label_can_be_smoothed_away() -> None:
    data = scene()
    criterion = nn.CrossEntropyLoss(ignore_index=255, reduction="none", label_smoothing=1.0)
    loss = lwm.HardPixelLoss(criterion, lambda *maps: torch.ones(data.target.shape))
    truth = nn.CrossEntropyLoss(ignore_index=255, label_smoothing=1.0)(data.logits, data.target)
    torch.testing.assert_close(loss(*data), truth)


def test_with_a_uniform_weight_it_is_the_nll() -> None:
    data = scene()
    log_probability = data.logits.log_softmax(1)
    criterion = nn.NLLLoss(class_weight, ignore_index=255, reduction="none")
    terms = lwm.HardPixelMiningLoss(0, criterion=criterion)(log_probability, *data[1:])
    whole = nn.NLLLoss(class_weight, ignore_index=255)(log_probability, data.target)
    torch.testing.assert_close(terms.segmentation, whole)


def test_class_weights_of_zero_everywhere_give_zero() -> None:
    data = scene()
    criterion = nn.CrossEntropyLoss(torch.zeros(5), ignore_index=255, reduction="none")
    assert lwm.HardPixelMiningLoss(0, criterion=criterion)(*data).segmentation == 0


@pytest.mark.parametrize("size", [2, 4, 6, 41])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_of_the_wrong_length(size: int, smoothing: float) -> None:
    data = scene()
    criterion = nn.CrossEntropyLoss(
        torch.ones(size), ignore_index=255, reduction="none", label_smoothing=smoothing
    )
    for loss in (
        lwm.HardPixelLoss(criterion, lwm.LossWeightModule(ignore_index=255)),
        lwm.HardPixelMiningLoss(0, criterion=criterion),
    ):
        with pytest.raises(ValueError, match=rf"each of the 5 classes .*got shape \({size},\)"):
            loss(*data)


@pytest.mark.parametrize("bad", [math.nan, -16, -0.5, math.inf])
def test_a_number_that_cannot_divide(bad: float) -> None:
    data = scene()
    with pytest.raises(ValueError, match="`normalizer` to be finite and at least 0"):
        wrapped()(*data, normalizer=bad)
    objective = lwm.HardPixelMiningLoss(0, ignore_index=255)
    with pytest.raises(ValueError, match="`depth_normalizer` to be finite and at least 0"):
        objective(*data, depth_normalizer=bad)
    if bad != math.inf:  # a tensor is not read, but what it does stays visible
        assert wrapped()(*data, normalizer=torch.tensor(float(bad))).isnan()


def test_a_normalizer_of_zero_counts_as_one() -> None:
    data = scene()
    one = wrapped()(*data, normalizer=1)
    for zero in (0, 0.0, torch.tensor(0), np.float32(0)):
        assert torch.equal(wrapped()(*data, normalizer=zero), one)
    with pytest.raises(TypeError, match="`normalizer` to be a number or a tensor, but got '3'"):
        wrapped()(*data, normalizer="3")  # type: ignore[arg-type]


def generalised_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Its slope is infinite where the probability of the label is 0."""
    true = logits.softmax(1).gather(1, target[:, None])[:, 0]
    return (1 - true**0.7) / 0.7


def neighbourly(logits: Tensor, target: Tensor) -> Tensor:
    """Each pixel's loss is the mean over the pixels around it."""
    each = nn.functional.cross_entropy(logits, target, reduction="none")
    return nn.functional.avg_pool2d(each, 3, 1, 1)


def root(logits: Tensor, target: Tensor) -> Tensor:
    """Its slope is infinite at a loss of 0."""
    return nn.functional.cross_entropy(logits, target, reduction="none").sqrt()


BAD_SCORES = [math.nan, math.inf, -math.inf, "one inf", -120.0, 1e30, "saturated"]


@pytest.mark.parametrize("bad", BAD_SCORES)
@pytest.mark.parametrize("criterion", [generalised_cross_entropy, neighbourly, root])
@pytest.mark.parametrize("foreign", [False, True])
def test_ignored_pixels_get_exactly_no_gradient(
    bad: float | str, criterion: Any, foreign: bool
) -> None:
    data = scene(images=1, size=(5, 6), missing=0.0)
    ignored = data.target == 255
    logits = data.logits.clone()
    if bad == "one inf":
        logits[:, 1] = torch.where(ignored, math.inf, logits[:, 1])
    elif bad in ("saturated", -120.0):
        logits[:, 0] = torch.where(ignored, 120.0 if bad == "saturated" else -120.0, logits[:, 0])
    else:
        logits = torch.where(ignored[:, None], bad, logits)
    weighting: Any = lwm.LossWeightModule(ignore_index=255)
    if foreign:  # a weighting that carries a gradient of its own

        def weighting(logits: Tensor, target: Tensor, *depths: Tensor) -> Tensor:
            return generalised_cross_entropy(logits, target.clamp(max=4))

    loss = lwm.HardPixelLoss(criterion, weighting, ignore_index=255)
    logits.requires_grad_()
    value = loss(logits, *data[1:])
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert (logits.grad.movedim(1, -1)[ignored] == 0).all()
    assert (logits.grad.movedim(1, -1)[~ignored] != 0).any()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_gradient_of_a_weighting_is_spared_too(bad: float) -> None:
    data = scene()

    def unsure(logits: Tensor, *maps: Tensor) -> Tensor:
        return (1 - logits.softmax(1).amax(1)).sqrt()

    criterion = nn.CrossEntropyLoss(ignore_index=255, reduction="none")
    loss = lwm.HardPixelLoss(criterion, unsure)
    ignored = (data.target == 255).unsqueeze(1)
    spoilt = torch.where(ignored, bad, data.logits).requires_grad_()
    (grad,) = torch.autograd.grad(loss(spoilt, *data[1:]), spoilt)
    logits = data.logits.requires_grad_()
    (truth,) = torch.autograd.grad(loss(logits, *data[1:]), logits)
    assert (grad.where(ignored, 0) == 0).all()
    torch.testing.assert_close(grad, truth)


def test_a_criterion_that_looks_at_neighbours_sees_ignored_scores() -> None:
    data = scene()
    safe = torch.where(data.target == 255, 0, data.target)
    each = neighbourly(data.logits, safe)
    weight = lwm.LossWeightModule(ignore_index=255)(*data)
    by_hand = (weight * each).sum() / (data.target != 255).sum()
    weighting = lwm.LossWeightModule(ignore_index=255)
    torch.testing.assert_close(lwm.HardPixelLoss(neighbourly, weighting)(*data), by_hand)


@pytest.mark.parametrize("bad", [math.nan, math.inf, "saturated"])
def test_a_parameter_of_the_criterion_is_spared_too(bad: float | str) -> None:
    data = scene(images=1, size=(5, 6))
    temperature = torch.ones((), requires_grad=True)

    def criterion(logits: Tensor, target: Tensor) -> Tensor:
        return generalised_cross_entropy(logits * temperature, target)

    ignored = (data.target == 255)[:, None]
    if bad == "saturated":  # of the label 0, which stands for an ignored one: its slope is infinite
        score = torch.where(ignored, -120.0, data.logits[:, :1])
        logits = torch.cat([score, data.logits[:, 1:]], 1)
    else:
        logits = torch.where(ignored, bad, data.logits)
    loss = lwm.HardPixelLoss(criterion, lwm.LossWeightModule(ignore_index=255))
    loss(logits, *data[1:]).backward()
    assert temperature.grad is not None
    assert temperature.grad.isfinite()
