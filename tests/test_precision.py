"""Half precision, autocast and memory layouts: the answer is that of float32 or better."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF
from lwm_loss.testing.strategies import Batch, batches
from tests.support import Scene, scene, smallest_peak, weighting_of

HALVES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
WIDTH = 512


def criterion() -> nn.CrossEntropyLoss:
    """Cross-entropy by pixel, ignoring 255."""
    return nn.CrossEntropyLoss(ignore_index=255, reduction="none")


def loss() -> lwm.HardPixelLoss:
    """Cross-entropy under the default weighting."""
    return lwm.HardPixelLoss(criterion(), lwm.LossWeightModule(ignore_index=255))


def widened(data: Scene) -> Scene:
    """The very same numbers in float64."""
    return Scene(
        data.logits.double(), data.target, data.pred_depth.double(), data.target_depth.double()
    )


def plain_torch(data: Scene) -> Tensor:
    """L_h as plain torch gives it when everything stays in the dtype of the logits."""
    weight = lwm.LossWeightModule(ignore_index=255)(*data).to(data.logits.dtype)
    each = F.cross_entropy(data.logits, data.target, ignore_index=255, reduction="none")
    return (weight * each).sum() / (data.target != 255).sum().to(data.logits.dtype)


@HALVES
@pytest.mark.parametrize("seed", range(5))
def test_no_further_from_the_truth_than_plain_torch(dtype: torch.dtype, seed: int) -> None:
    data = scene(dtype=dtype, seed=seed, size=(32, 40))
    truth = loss()(*widened(data)).item()
    ours = loss()(*data)
    assert ours.dtype == torch.float32
    plain = plain_torch(data).item()
    assert abs(truth - ours.item()) <= abs(truth - plain) + 1e-6 * abs(truth)
    # Not merely as good as half precision: all arithmetic is float32.
    assert ours.item() == pytest.approx(truth, rel=1e-5)


@HALVES
def test_gradients_no_further_from_the_truth_than_plain_torch(dtype: torch.dtype) -> None:
    data = scene(dtype=dtype, size=(16, 20))
    wide = widened(data)
    (truth,) = torch.autograd.grad(loss()(wide.logits.requires_grad_(), *wide[1:]), wide.logits)
    data.logits.requires_grad_()
    (ours,) = torch.autograd.grad(loss()(*data), data.logits)
    (plain,) = torch.autograd.grad(plain_torch(data), data.logits)
    assert ours.dtype == dtype
    eps = torch.finfo(dtype).eps
    mistake = (ours.double() - truth).abs()
    assert (mistake <= (plain.double() - truth).abs() + eps * truth.abs() + 1e-7).all()


@HALVES
def test_every_term_of_the_objective(dtype: torch.dtype) -> None:
    data = scene(dtype=dtype, size=(32, 40))
    sides = [scene(dtype=dtype, size=(16, 20), seed=3).logits, data.logits]
    objective = lwm.HardPixelMiningLoss(num_sides=2, ignore_index=255)
    ours = objective(*data, side_logits=sides)
    truth = objective(*widened(data), side_logits=[side.double() for side in sides])
    for name in ("total", "segmentation", "depth", "hard"):
        assert getattr(ours, name).dtype == torch.float32
        assert getattr(ours, name).item() == pytest.approx(getattr(truth, name).item(), rel=1e-4)
    assert ours.sides[1].item() == pytest.approx(truth.sides[1].item(), rel=1e-4)
    # The first side is upsampled, and its argmax may turn on rounding; not by much.
    assert ours.sides[0].item() == pytest.approx(truth.sides[0].item(), rel=2e-2)


@settings(max_examples=50)
@given(batches(dtypes=(torch.float16, torch.bfloat16)))
def test_half_maps_are_those_of_the_same_numbers_in_float32(batch: Batch) -> None:
    weighting = weighting_of(batch)
    half = weighting.maps(*batch[:4])
    wide = weighting.maps(
        batch.logits.float(), batch.target, batch.pred_depth.float(), batch.target_depth.float()
    )
    for one, other in zip(half, wide, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6 / smallest_peak(batch))


@HALVES
def test_sums_and_counts_beyond_the_range_of_a_half(dtype: torch.dtype) -> None:
    # 262,144 labelled pixels with depth; a float16 count ends at 65,504, a bfloat16 one at 256.
    logits = torch.zeros(1, 2, WIDTH, WIDTH, dtype=dtype, requires_grad=True)
    target = torch.ones(1, WIDTH, WIDTH, dtype=torch.long)
    depth = torch.ones(1, WIDTH, WIDTH, dtype=dtype)
    log_depth = torch.full((1, WIDTH, WIDTH), 2.0, dtype=dtype, requires_grad=True)
    terms = lwm.HardPixelMiningLoss(num_sides=1, ignore_index=255)(
        logits, target, log_depth, depth, side_logits=[logits]
    )
    log2 = 0.6931472
    assert terms.segmentation.item() == pytest.approx(log2, rel=1e-5)
    assert terms.hard.item() == pytest.approx(2 * log2, rel=1e-5)
    assert terms.sides.tolist() == pytest.approx([2 * log2], rel=1e-5)
    assert terms.depth.item() == pytest.approx(4.0, rel=1e-5)
    terms.total.backward()
    assert logits.grad is not None
    assert log_depth.grad is not None
    assert logits.grad.isfinite().all()
    assert log_depth.grad.isfinite().all()
    # 2 x 2 / 262,144 = 1.5e-5 is still a number in half precision.
    assert log_depth.grad.mean().item() == pytest.approx(2 * 2 / WIDTH**2, rel=1e-2)


@HALVES
def test_rivals_beyond_the_range_of_a_half(dtype: torch.dtype) -> None:
    logits = torch.zeros(1, 2, WIDTH, WIDTH, dtype=dtype)
    target = torch.ones(1, WIDTH, WIDTH, dtype=torch.long)
    for weighting, weight in (
        (lwm.OHEMWeighting(), 1.0),
        (lwm.FocalWeighting(), 0.25),
        (lwm.LossMaxPoolingWeighting(), None),
    ):
        value = lwm.HardPixelLoss(criterion(), weighting, ignore_index=255)(logits, target)
        assert value.isfinite()
        if weight is not None:
            assert value.item() == pytest.approx(weight * 0.6931472, rel=1e-5)


@HALVES
def test_curriculum_in_half_precision(dtype: torch.dtype) -> None:
    data = scene(dtype=dtype)
    weighting = lwm.LossWeightModule(ignore_index=255)
    curriculum = lwm.SelfPacedCurriculum(3)
    hard = lwm.HardPixelLoss(criterion(), weighting, curriculum)
    for _ in range(5):
        assert hard(*data).item() == pytest.approx(hard(*widened(data)).item(), rel=1e-4)
        curriculum.step()


@HALVES
def test_autocast_changes_nothing(dtype: torch.dtype) -> None:
    data = scene()
    sides = [scene(size=(6, 8), seed=3).logits]
    objective = lwm.HardPixelMiningLoss(
        num_sides=1, ignore_index=255, curriculum=lwm.SelfPacedCurriculum(2)
    )
    plain = objective(*data, side_logits=sides)
    with torch.autocast("cpu", dtype=dtype):
        cast = objective(*data, side_logits=sides)
        wrapped = loss()(*data)
    for one, other in zip(plain, cast, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(wrapped, loss()(*data))


@HALVES
def test_a_network_under_autocast_trains(dtype: torch.dtype) -> None:
    data = scene()
    net = nn.Conv2d(3, 6, 1)
    images = torch.randn(2, 3, 13, 17)
    with torch.autocast("cpu", dtype=dtype):
        out = net(images)
        assert out.dtype == dtype
        value = lwm.HardPixelMiningLoss(num_sides=0, ignore_index=255)(
            out[:, :5], data.target, out[:, 5], data.target_depth
        ).total
    value.backward()
    assert value.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_float64_stays_float64() -> None:
    data = scene(dtype=torch.float64)
    maps = lwm.LossWeightModule(ignore_index=255).maps(*data)
    assert {map_.dtype for map_ in maps} == {torch.float64}
    assert loss()(*data).dtype == torch.float64
    # A truth that float32 could not tell from 1.
    log_depth = torch.tensor([[[1.0, 1.0 + 1e-12]]], dtype=torch.float64)
    ones = torch.ones(1, 1, 2, dtype=torch.float64)
    assert LF.depth_prediction_error(log_depth, ones)[0, 0, 0] < 1.0


def test_mixed_dtypes_of_the_inputs() -> None:
    data = scene()
    half = data._replace(logits=data.logits.half())
    expected = loss()(half.logits.float(), *data[1:])
    torch.testing.assert_close(loss()(*half), expected)


@pytest.mark.parametrize("size", [(13, 17), (4, 6, 5)])
def test_channels_last(size: tuple[int, ...]) -> None:
    data = scene(size=size)
    layout = torch.channels_last if len(size) == 2 else torch.channels_last_3d
    objective = lwm.HardPixelMiningLoss(num_sides=1, ignore_index=255)
    results = []
    for logits in (data.logits, data.logits.to(memory_format=layout)):
        logits = logits.detach().requires_grad_()
        total = objective(logits, *data[1:], side_logits=[logits[..., ::2]]).total
        results.append((total, torch.autograd.grad(total, logits)[0]))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


def awkward(tensor: Tensor) -> Tensor:
    """The same values behind strange strides."""
    wide = torch.full((*tensor.shape[:-1], 2 * tensor.shape[-1] + 3), 99).to(tensor.dtype)
    view = wide[..., 2::2][..., : tensor.shape[-1]]
    view.copy_(tensor)
    return view.transpose(-1, -2).contiguous().transpose(-1, -2)[:]


@pytest.mark.slow
@settings(max_examples=40)
@given(batches())
def test_views_are_as_good_as_tensors(batch: Batch) -> None:
    criterion = nn.CrossEntropyLoss(ignore_index=batch.ignore_index, reduction="none")
    hard = lwm.HardPixelLoss(criterion, weighting_of(batch))
    views = [awkward(tensor) for tensor in batch[:4]]
    torch.testing.assert_close(hard(*views), hard(*batch[:4]))
    strided = [torch.stack([tensor, tensor], -1)[..., 0] for tensor in batch[:4]]
    torch.testing.assert_close(hard(*strided), hard(*batch[:4]))
    expanded = [tensor[:1].expand(3, *tensor.shape[1:]) for tensor in batch[:4]]
    torch.testing.assert_close(hard(*expanded), hard(*(tensor[:1] for tensor in batch[:4])))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_any_integer_dtype_of_labels(dtype: torch.dtype) -> None:
    data = scene(ignore_index=100)
    hard = lwm.HardPixelLoss(
        nn.CrossEntropyLoss(ignore_index=100, reduction="none"),
        lwm.LossWeightModule(ignore_index=100),
    )
    typed = data._replace(target=data.target.to(dtype))
    assert torch.equal(hard(*typed), hard(*data))
    objective = lwm.HardPixelMiningLoss(num_sides=1, ignore_index=100, resize="target")
    sides = [data.logits[..., ::2, ::2]]
    assert torch.equal(
        objective(*typed, side_logits=sides).total, objective(*data, side_logits=sides).total
    )
    for rival in (lwm.OHEMWeighting, lwm.FocalWeighting, lwm.LossMaxPoolingWeighting):
        weighting = rival(ignore_index=100)
        assert torch.equal(weighting(*typed[:2]), weighting(*data[:2]))


def test_unsigned_labels_with_255() -> None:
    data = scene()
    assert torch.equal(loss()(*data._replace(target=data.target.byte())), loss()(*data))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 1, 1)])
def test_the_smallest_images(size: tuple[int, ...]) -> None:
    data = scene(images=1, size=size, ignored=0.0, missing=0.0)
    logits = data.logits.requires_grad_()
    terms = lwm.HardPixelMiningLoss(num_sides=1, ignore_index=255)(
        logits, *data[1:], side_logits=[logits[..., :1]]
    )
    terms.total.backward()
    assert terms.total.isfinite()
    assert terms.total > 0


def test_deterministic_algorithms() -> None:
    data = scene()
    logits = data.logits.requires_grad_()
    torch.use_deterministic_algorithms(True)
    try:
        total = lwm.HardPixelMiningLoss(
            num_sides=0, ignore_index=255, curriculum=lwm.SelfPacedCurriculum(2)
        )(logits, *data[1:]).total
        total.backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert total.isfinite()
