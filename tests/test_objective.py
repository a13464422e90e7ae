"""The whole objective: Eqs. 5 and 9."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF
from lwm_loss.testing import reference as ref
from lwm_loss.testing.strategies import Batch, batches
from tests.support import (
    Scene,
    arrays_of,
    assert_map,
    clear_of_thresholds,
    mining_of,
    scene,
    to_numpy,
    tolerance,
    weighting_of,
)


@st.composite
def mining_problems(
    draw: st.DrawFn, dtypes: tuple[torch.dtype, ...]
) -> tuple[Batch, list[Tensor], float, float, str]:
    """A batch, side outputs at other sizes, alpha, beta and the way to resize."""
    batch = draw(batches(dtypes=dtypes, max_images=2, max_pixels=30, jitter=True))
    noise = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    dims = batch.target.ndim - 1
    side_sizes = draw(
        st.lists(st.tuples(*[st.integers(1, 7 if dims == 2 else 4)] * dims), min_size=0, max_size=3)
    )
    images, classes = batch.logits.shape[:2]
    sides = [
        (4 * torch.rand((images, classes, *size), generator=noise, dtype=torch.float64) - 2).to(
            batch.logits.dtype
        )
        for size in side_sizes
    ]
    alpha = draw(st.sampled_from([0.0, 1.0, 2.5]))
    beta = draw(st.sampled_from([0.0, 0.1, 3.0]))
    return batch, sides, alpha, beta, draw(st.sampled_from(["logits", "target"]))


def unambiguous(
    batch: Batch, sides: list[Tensor], progress: float, resize: str, margin: float
) -> bool:
    """Whether no argmax and no kept pixel hangs on rounding, in the output and in the sides."""
    arrays = arrays_of(batch)
    depths = [
        ref.with_channel(depth, arrays.target)[:, 0]
        for depth in (arrays.pred_depth, arrays.target_depth)
    ]
    for scores in [batch.logits, *sides]:
        side, target, mask = to_numpy(scores), arrays.target, arrays.depth_mask
        small = depths
        if scores is not batch.logits and resize == "target":
            size = side.shape[2:]
            target = ref.resize_nearest(target, size)
            small = [ref.resize_nearest(depth, size) for depth in depths]
            mask = None if mask is None else ref.resize_nearest(mask, size)
        elif scores is not batch.logits:
            side = ref.upsample(side, target.shape[1:])
        if side.shape[1] > 1:
            best = np.sort(side, axis=1)
            if (best[:, -1] - best[:, -2]).min() < margin:
                return False
        raw = ref.depth_prediction_error(
            *(depth[:, None] for depth in small),
            normalize=False,
            depth_mask=None if mask is None else mask[:, None],
        )
        if any(0 < image.max() < 0.01 for image in raw):
            return False
        weight = ref.loss_weight(side, target, *small, mining_of(batch), depth_mask=mask).weight
        if not clear_of_thresholds(weight, progress, target != batch.ignore_index, margin):
            return False
    return True


@settings(max_examples=60)
@given(
    mining_problems((torch.float64, torch.float32)),
    st.integers(0, 4),
    st.booleans(),
    st.sampled_from(["sum", "product", "max"]),
)
def test_objective_is_the_oracles(
    problem: tuple[Batch, list[Tensor], float, float, str],
    epoch: int,
    scheduled: bool,
    fusion: str,
) -> None:
    batch, sides, alpha, beta, resize = problem
    progress = epoch / 3 if scheduled else 1.0
    double = batch.logits.dtype == torch.float64
    assume(unambiguous(batch, sides, progress, resize, 1e-9 if double else 1e-5))
    curriculum = lwm.SelfPacedCurriculum(3) if scheduled else None
    for _ in range(epoch if curriculum else 0):
        curriculum.step()
    objective = lwm.HardPixelMiningLoss(
        num_sides=len(sides),
        alpha=alpha,
        beta=beta,
        weighting=weighting_of(batch, fusion),
        curriculum=curriculum,
        ignore_index=batch.ignore_index,
        resize=resize,
    )
    terms = objective(*batch[:4], side_logits=sides, depth_mask=batch.depth_mask)
    arrays = arrays_of(batch)
    truth = ref.total_loss(
        *arrays[:4],
        [to_numpy(side) for side in sides],
        alpha=alpha,
        beta=beta,
        mining=mining_of(batch, fusion),
        progress=progress,
        resize=resize,
        depth_mask=arrays.depth_mask,
    )
    tol = tolerance(batch.logits.dtype)
    for name in ("total", "segmentation", "depth", "hard"):
        assert getattr(terms, name).item() == pytest.approx(getattr(truth, name), **tol), name
        assert getattr(terms, name).dtype == batch.logits.dtype
    assert terms.sides.shape == (len(sides),)
    np.testing.assert_allclose(terms.sides.tolist(), truth.sides, tol["rel"], tol["abs"])
    assert_map(terms.weight, truth.weight, atol=1e-10 if double else 1e-4, double=double)


def with_sides(data: Scene, count: int = 4) -> list[Tensor]:
    """Side outputs at halved, quartered, ... sizes."""
    sizes = [
        tuple(max(1, extent // 2**k) for extent in data.target.shape[1:]) for k in range(count)
    ]
    return [
        scene(
            data.logits.shape[0], data.logits.shape[1], size, data.logits.dtype, seed=9 + k
        ).logits
        for k, size in enumerate(sizes)
    ]


def test_the_defaults_are_the_papers() -> None:
    data = scene(ignore_index=-100)
    sides = with_sides(data)
    terms = lwm.HardPixelMiningLoss()(*data, side_logits=sides)
    assert terms.sides.shape == (4,)
    total = terms.segmentation + terms.depth + terms.hard + 0.1 * terms.sides.sum()
    assert terms.total.item() == pytest.approx(total.item(), rel=1e-6)
    assert terms.segmentation.item() == pytest.approx(
        F.cross_entropy(data.logits, data.target).item(), rel=1e-6
    )
    assert terms.depth.item() == pytest.approx(
        LF.log_depth_mse_loss(data.pred_depth, data.target_depth).item(), rel=1e-6
    )
    weight = lwm.LossWeightModule()(*data)
    assert torch.equal(terms.weight, weight)


def test_alpha_and_beta_have_their_own_places() -> None:
    data = scene()
    sides = with_sides(data, 2)

    def total(alpha: float, beta: float) -> float:
        objective = lwm.HardPixelMiningLoss(num_sides=2, alpha=alpha, beta=beta, ignore_index=255)
        return objective(*data, side_logits=sides).total.item()

    terms = lwm.HardPixelMiningLoss(num_sides=2, ignore_index=255)(*data, side_logits=sides)
    assert total(3.0, 0.0) - total(0.0, 0.0) == pytest.approx(3 * terms.hard.item(), rel=1e-4)
    assert total(0.0, 3.0) - total(0.0, 0.0) == pytest.approx(
        3 * terms.sides.sum().item(), rel=1e-4
    )


@pytest.mark.parametrize("resize", ["logits", "target"])
def test_each_side_has_its_own_z(resize: str) -> None:
    data = scene(size=(8, 8), missing=0.0, ignored=0.0)
    right = 9.0 * F.one_hot(data.target, 5).movedim(-1, 1).float()
    objective = lwm.HardPixelMiningLoss(
        num_sides=2,
        weighting=lwm.LossWeightModule(fusion="dse", ignore_index=255),
        ignore_index=255,
        resize=resize,
    )
    terms = objective(data.logits, *data[1:], side_logits=[right, data.logits])
    assert terms.sides[0].item() == 0.0  # nothing is wrong in this side
    assert terms.sides[1].item() == pytest.approx(terms.hard.item(), rel=1e-5)
    assert terms.hard.item() > 0.0


@pytest.mark.parametrize("resize", ["logits", "target"])
def test_a_side_like_the_output_gives_the_same_loss(resize: str) -> None:
    data = scene()
    objective = lwm.HardPixelMiningLoss(
        num_sides=1,
        ignore_index=255,
        curriculum=lwm.SelfPacedCurriculum(3),
        resize=resize,
    )
    terms = objective(*data, side_logits=[data.logits])
    assert terms.sides[0].item() == pytest.approx(terms.hard.item(), rel=1e-5)


def test_nearest_labels_at_awkward_sizes() -> None:
    # floor(i * in / out) in integers; i * (in / out) slips at sizes such as these.
    for inside, outside in ((240, 58), (240, 86), (6, 74), (9, 111), (29, 23), (7, 3), (3, 3)):
        target = torch.arange(inside).reshape(1, inside, 1)
        picked = torch.tensor([i * inside // outside for i in range(outside)])
        side = 50.0 * F.one_hot(picked, inside).t().reshape(1, inside, outside, 1).float()
        ones = torch.ones(1, inside, 1)
        objective = lwm.HardPixelMiningLoss(num_sides=1, resize="target")
        terms = objective(torch.zeros(1, inside, inside, 1), target, ones, ones, [side])
        assert terms.sides[0].item() == 0.0, (inside, outside)


@pytest.mark.parametrize("resize", ["logits", "target"])
def test_gradients_reach_what_they_should(resize: str) -> None:
    data = scene()
    logits, log_depth = data.logits.requires_grad_(), data.pred_depth.requires_grad_()
    sides = [side.requires_grad_() for side in with_sides(data)]
    objective = lwm.HardPixelMiningLoss(ignore_index=255, resize=resize)
    terms = objective(logits, data.target, log_depth, data.target_depth, side_logits=sides)
    assert terms.total.requires_grad
    for name in ("segmentation", "depth", "hard", "sides", "weight"):
        assert not getattr(terms, name).requires_grad, name
    grads = torch.autograd.grad(terms.total, [logits, log_depth, *sides])
    assert all(grad.isfinite().all() and grad.count_nonzero() for grad in grads)
    depth_alone = torch.autograd.grad(
        LF.log_depth_mse_loss(log_depth, data.target_depth), log_depth
    )
    torch.testing.assert_close(grads[1], depth_alone[0])


def test_gradient_is_that_of_the_weighted_mean() -> None:
    data = scene(dtype=torch.float64)
    logits = data.logits.requires_grad_()
    objective = lwm.HardPixelMiningLoss(num_sides=0, alpha=2.0, ignore_index=255)
    terms = objective(logits, *data[1:], side_logits=[])
    (ours,) = torch.autograd.grad(terms.total, logits)
    labelled = data.target != 255
    safe = data.target.where(labelled, torch.zeros_like(data.target))
    nll = -logits.log_softmax(1).gather(1, safe[:, None])[:, 0]
    by_hand = ((1 + 2 * terms.weight) * nll * labelled).sum() / labelled.sum()
    (truth,) = torch.autograd.grad(by_hand, logits)
    torch.testing.assert_close(ours, truth)


def test_all_ignored_objective() -> None:
    data = scene(ignored=1.1)
    logits = data.logits.requires_grad_()
    sides = [side.requires_grad_() for side in with_sides(data)]
    terms = lwm.HardPixelMiningLoss(ignore_index=255)(logits, *data[1:], side_logits=sides)
    assert terms.segmentation.item() == terms.hard.item() == 0.0
    assert terms.sides.tolist() == [0.0] * 4
    assert terms.total.item() == pytest.approx(terms.depth.item())
    grads = torch.autograd.grad(terms.total, [logits, *sides])
    assert all(torch.equal(grad, torch.zeros_like(grad)) for grad in grads)


def test_normalizers_take_the_place_of_the_counts() -> None:
    data = scene()
    sides = with_sides(data, 2)
    objective = lwm.HardPixelMiningLoss(num_sides=2, ignore_index=255)
    plain = objective(*data, side_logits=sides)
    scaled = objective(
        *data,
        side_logits=sides,
        normalizer=torch.tensor(50.0),
        depth_normalizer=torch.tensor(20.0),
    )
    labelled = int((data.target != 255).sum())
    with_depth = int((data.target_depth > 0).sum())
    for name, factor in (
        ("segmentation", labelled / 50),
        ("hard", labelled / 50),
        ("sides", labelled / 50),
        ("depth", with_depth / 20),
    ):
        torch.testing.assert_close(getattr(scaled, name), getattr(plain, name) * factor)


def test_a_normalizer_is_shared_out_to_smaller_sides() -> None:
    # A side with a quarter of the pixels divides by a quarter of what the output divides by.
    data = scene(size=(8, 12), ignored=0.0)
    side = scene(size=(4, 6), seed=3).logits
    objective = lwm.HardPixelMiningLoss(num_sides=1, ignore_index=255, resize="target")
    plain = objective(*data, side_logits=[side])
    same = objective(*data, side_logits=[side], normalizer=float(data.target.numel()))
    torch.testing.assert_close(same.sides, plain.sides)
    twice = objective(*data, side_logits=[side], normalizer=2.0 * data.target.numel())
    torch.testing.assert_close(twice.sides, plain.sides / 2)


def test_a_criterion_of_ones_own() -> None:
    data = scene()
    criterion = nn.CrossEntropyLoss(ignore_index=255, reduction="none", label_smoothing=0.1)
    objective = lwm.HardPixelMiningLoss(num_sides=0, criterion=criterion, ignore_index=255)
    terms = objective(*data, side_logits=[])
    truth = ref.total_loss(
        *(to_numpy(tensor) for tensor in data),
        mining=ref.Mining(ignore_index=255),
        label_smoothing=0.1,
    )
    assert terms.segmentation.item() == pytest.approx(truth.segmentation, rel=1e-5)
    assert terms.hard.item() == pytest.approx(truth.hard, rel=1e-5)


def test_a_rival_in_the_weightings_place() -> None:
    data = scene()
    weighting = lwm.FocalWeighting(ignore_index=255)
    terms = lwm.HardPixelMiningLoss(num_sides=0, weighting=weighting, ignore_index=255)(*data)
    truth = ref.focal_weight(to_numpy(data.logits), data.target.numpy(), 2.0, 255)
    assert_map(terms.weight, truth, atol=1e-6)


class Rubbish(nn.Module):
    """A weighting that says nothing sensible where there is no label."""

    def forward(self, logits: Tensor, target: Tensor, *depths: Tensor) -> Tensor:
        return torch.where(target == 255, math.nan, 0.5)


@pytest.mark.parametrize("curriculum", [None, lwm.SelfPacedCurriculum(3)])
def test_what_a_weighting_says_of_ignored_pixels_is_not_used(
    curriculum: lwm.SelfPacedCurriculum | None,
) -> None:
    data = scene()
    objective = lwm.HardPixelMiningLoss(
        num_sides=0, weighting=Rubbish(), curriculum=curriculum, ignore_index=255
    )
    terms = objective(*data)
    kept = 0.0 if curriculum else 0.5  # a constant map lies on its threshold, not below it
    assert terms.weight.unique().tolist() == sorted({0.0, kept})
    torch.testing.assert_close(terms.hard, kept * terms.segmentation)


def test_curriculum_of_the_objective_applies_to_every_map() -> None:
    data = scene()
    curriculum = lwm.SelfPacedCurriculum(2)
    objective = lwm.HardPixelMiningLoss(num_sides=1, curriculum=curriculum, ignore_index=255)
    first = objective(*data, side_logits=[data.logits])
    curriculum.step()
    second = objective(*data, side_logits=[data.logits])
    curriculum.step()
    third = objective(*data, side_logits=[data.logits])
    assert first.hard < second.hard < third.hard
    assert first.sides[0] < second.sides[0] < third.sides[0]
    assert first.segmentation == third.segmentation
    assert torch.equal(third.weight, lwm.LossWeightModule(ignore_index=255)(*data))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_large_batch_by_plain_torch(dtype: torch.dtype, smoothing: float) -> None:
    # Far more pixels than fit one block of any implementation, at sizes that divide by nothing.
    data = scene(images=2, classes=21, size=(191, 307), dtype=dtype)
    logits = data.logits.requires_grad_()
    side = scene(images=2, classes=21, size=(48, 77), dtype=dtype, seed=4).logits.requires_grad_()
    class_weight = torch.linspace(0.5, 2.0, 21, dtype=dtype)
    options = {"weight": class_weight, "ignore_index": 255, "label_smoothing": smoothing}
    weighting = lwm.LossWeightModule(ignore_index=255)
    objective = lwm.HardPixelMiningLoss(
        num_sides=1,
        alpha=2.0,
        beta=0.5,
        weighting=weighting,
        criterion=nn.CrossEntropyLoss(reduction="none", **options),
        ignore_index=255,
    )
    terms = objective(logits, *data[1:], side_logits=[side])
    large = F.interpolate(side, (191, 307), mode="bilinear", align_corners=False)
    count = class_weight[data.target[data.target != 255]].sum()

    def by_hand(scores: Tensor, plain: float) -> Tensor:
        each = F.cross_entropy(scores, data.target, reduction="none", **options)
        return ((plain + weighting(scores, *data[1:])) * each).sum() / count

    truth = by_hand(logits, 0.0) * 2.0 + by_hand(large, 0.0) * 0.5 + terms.depth
    truth = truth + by_hand(logits, 1.0) - by_hand(logits, 0.0)
    tol = {"rtol": 1e-4, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(terms.total, truth, **tol)
    ours = torch.autograd.grad(terms.total, (logits, side))
    theirs = torch.autograd.grad(truth, (logits, side))
    scale = 1 / float(count)
    for one, other in zip(ours, theirs, strict=True):
        atol = 1e-3 * scale if dtype == torch.float32 else 1e-9 * scale
        torch.testing.assert_close(one, other, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0.0, -2.0])
def test_bad_target_depth_is_missing_depth(bad: float) -> None:
    data = scene(images=1, size=(4, 5), missing=0.0)
    depth = data.target_depth.clone()
    depth[0, 1] = bad
    missing = torch.where(depth == depth[0, 1, 0], 0.0, depth).where(depth.isfinite(), 0.0)
    missing[0, 1] = 0.0
    logits = data.logits.requires_grad_()
    log_depth = data.pred_depth.requires_grad_()
    objective = lwm.HardPixelMiningLoss(num_sides=1, ignore_index=255)
    results = []
    for target_depth in (depth, missing):
        terms = objective(logits, data.target, log_depth, target_depth, [logits[..., ::2, ::2]])
        grads = torch.autograd.grad(terms.total, (logits, log_depth))
        assert all(grad.isfinite().all() for grad in grads)
        results.append((terms.total, *grads))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_no_depth_at_all_leaves_the_plain_loss() -> None:
    data = scene(missing=1.1)
    assert data.target_depth.count_nonzero() == 0
    log_depth = data.pred_depth.requires_grad_()
    terms = lwm.HardPixelMiningLoss(num_sides=0, ignore_index=255)(
        data.logits.requires_grad_(), data.target, log_depth, data.target_depth
    )
    plain = F.cross_entropy(data.logits, data.target, ignore_index=255)
    assert terms.depth.item() == terms.hard.item() == 0.0
    assert terms.total.item() == pytest.approx(plain.item(), rel=1e-6)
    terms.total.backward()
    assert log_depth.grad is not None
    assert log_depth.grad.count_nonzero() == 0


@pytest.mark.slow
def test_objective_gradcheck() -> None:
    data = scene(images=1, classes=3, size=(3, 4), dtype=torch.float64)
    objective = lwm.HardPixelMiningLoss(num_sides=1, alpha=0.0, beta=0.5, ignore_index=255)
    side = scene(images=1, classes=3, size=(2, 2), dtype=torch.float64, seed=5).logits

    def by_logits(logits: Tensor, side: Tensor) -> Tensor:
        tensors = (data.target, data.pred_depth, data.target_depth)
        return objective(logits, *tensors, side_logits=[side]).total

    inputs = (data.logits.requires_grad_(), side.requires_grad_())
    assert torch.autograd.gradcheck(by_logits, inputs)
    assert torch.autograd.gradgradcheck(by_logits, inputs)


def test_scalars_can_be_logged() -> None:
    data = scene()
    for sides in ([], with_sides(data, 2)):
        terms = lwm.HardPixelMiningLoss(len(sides), ignore_index=255)(
            data.logits.clone().requires_grad_(), *data[1:], side_logits=sides
        )
        scalars = terms.scalars()
        assert list(scalars) == ["total", "segmentation", "depth", "hard", "sides"]
        assert all(value.shape == () and not value.requires_grad for value in scalars.values())
        assert scalars["total"] == terms.total
        torch.testing.assert_close(scalars["sides"], terms.sides.sum())


@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize("log_input", [True, False])
def test_upsample_logits_brings_the_predicted_depth_too(channel: bool, log_input: bool) -> None:
    data = scene(size=(12, 16))
    small = scene(size=(3, 4), seed=3)
    log_depth = torch.where(small.target_depth > 0, small.target_depth, 1).log().requires_grad_()
    predicted = log_depth if log_input else log_depth.exp()
    large = F.interpolate(predicted[:, None], (12, 16), mode="bilinear", align_corners=False)
    weighting = lwm.LossWeightModule(ignore_index=255, log_input=log_input)
    options = {"weighting": weighting, "upsample_logits": True}
    objective = lwm.HardPixelMiningLoss(0, **options)
    given = predicted[:, None] if channel else predicted
    ours = objective(small.logits, data.target, given, data.target_depth)
    truth = objective(small.logits, data.target, large, data.target_depth)
    torch.testing.assert_close(ours.total, truth.total)
    (grad,) = torch.autograd.grad(ours.total, log_depth, retain_graph=True)
    (expected,) = torch.autograd.grad(truth.total, log_depth)
    torch.testing.assert_close(grad, expected)


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (0, 0)])
@pytest.mark.parametrize("resize", ["logits", "target"])
def test_a_size_of_zero_is_an_empty_batch(size: tuple[int, int], resize: str) -> None:
    logits = torch.zeros(2, 3, *size, requires_grad=True)
    side = torch.zeros(2, 3, 2, 2, requires_grad=True)
    log_depth = torch.zeros(2, *size, requires_grad=True)
    target, depth = torch.zeros(2, *size, dtype=torch.long), torch.zeros(2, *size)
    rivals = (lwm.OHEMWeighting(), lwm.FocalWeighting(), lwm.LossMaxPoolingWeighting())
    errors = [lwm.LossWeightModule(error=error) for error in ("probability", "loss")]
    for weighting in (None, *rivals, *errors, lwm.LossWeightModule(cells="pixel")):
        objective = lwm.HardPixelMiningLoss(
            1, weighting=weighting, curriculum=lwm.SelfPacedCurriculum(2), resize=resize
        )
        # Of no pixels an encoder's coarser maps have none either.
        for scores in (side, side[:, :, :0]):
            terms = objective(logits, target, log_depth, depth, [scores])
            assert terms.total == 0
            assert terms.weight.shape == (2, *size)
            grads = torch.autograd.grad(terms.total, (logits, log_depth, side))
            assert all(grad.count_nonzero() == 0 for grad in grads)
    assert LF.depth_prediction_error(log_depth, depth).shape == (2, *size)
    assert LF.curriculum_threshold(depth, 0.5).tolist() == [0.0, 0.0]
    assert lwm.validate(logits, target, log_depth, depth).labelled == 0.0
