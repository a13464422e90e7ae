"""Fig. 6 against a loop over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lwm_loss.analysis import BinnedErrors, segmentation_error_by_depth_gap
from tests.support import scene


def by_loops(predicted, target, log_depth, depth, edges, ignore_index, mask):
    """Counts of wrong pixels and of pixels, one pixel at a time."""
    bins = len(edges) - 1
    wrong, total = [0] * bins, [0] * bins
    for place in np.ndindex(*target.shape):
        true = depth[place]
        if target[place] == ignore_index or not (math.isfinite(true) and true > 0):
            continue
        if mask is not None and not mask[place]:
            continue
        gap = abs(log_depth[place] - math.log(true))
        bin_ = 0
        while bin_ < bins - 1 and gap >= edges[bin_ + 1]:
            bin_ += 1
        total[bin_] += 1
        wrong[bin_] += int(predicted[place] != target[place])
    return wrong, total


@given(
    seed=st.integers(0, 10**6),
    edges=st.lists(st.floats(0.01, 0.5), min_size=1, max_size=6, unique=True),
    masked=st.booleans(),
    missing=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_counts_agree_with_a_loop(seed, edges, masked, missing) -> None:
    edges = [0.0, *sorted(edges)]
    batch = scene(size=(5, 6), dtype=torch.float64, seed=seed, missing=missing)
    mask = torch.rand(batch.target.shape, generator=torch.Generator().manual_seed(seed)) < 0.7
    mask = mask if masked else None
    binned = segmentation_error_by_depth_gap(*batch, edges=edges, ignore_index=255, depth_mask=mask)
    wrong, total = by_loops(
        batch.logits.argmax(1).numpy(),
        batch.target.numpy(),
        batch.pred_depth.numpy(),
        batch.target_depth.numpy(),
        edges,
        255,
        None if mask is None else mask.numpy(),
    )
    assert binned.wrong.tolist() == wrong
    assert binned.total.tolist() == total
    for rate, bad, all_ in zip(binned.rate.tolist(), wrong, total):
        assert math.isnan(rate) if all_ == 0 else rate == bad / all_


def test_batches_are_merged_and_bins_regrouped() -> None:
    batch = scene(images=4, size=(9, 8))
    edges = torch.linspace(0, 0.3, 13)
    whole = segmentation_error_by_depth_gap(*batch, edges=edges, ignore_index=255)
    parts = [
        segmentation_error_by_depth_gap(
            *(tensor[image : image + 1] for tensor in batch), edges=edges, ignore_index=255
        )
        for image in range(4)
    ]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    assert torch.equal(merged.wrong, whole.wrong)
    assert torch.equal(merged.total, whole.total)
    wide = whole.regroup([4, 10])
    direct = segmentation_error_by_depth_gap(
        *batch, edges=[0.0, *edges[[4, 10, 12]].tolist()], ignore_index=255
    )
    assert torch.equal(wide.total, direct.total)
    assert torch.equal(wide.wrong, direct.wrong)
    assert torch.equal(wide.edges, direct.edges)


def test_a_prediction_that_is_not_a_number_is_among_the_worst() -> None:
    log_depth = torch.tensor([[[0.0, torch.nan, 50.0]]])
    binned = segmentation_error_by_depth_gap(
        torch.zeros(1, 1, 3, dtype=torch.long),
        torch.zeros(1, 1, 3, dtype=torch.long),
        log_depth,
        torch.ones(1, 1, 3),
    )
    assert binned.total.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]


def test_what_cannot_be_binned_is_refused() -> None:
    batch = scene()
    for edges in ([0.0], [0.1, 0.2], [0.0, 0.2, 0.2], [[0.0, 1.0]]):
        with pytest.raises(ValueError, match="`edges` to increase from 0"):
            segmentation_error_by_depth_gap(*batch, edges=edges, ignore_index=255)
    with pytest.raises(TypeError, match="pred_depth"):
        segmentation_error_by_depth_gap(*batch[:2], None, batch.target_depth, ignore_index=255)
    with pytest.raises(ValueError, match="ignore_index=255"):
        segmentation_error_by_depth_gap(*batch)
    binned = segmentation_error_by_depth_gap(*batch, ignore_index=255)
    with pytest.raises(ValueError, match="same edges"):
        binned.merge(BinnedErrors(binned.edges + 1, binned.wrong, binned.total))
    with pytest.raises(ValueError, match="increasing indices"):
        binned.regroup([3, 3])
