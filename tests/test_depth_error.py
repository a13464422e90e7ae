"""R, L_d and the rescaling of metres, against the loops of the oracle."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lwm_loss as lwm
import lwm_loss.functional as LF
from lwm_loss.testing import reference as ref
from lwm_loss.testing.strategies import Batch, batches, depths
from tests.support import arrays_of, assert_map, scene, smallest_peak, to_numpy, tolerance

LOW_AND_HIGH = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
BAD_DEPTHS = [0.0, -3.0, math.nan, math.inf, -math.inf]


@given(batches(dtypes=LOW_AND_HIGH))
def test_dpe_is_the_oracles(batch: Batch) -> None:
    arrays = arrays_of(batch)
    double = batch.pred_depth.dtype == torch.float64
    mask = {"depth_mask": batch.depth_mask}
    raw = LF.depth_prediction_error(batch.pred_depth, batch.target_depth, normalize=False, **mask)
    truth = ref.depth_prediction_error(
        arrays.pred_depth, arrays.target_depth, normalize=False, depth_mask=arrays.depth_mask
    )
    assert_map(raw, truth, atol=1e-12 if double else 1e-6, double=double)
    ours = LF.depth_prediction_error(batch.pred_depth, batch.target_depth, **mask)
    truth = ref.depth_prediction_error(
        arrays.pred_depth, arrays.target_depth, depth_mask=arrays.depth_mask
    )
    atol = (1e-14 if double else 2e-6) / smallest_peak(batch)
    assert_map(ours, truth, atol=atol, double=double)
    assert ours.shape == batch.target.shape


@given(batches())
def test_dpe_of_plain_depth(batch: Batch) -> None:
    arrays = arrays_of(batch)
    metric = batch.pred_depth.exp()
    ours = LF.depth_prediction_error(metric, batch.target_depth, log_input=False, normalize=False)
    truth = ref.depth_prediction_error(
        to_numpy(metric), arrays.target_depth, log_input=False, normalize=False
    )
    assert_map(ours, truth, atol=1e-6)


@given(batches(dtypes=LOW_AND_HIGH))
def test_depth_loss_is_the_oracles(batch: Batch) -> None:
    arrays = arrays_of(batch)
    tensors, mask = (batch.pred_depth, batch.target_depth), {"depth_mask": batch.depth_mask}
    truth = ref.log_depth_mse(arrays.pred_depth, arrays.target_depth, depth_mask=arrays.depth_mask)
    tol = tolerance(batch.pred_depth.dtype)
    ours = LF.log_depth_mse_loss(*tensors, **mask)
    assert ours.shape == ()
    assert ours.item() == pytest.approx(truth, **tol)
    signed = ref.log_depth_error(
        arrays.pred_depth, arrays.target_depth, depth_mask=arrays.depth_mask
    )
    assert LF.log_depth_mse_loss(*tensors, **mask, reduction="sum").item() == pytest.approx(
        float((signed**2).sum()), **tol
    )
    assert_map(LF.log_depth_mse_loss(*tensors, **mask, reduction="none"), signed**2, atol=1e-5)


def test_depth_loss_of_plain_depth() -> None:
    depth = torch.tensor([[[1.0, 2.0, 0.0]]])
    metric = torch.tensor([[[math.e, 2.0, -5.0]]], requires_grad=True)
    loss = LF.log_depth_mse_loss(metric, depth, log_input=False)
    assert loss.item() == pytest.approx(0.5)
    (gradient,) = torch.autograd.grad(loss, metric)
    assert gradient.flatten().tolist() == pytest.approx([1 / math.e, 0.0, 0.0])


def test_depth_loss_averages_over_the_batch_not_over_images() -> None:
    depth = torch.tensor([[[1.0, 1.0, 1.0]], [[1.0, 0.0, 0.0]]])
    log_depth = torch.tensor([[[0.0, 0.0, 0.0]], [[2.0, 9.0, 9.0]]])
    assert LF.log_depth_mse_loss(log_depth, depth).item() == pytest.approx(1.0)


@pytest.mark.parametrize("bad", BAD_DEPTHS)
@pytest.mark.parametrize("log_input", [True, False])
def test_missing_depth_never_reaches_a_gradient(bad: float, log_input: bool) -> None:
    depth = torch.tensor([[[bad, 2.0, 3.0]]], requires_grad=True)
    log_depth = torch.tensor([[[0.5, 0.25, 2.0]]], requires_grad=True)
    loss = LF.log_depth_mse_loss(log_depth, depth, log_input=log_input)
    loss.backward()
    assert loss.isfinite()
    assert log_depth.grad is not None
    assert log_depth.grad.isfinite().all()
    assert log_depth.grad[0, 0, 0] == 0.0
    assert (log_depth.grad[0, 0, 1:] != 0.0).all()
    if depth.grad is not None:
        assert depth.grad.isfinite().all()


@pytest.mark.parametrize("bad", BAD_DEPTHS)
def test_missing_depth_is_not_looked_at(bad: float) -> None:
    depth = torch.tensor([[[bad, 2.0, 3.0]]])
    log_depth = torch.tensor([[[0.5, 0.25, 2.0]]])
    zero = torch.tensor([[[0.0, 2.0, 3.0]]])
    for function in (LF.depth_prediction_error, LF.log_depth_mse_loss):
        assert torch.equal(function(log_depth, depth), function(log_depth, zero))
    assert LF.depth_prediction_error(log_depth, depth)[0, 0, 0] == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 0.0])
def test_predictions_at_missing_depth_do_not_matter(bad: float) -> None:
    depth = torch.tensor([[[0.0, 2.0, 3.0]]])
    metric = torch.tensor([[[bad, 1.0, 2.0]]], requires_grad=True)
    loss = LF.log_depth_mse_loss(metric, depth, log_input=False)
    loss.backward()
    assert loss.isfinite()
    assert metric.grad is not None
    assert metric.grad.isfinite().all()
    r = LF.depth_prediction_error(metric, depth, log_input=False)
    assert r[0, 0, 0] == 0.0
    assert r.max() == 1.0


def test_nan_prediction_stays_visible() -> None:
    depth, log_depth = torch.ones(1, 2, 2), torch.zeros(1, 2, 2)
    log_depth[0, 1, 1] = math.nan
    assert LF.depth_prediction_error(log_depth, depth)[0, 1, 1].isnan()
    assert LF.log_depth_mse_loss(log_depth, depth).isnan()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_without_depth(dtype: torch.dtype) -> None:
    log_depth = torch.ones(2, 3, 3, dtype=dtype, requires_grad=True)
    depth = torch.zeros(2, 3, 3, dtype=dtype)
    assert LF.depth_prediction_error(log_depth, depth).count_nonzero() == 0
    for reduction in ("mean", "sum"):
        loss = LF.log_depth_mse_loss(log_depth, depth, reduction=reduction)
        assert loss.item() == 0.0
        (gradient,) = torch.autograd.grad(loss, log_depth)
        assert gradient.count_nonzero() == 0


def test_perfect_depth_gives_zero_weight() -> None:
    depth = torch.full((1, 2, 3), 1.0)
    r = LF.depth_prediction_error(torch.zeros(1, 2, 3), depth)
    assert torch.equal(r, torch.zeros(1, 2, 3))


def test_each_image_is_divided_by_its_own_maximum() -> None:
    depth = torch.ones(2, 1, 2)
    r = LF.depth_prediction_error(torch.tensor([[[1.0, 2.0]], [[10.0, 40.0]]]), depth)
    assert r.tolist() == [[[0.5, 1.0]], [[0.25, 1.0]]]


def test_the_maximum_is_taken_inside_the_mask() -> None:
    depth, mask = torch.ones(1, 1, 3), torch.tensor([[[True, True, False]]])
    r = LF.depth_prediction_error(torch.tensor([[[1.0, -2.0, 9.0]]]), depth, depth_mask=mask)
    assert r.tolist() == [[[0.5, 1.0, 0.0]]]


def test_dpe_carries_no_gradient() -> None:
    log_depth = torch.rand(1, 3, 3, requires_grad=True)
    assert not LF.depth_prediction_error(log_depth, torch.ones(1, 3, 3)).requires_grad
    assert not lwm.DepthPredictionError()(log_depth, torch.ones(1, 3, 3)).requires_grad


def test_depth_loss_gradcheck() -> None:
    log_depth = torch.rand(2, 3, 2, dtype=torch.float64, requires_grad=True)
    depth = torch.tensor([1.0, 2.0, 0.0, math.nan, 9.0, 200.0], dtype=torch.float64)

    def loss(value: Tensor) -> Tensor:
        return LF.log_depth_mse_loss(value, depth.reshape(1, 3, 2).expand(2, 3, 2))

    assert torch.autograd.gradcheck(loss, (log_depth,))
    assert torch.autograd.gradgradcheck(loss, (log_depth,))


@pytest.mark.parametrize("pred_channel", [False, True])
@pytest.mark.parametrize("target_channel", [False, True])
@pytest.mark.parametrize("size", [(4, 5), (3, 4, 5)])
def test_a_channel_axis_of_one_is_the_same(
    pred_channel: bool, target_channel: bool, size: tuple[int, ...]
) -> None:
    data = scene(size=size)
    pred = data.pred_depth.unsqueeze(1) if pred_channel else data.pred_depth
    depth = data.target_depth.unsqueeze(1) if target_channel else data.target_depth
    for function in (LF.depth_prediction_error, LF.log_depth_mse_loss):
        assert torch.equal(function(pred, depth), function(data.pred_depth, data.target_depth))


@given(batches())
def test_modules_are_the_functions(batch: Batch) -> None:
    pred, depth, mask = batch.pred_depth, batch.target_depth, batch.depth_mask
    for normalize in (True, False):
        assert torch.equal(
            lwm.DepthPredictionError(normalize=normalize)(pred, depth, depth_mask=mask),
            LF.depth_prediction_error(pred, depth, normalize=normalize, depth_mask=mask),
        )
    for reduction in ("mean", "sum", "none"):
        assert torch.equal(
            lwm.LogDepthMSELoss(reduction=reduction)(pred, depth, depth_mask=mask),
            LF.log_depth_mse_loss(pred, depth, reduction=reduction, depth_mask=mask),
        )
    metric = pred.exp()
    assert torch.equal(
        lwm.DepthPredictionError(log_input=False)(metric, depth),
        LF.depth_prediction_error(metric, depth, log_input=False),
    )
    assert torch.equal(
        lwm.LogDepthMSELoss(log_input=False)(metric, depth),
        LF.log_depth_mse_loss(metric, depth, log_input=False),
    )


@given(
    depths((2, 3, 4), bin_size=1.0, depth_range=(0.5, 8.0), dtype=torch.float64),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([4.0, 8.0, 10.0]),
    st.sampled_from([(1.0, 256.0), (2.0, 3.0)]),
)
def test_rescaling_is_the_oracles(
    metres: Tensor, near: float, far: float, depth_range: tuple[float, float]
) -> None:
    ours = LF.rescale_depth(metres, near, far, depth_range=depth_range)
    assert_map(ours, ref.rescale_depth(metres.numpy(), near, far, depth_range), atol=1e-12)
    narrow = LF.rescale_depth(metres.float(), near, far, depth_range=depth_range)
    assert narrow.dtype == torch.float32
    assert_map(narrow, ref.rescale_depth(metres.numpy(), near, far, depth_range), atol=1e-4)


def test_rescaled_depth_is_at_least_one() -> None:
    levels = LF.rescale_depth(torch.tensor([0.1, 0.5, 10.0, 80.0]), near=0.5, far=10.0)
    assert levels.tolist() == [1.0, 1.0, 256.0, 256.0]


def test_depth_beyond_near_and_far_can_be_missing() -> None:
    metres = torch.tensor([0.4, 0.5, 5.25, 10.0, 10.1, 0.0, torch.nan])
    clamped = LF.rescale_depth(metres, 0.5, 10.0)
    assert clamped.tolist() == [1.0, 1.0, 128.5, 256.0, 256.0, 0.0, 0.0]
    gone = LF.rescale_depth(metres, 0.5, 10.0, beyond="missing")
    assert gone.tolist() == [0.0, 1.0, 128.5, 256.0, 0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match=r"`beyond`.*'clamp', 'missing'.*'drop'"):
        LF.rescale_depth(metres, 0.5, 10.0, beyond="drop")  # type: ignore[arg-type]


@pytest.mark.parametrize("far", [float("inf"), float("nan")])
def test_far_is_finite(far: float) -> None:
    with pytest.raises(ValueError, match=r"`far` to be finite"):
        LF.rescale_depth(torch.ones(2), 0.5, far)


@pytest.mark.parametrize("function", [LF.depth_prediction_error, LF.log_depth_mse_loss])
def test_plain_depth_under_vmap_is_not_read(function: Callable[..., Tensor]) -> None:
    depth = torch.tensor([[[2.0, 3.0]], [[5.0, 0.0]]])
    predicted = torch.tensor([[[1.0, 3.0]], [[4.0, 1.0]]])

    def one(predicted: Tensor, depth: Tensor) -> Tensor:
        return function(predicted[None], depth[None], log_input=False)

    mapped = torch.func.vmap(one)(predicted, depth)
    alone = torch.stack([one(*pair) for pair in zip(predicted, depth, strict=True)])
    torch.testing.assert_close(mapped, alone)


def test_depth_to_rescale_is_a_tensor() -> None:
    with pytest.raises(TypeError, match=r"Expected `depth` to be a torch\.Tensor, but got list"):
        LF.rescale_depth([1.0], 0.5, 10.0)
