"""The loss weight module: R and Z fused to M."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lwm_loss as lwm
import lwm_loss.functional as LF
from lwm_loss.testing import reference as ref
from lwm_loss.testing.strategies import Batch, batches
from tests.support import arrays_of, assert_map, mining_of, scene, smallest_peak, weighting_of

FUSIONS = ["sum", "product", "max", "dpe", "dse"]
LOW_AND_HIGH = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@given(batches(dtypes=LOW_AND_HIGH), st.sampled_from(FUSIONS))
def test_weight_is_the_oracles(batch: Batch, fusion: str) -> None:
    arrays = arrays_of(batch)
    truth = ref.loss_weight(
        arrays.logits,
        arrays.target,
        arrays.pred_depth,
        arrays.target_depth,
        mining_of(batch, fusion),
        depth_mask=arrays.depth_mask,
    )
    double = batch.logits.dtype == torch.float64
    atol = (1e-14 if double else 2e-6) / smallest_peak(batch)
    weighting = weighting_of(batch, fusion)
    ours = weighting(*batch[:4], depth_mask=batch.depth_mask)
    assert_map(ours, truth.weight, atol=atol, double=double)
    maps = weighting.maps(*batch[:4], depth_mask=batch.depth_mask)
    for map_, expected in zip(maps, truth, strict=True):
        assert_map(map_, expected, atol=atol, double=double)
    assert torch.equal(maps.weight, ours)
    assert float(ours.min()) >= 0.0
    assert float(ours.max()) <= (2.0 if fusion == "sum" else 1.0)


@given(batches())
def test_without_a_mask(batch: Batch) -> None:
    arrays = arrays_of(batch._replace(depth_mask=None))
    truth = ref.loss_weight(*arrays[:4], mining_of(batch)).weight
    peak = smallest_peak(batch._replace(depth_mask=None))
    assert_map(weighting_of(batch)(*batch[:4]), truth, atol=2e-6 / peak)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_ignored_pixels_weigh_nothing(fusion: str) -> None:
    data = scene()
    weighting = lwm.LossWeightModule(fusion=fusion, ignore_index=255)
    weight = weighting(*data)
    assert (weight[data.target == 255] == 0.0).all()
    assert (weight[data.target != 255] > 0.0).any()


def test_r_at_an_ignored_pixel_still_normalises() -> None:
    # The largest depth error lies under an ignored label: V_d decides, not V_y.
    target = torch.tensor([[[0, 255]]])
    log_depth, depth = torch.tensor([[[1.0, 4.0]]]), torch.ones(1, 1, 2)
    weighting = lwm.LossWeightModule(fusion="dpe", ignore_index=255)
    weight = weighting(torch.zeros(1, 2, 1, 2), target, log_depth, depth)
    assert weight.tolist() == [[[0.25, 0.0]]]


def test_no_gradient_flows_through_the_weight() -> None:
    data = scene()
    logits = data.logits.requires_grad_()
    log_depth = data.pred_depth.requires_grad_()
    weighting = lwm.LossWeightModule(ignore_index=255)
    maps = weighting.maps(logits, data.target, log_depth, data.target_depth)
    assert not any(map_.requires_grad for map_ in maps)
    assert not weighting(logits, data.target, log_depth, data.target_depth).requires_grad


def test_one_map_alone_is_the_functional_form() -> None:
    data = scene(ignored=0.0)
    settings = {"cells": (3, 2), "bin_size": 25.0}
    z = LF.depth_aware_segmentation_error(
        data.logits, data.target, data.target_depth, ignore_index=255, **settings
    )
    r = LF.depth_prediction_error(data.pred_depth, data.target_depth)
    for fusion, alone in (("dse", z), ("dpe", r)):
        weighting = lwm.LossWeightModule(fusion=fusion, ignore_index=255, **settings)
        assert torch.equal(weighting(*data), alone)


def test_log_input_false_is_depth_in_plain_units() -> None:
    data = scene(dtype=torch.float64)
    metric = data.pred_depth.exp()
    logs = lwm.LossWeightModule(ignore_index=255)(*data)
    plain = lwm.LossWeightModule(ignore_index=255, log_input=False)(
        data.logits, data.target, metric, data.target_depth
    )
    torch.testing.assert_close(plain, logs)


def test_labels_instead_of_logits() -> None:
    data = scene()
    weighting = lwm.LossWeightModule(ignore_index=255)
    assert torch.equal(weighting(data.logits.argmax(1), *data[1:]), weighting(*data))


def test_the_defaults_are_the_papers() -> None:
    data = scene(images=1, size=(24, 32), ignore_index=-100)
    explicit = lwm.LossWeightModule(
        cells=(8, 8),
        bin_size=10.0,
        depth_range=(1.0, 256.0),
        fusion="sum",
        ignore_index=-100,
        log_input=True,
    )
    assert torch.equal(lwm.LossWeightModule()(*data), explicit(*data))
    truth = ref.loss_weight(
        *(tensor.numpy() for tensor in data),
        ref.Mining((8, 8), 10.0, (1.0, 256.0), "sum", -100, True),
    )
    assert_map(explicit(*data), truth.weight, atol=1e-5)


@pytest.mark.parametrize("channel", [False, True])
def test_a_volume_of_one_slice_is_an_image(channel: bool) -> None:
    data = scene(size=(6, 7))
    weighting = lwm.LossWeightModule(cells=(2, 3), ignore_index=255)
    logits, target, log_depth, depth = (tensor.unsqueeze(-3) for tensor in data)
    if channel:
        log_depth, depth = log_depth[:, None], depth[:, None]
    weight = weighting(logits, target, log_depth, depth)
    assert torch.equal(weight.squeeze(1), weighting(*data))


def test_dse_alone_needs_no_predicted_depth() -> None:
    data = scene()
    weighting = lwm.LossWeightModule(fusion="dse", ignore_index=255)
    alone = weighting(data.logits, data.target, None, data.target_depth)
    assert torch.equal(alone, weighting(*data))
    z = LF.depth_aware_segmentation_error(
        data.logits, data.target, data.target_depth, ignore_index=255
    )
    assert torch.equal(alone, z)
