"""What must hold between two calls, whatever the right answer is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF
from lwm_loss.testing.strategies import Batch, batches
from tests.support import scene, weighting_of

DOUBLE = (torch.float64,)


def loss_of(batch: Batch, curriculum: lwm.SelfPacedCurriculum | None = None) -> lwm.HardPixelLoss:
    """Cross-entropy under the batch's weighting."""
    criterion = nn.CrossEntropyLoss(ignore_index=batch.ignore_index, reduction="none")
    return lwm.HardPixelLoss(criterion, weighting_of(batch), curriculum)


def objective_of(
    batch: Batch, num_sides: int = 0, curriculum: lwm.SelfPacedCurriculum | None = None
) -> lwm.HardPixelMiningLoss:
    """The objective with the batch's weighting."""
    return lwm.HardPixelMiningLoss(
        num_sides,
        weighting=weighting_of(batch),
        curriculum=curriculum,
        ignore_index=batch.ignore_index,
    )


@given(batches(dtypes=DOUBLE), st.randoms(use_true_random=False))
def test_permuting_the_batch(batch: Batch, shuffler: object) -> None:
    order = list(range(batch.target.shape[0]))
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    permuted = batch._replace(
        **{
            name: getattr(batch, name)[order]
            for name in ("logits", "target", "pred_depth", "target_depth")
        }
    )
    weighting = weighting_of(batch)
    torch.testing.assert_close(weighting(*permuted[:4]), weighting(*batch[:4])[order])
    torch.testing.assert_close(loss_of(batch)(*permuted[:4]), loss_of(batch)(*batch[:4]))
    curriculum = lwm.SelfPacedCurriculum(2)
    torch.testing.assert_close(
        loss_of(batch, curriculum)(*permuted[:4]), loss_of(batch, curriculum)(*batch[:4])
    )


@given(batches(dtypes=DOUBLE, jitter=True), st.randoms(use_true_random=False))
def test_permuting_the_classes(batch: Batch, shuffler: object) -> None:
    order = list(range(batch.logits.shape[1]))
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    new_label = torch.tensor([order.index(j) for j in range(len(order))])
    labelled = batch.target != batch.ignore_index
    safe = batch.target.where(labelled, torch.zeros_like(batch.target))
    permuted = batch._replace(
        logits=batch.logits[:, order],
        target=new_label[safe].where(labelled, batch.target),
    )
    torch.testing.assert_close(loss_of(batch)(*permuted[:4]), loss_of(batch)(*batch[:4]))
    weighting = weighting_of(batch)
    torch.testing.assert_close(weighting(*permuted[:4]), weighting(*batch[:4]))


@given(st.integers(1, 5), st.sampled_from([1.0, 2.0, 8.0]))
def test_depth_shifted_by_whole_bins(shift: int, bin_size: float) -> None:
    data = scene(size=(9, 10), dtype=torch.float64)
    depth = data.target_depth.clamp(max=120.0).floor()
    settings = {"cells": (3, 3), "bin_size": bin_size, "ignore_index": 255}
    z = LF.depth_aware_segmentation_error(data.logits, data.target, depth, **settings)
    moved = torch.where(depth > 0, depth + shift * bin_size, depth)
    again = LF.depth_aware_segmentation_error(data.logits, data.target, moved, **settings)
    assert torch.equal(z, again)
    half = torch.where(depth > 0, depth + bin_size / 2, depth)
    other = LF.depth_aware_segmentation_error(data.logits, data.target, half, **settings)
    assert bin_size == 1.0 or not torch.equal(z, other)


@given(batches(dtypes=DOUBLE), st.integers(2, 3))
def test_duplicated_images(batch: Batch, copies: int) -> None:
    many = batch._replace(
        **{
            name: torch.cat([getattr(batch, name)] * copies)
            for name in ("logits", "target", "pred_depth", "target_depth")
        }
    )
    weighting = weighting_of(batch)
    one = weighting(*batch[:4])
    assert torch.equal(weighting(*many[:4]), torch.cat([one] * copies))
    torch.testing.assert_close(loss_of(batch)(*many[:4]), loss_of(batch)(*batch[:4]))
    torch.testing.assert_close(
        objective_of(batch)(*many[:4]).total, objective_of(batch)(*batch[:4]).total
    )


class Uniform(nn.Module):
    """A weighting that weighs every pixel the same."""

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.value = value

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor | None = None,
        target_depth: Tensor | None = None,
    ) -> Tensor:
        return torch.full(target.shape, self.value)


@pytest.mark.parametrize("value", [1.0, 0.25])
def test_a_uniform_weight_is_the_plain_loss(value: float) -> None:
    data = scene()
    criterion = nn.CrossEntropyLoss(ignore_index=255, reduction="none")
    loss = lwm.HardPixelLoss(criterion, Uniform(value))(data.logits, data.target)
    plain = F.cross_entropy(data.logits, data.target, ignore_index=255)
    torch.testing.assert_close(loss, value * plain)


@given(batches(dtypes=DOUBLE), st.sampled_from([0.125, 0.5, 4.0, 64.0]))
def test_r_does_not_see_the_scale_of_depth(batch: Batch, scale: float) -> None:
    shift = torch.tensor(scale, dtype=torch.float64).log()
    depth = batch.target_depth.double()
    for normalize in (True, False):
        torch.testing.assert_close(
            LF.depth_prediction_error(batch.pred_depth + shift, depth * scale, normalize=normalize),
            LF.depth_prediction_error(batch.pred_depth, depth, normalize=normalize),
            atol=1e-9,
            rtol=1e-7,
        )


@given(batches(dtypes=DOUBLE), st.sampled_from([0.5, 2.0, 10.0]))
def test_r_does_not_see_the_scale_of_the_error(batch: Batch, scale: float) -> None:
    depth = batch.target_depth.double()
    log_depth = batch.pred_depth
    known = (depth > 0) & depth.isfinite()
    stretched = torch.where(known, depth, 1.0).log()
    stretched = stretched + scale * (log_depth - stretched)
    torch.testing.assert_close(
        LF.depth_prediction_error(stretched, depth),
        LF.depth_prediction_error(log_depth, depth),
        atol=1e-9,
        rtol=1e-7,
    )


@given(batches(dtypes=DOUBLE))
def test_flipping_the_sign_of_the_error_does_not_change_r(batch: Batch) -> None:
    depth = batch.target_depth.double()
    known = (depth > 0) & depth.isfinite()
    log_depth = torch.where(known, depth, 1.0).log()
    mirrored = 2 * log_depth - batch.pred_depth
    torch.testing.assert_close(
        LF.depth_prediction_error(mirrored, depth),
        LF.depth_prediction_error(batch.pred_depth, depth),
        atol=1e-9,
        rtol=1e-7,
    )


@given(batches(dtypes=DOUBLE))
def test_z_is_constant_on_a_region_and_between_zero_and_one(batch: Batch) -> None:
    settings = {
        "cells": batch.cells,
        "bin_size": batch.bin_size,
        "depth_range": batch.depth_range,
    }
    ids = LF.depth_aware_regions(batch.target_depth, **settings)
    z = LF.depth_aware_segmentation_error(
        batch.logits, batch.target, batch.target_depth, ignore_index=batch.ignore_index, **settings
    )
    assert ((z >= 0) & (z <= 1)).all()
    counted = (ids >= 0) & (batch.target != batch.ignore_index)
    assert (z[~counted] == 0).all()
    for region in ids[counted].unique():
        assert z[counted & (ids == region)].unique().numel() == 1


@given(batches(dtypes=DOUBLE))
def test_one_bin_and_one_cell_make_z_the_error_rate(batch: Batch) -> None:
    depth = torch.ones_like(batch.target, dtype=torch.float64)
    z = LF.depth_aware_segmentation_error(
        batch.logits, batch.target, depth, cells=(1, 1), ignore_index=batch.ignore_index
    )
    labelled = batch.target != batch.ignore_index
    wrong = (batch.logits.argmax(1) != batch.target) & labelled
    for image in range(z.shape[0]):
        count = max(1, int(labelled[image].sum()))
        rate = float(wrong[image].sum()) / count
        assert z[image][labelled[image]].tolist() == pytest.approx(
            [rate] * int(labelled[image].sum())
        )


@pytest.mark.slow
@given(batches(dtypes=DOUBLE), st.integers(1, 6))
def test_the_curriculum_only_adds_pixels(batch: Batch, epochs: int) -> None:
    weight = weighting_of(batch)(*batch[:4])
    labelled = batch.target != batch.ignore_index
    curriculum = lwm.SelfPacedCurriculum(epochs)
    before = torch.zeros_like(weight, dtype=torch.bool)
    loss_before = -1.0
    for epoch in range(epochs + 2):
        kept = curriculum(weight, labelled)
        now = kept > 0
        assert (before <= now).all()
        assert ((kept == 0) | (kept == weight)).all()
        assert (kept == weight)[labelled].all() or epoch < epochs
        loss = loss_of(batch, curriculum)(*batch[:4]).item()
        assert loss >= loss_before - 1e-12
        before, loss_before = now, loss
        curriculum.step()


@given(batches(dtypes=DOUBLE, max_pixels=25), st.integers(0, 2))
def test_l_t_is_l_hpm_from_the_last_epoch_on(batch: Batch, beyond: int) -> None:
    sides = [batch.logits[..., ::2, ::3], batch.logits.flip(1)]
    curriculum = lwm.SelfPacedCurriculum(3)
    for _ in range(3 + beyond):
        curriculum.step()
    hpm = objective_of(batch, 2)(*batch[:4], side_logits=sides)
    t = objective_of(batch, 2, curriculum)(*batch[:4], side_logits=sides)
    for one, other in zip(hpm, t, strict=True):
        assert torch.equal(one, other)


@given(batches(dtypes=DOUBLE))
def test_missing_depth_in_one_pixel_changes_no_other_z_outside_its_region(batch: Batch) -> None:
    settings = {
        "cells": batch.cells,
        "bin_size": batch.bin_size,
        "depth_range": batch.depth_range,
    }
    ids = LF.depth_aware_regions(batch.target_depth, **settings)
    depth = batch.target_depth.clone()
    depth.view(-1)[0] = 0.0
    before, after = (
        LF.depth_aware_segmentation_error(
            batch.logits, batch.target, d, ignore_index=batch.ignore_index, **settings
        )
        for d in (batch.target_depth, depth)
    )
    elsewhere = ids != ids.view(-1)[0]
    assert torch.equal(before[elsewhere], after[elsewhere])
    assert after.view(-1)[0] == 0.0


@given(batches(dtypes=DOUBLE))
def test_a_mask_is_missing_depth(batch: Batch) -> None:
    mask = torch.rand(batch.target.shape) > 0.4
    shaped = mask.reshape(batch.target_depth.shape)
    holes = batch.target_depth.where(shaped, torch.full_like(batch.target_depth, float("nan")))
    masked = objective_of(batch)(*batch[:4], depth_mask=mask)
    missing = objective_of(batch)(*batch[:3], holes)
    for one, other in zip(masked, missing, strict=True):
        assert torch.equal(one, other)


@given(batches(dtypes=DOUBLE))
def test_adding_a_constant_to_all_scores_changes_nothing(batch: Batch) -> None:
    moved = batch.logits + 4.0
    torch.testing.assert_close(loss_of(batch)(moved, *batch[1:4]), loss_of(batch)(*batch[:4]))


@given(batches(dtypes=DOUBLE))
def test_inputs_are_not_written_to(batch: Batch) -> None:
    before = [tensor.clone() for tensor in batch[:4]]
    sides = [batch.logits.clone()]
    objective_of(batch, 1, lwm.SelfPacedCurriculum(2))(*batch[:4], side_logits=sides)
    others = (lwm.OHEMWeighting, lwm.FocalWeighting, lwm.LossMaxPoolingWeighting)
    for rival in (*others, lwm.DepthEdgeWeighting, lwm.LabelBoundaryWeighting):
        rival(ignore_index=batch.ignore_index)(*batch[:4])
    for tensor, copy in zip([*batch[:4], *sides], [*before, before[0]], strict=True):
        assert torch.equal(tensor.nan_to_num(7.5), copy.nan_to_num(7.5))
