"""Regions and Z, against the loops of the oracle."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given

import lwm_loss as lwm
import lwm_loss.functional as LF
from lwm_loss.testing import reference as ref
from lwm_loss.testing.strategies import Batch, batches
from tests.support import arrays_of, assert_map, scene, to_numpy

LOW_AND_HIGH = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


def number_of_regions(batch: Batch) -> int:
    """Images x cells x bins."""
    size = tuple(batch.target.shape[1:])
    cells = size if batch.cells == "pixel" else batch.cells
    low, high = batch.depth_range
    bins = max(1, math.ceil((high - low) / batch.bin_size))
    return batch.target.shape[0] * math.prod(cells) * bins


@given(batches(dtypes=LOW_AND_HIGH))
def test_regions_are_the_oracles(batch: Batch) -> None:
    settings = {
        "cells": batch.cells,
        "bin_size": batch.bin_size,
        "depth_range": batch.depth_range,
    }
    ids = LF.depth_aware_regions(batch.target_depth, **settings)
    regions = ref.depth_aware_regions(to_numpy(batch.target_depth), **settings)
    assert ids.dtype == torch.int64
    assert ids.shape == batch.target.shape
    assert int(ids.max()) < number_of_regions(batch)
    region_of: dict[int, ref.Region] = {}
    id_of: dict[ref.Region, int] = {}
    for pixel in ref.pixels(ids.shape):
        number = int(ids[pixel])
        assert (number == -1) == (pixel not in regions)
        assert number >= -1
        if number >= 0:
            assert region_of.setdefault(number, regions[pixel]) == regions[pixel]
            assert id_of.setdefault(regions[pixel], number) == number


@given(batches(dtypes=LOW_AND_HIGH))
def test_dse_is_the_oracles(batch: Batch) -> None:
    arrays = arrays_of(batch)
    settings = {
        "cells": batch.cells,
        "bin_size": batch.bin_size,
        "depth_range": batch.depth_range,
        "ignore_index": batch.ignore_index,
    }
    truth = ref.depth_aware_segmentation_error(
        arrays.logits,
        arrays.target,
        arrays.target_depth,
        depth_mask=arrays.depth_mask,
        **settings,
    )
    double = batch.logits.dtype == torch.float64
    ours = LF.depth_aware_segmentation_error(
        batch.logits, batch.target, batch.target_depth, depth_mask=batch.depth_mask, **settings
    )
    assert_map(ours, truth, double=double)
    module = lwm.DepthAwareSegmentationError(**settings)
    again = module(batch.logits, batch.target, batch.target_depth, depth_mask=batch.depth_mask)
    assert torch.equal(again, ours)
    labels = batch.logits.argmax(1)
    from_labels = LF.depth_aware_segmentation_error(
        labels, batch.target, batch.target_depth, depth_mask=batch.depth_mask, **settings
    )
    assert_map(from_labels, truth)


@given(batches())
def test_pixel_cells_make_z_delta_itself(batch: Batch) -> None:
    z = LF.depth_aware_segmentation_error(
        batch.logits,
        batch.target,
        batch.target_depth,
        cells="pixel",
        ignore_index=batch.ignore_index,
    )
    delta = ref.misclassified(
        to_numpy(batch.logits), batch.target.numpy(), ignore_index=batch.ignore_index
    )
    assert_map(z, delta * ref.depth_pixels(to_numpy(batch.target_depth)))


def test_bins_at_their_edges() -> None:
    just_below = torch.nextafter(torch.tensor(11.0), torch.tensor(0.0)).item()
    depth = torch.tensor([[[0.5, 1.0, just_below, 11.0, 250.9, 251.0, 256.0, 900.0]]])
    ids = LF.depth_aware_regions(depth, cells=(1, 1))
    first = int(ids[0, 0, 0])
    assert (ids - first).flatten().tolist() == [0, 0, 0, 1, 24, 25, 25, 25]


@pytest.mark.parametrize(
    ("bin_size", "depth_range", "bins"),
    [
        (1.0, (1.0, 256.0), 255),
        (10.0, (1.0, 256.0), 26),
        (255.0, (1.0, 256.0), 1),
        (300.0, (1.0, 256.0), 1),
        (2.5, (0.0, 10.0), 4),
        (3.0, (0.0, 10.0), 4),
    ],
)
def test_the_number_of_bins(bin_size: float, depth_range: tuple[float, float], bins: int) -> None:
    low, high = depth_range
    depth = torch.linspace(low, high, 5001).clamp(min=1e-3)[None, None]
    ids = LF.depth_aware_regions(depth, cells=(1, 1), bin_size=bin_size, depth_range=depth_range)
    assert ids.unique().numel() == bins
    two = LF.depth_aware_regions(
        depth.expand(2, 1, -1), cells=(1, 1), bin_size=bin_size, depth_range=depth_range
    )
    assert two.unique().numel() == 2 * bins


def test_a_bin_wider_than_the_range_is_the_only_one() -> None:
    depth = torch.tensor([[[1.0, 256.0, 302.0, 9000.0]]])
    assert LF.depth_aware_regions(depth, cells=(1, 1), bin_size=300.0).tolist() == [[[0, 0, 0, 0]]]


def test_cells_are_floors_not_rounds() -> None:
    depth = torch.ones(1, 1, 7)
    ids = LF.depth_aware_regions(depth, cells=(1, 3), bin_size=300.0)
    _, groups = ids.flatten().unique(return_inverse=True)
    assert groups.tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_height_and_width_are_not_swapped() -> None:
    depth = torch.ones(1, 4, 6)
    ids = LF.depth_aware_regions(depth, cells=(2, 1), bin_size=300.0)
    assert (ids[0, :2] == ids[0, 0, 0]).all()
    assert (ids[0, 2:] == ids[0, 2, 0]).all()
    assert ids[0, 0, 0] != ids[0, 2, 0]


def test_large_images_in_every_grid() -> None:
    # Sizes where a cell computed in floating point would slip by one.
    for extent in (480, 427, 561, 730):
        depth = torch.ones(1, 1, extent)
        for cells in (7, 8, 13, 49, 60):
            ids = LF.depth_aware_regions(depth, cells=(1, cells), bin_size=300.0).flatten()
            _, groups = ids.unique(return_inverse=True)
            expected = [x * cells // extent for x in range(extent)]
            assert groups.tolist() == expected


@pytest.mark.parametrize("cells", [(2, 2), (1, 2, 2), (2, 2, 2)])
def test_cells_of_a_volume(cells: tuple[int, ...]) -> None:
    ids = LF.depth_aware_regions(torch.ones(1, 4, 4, 4), cells=cells, bin_size=300.0)
    assert ids.unique().numel() == math.prod(cells)
    assert (ids[0, 0, 0, 0] == ids[0, 3, 0, 0]) == (len(cells) == 2 or cells[0] == 1)


def test_images_do_not_share_regions() -> None:
    data = scene(images=3, size=(6, 7))
    together = LF.depth_aware_segmentation_error(
        data.logits, data.target, data.target_depth, cells=(1, 1), ignore_index=255
    )
    for i in range(3):
        alone = LF.depth_aware_segmentation_error(
            data.logits[i : i + 1],
            data.target[i : i + 1],
            data.target_depth[i : i + 1],
            cells=(1, 1),
            ignore_index=255,
        )
        assert torch.equal(together[i : i + 1], alone)


def test_ignored_pixels_count_neither_as_wrong_nor_as_members() -> None:
    predicted = torch.tensor([[[0, 0, 0, 0]]])
    target = torch.tensor([[[0, 1, 255, 255]]])
    z = LF.depth_aware_segmentation_error(
        predicted, target, torch.full((1, 1, 4), 5.0), cells=(1, 1), ignore_index=255
    )
    assert z.tolist() == [[[0.5, 0.5, 0.0, 0.0]]]


def test_first_class_wins_a_tie() -> None:
    target = torch.tensor([[[0, 1]]])
    z = LF.depth_aware_segmentation_error(
        torch.zeros(1, 3, 1, 2), target, torch.ones(1, 1, 2), cells="pixel"
    )
    assert z.tolist() == [[[0.0, 1.0]]]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("from_labels", [False, True])
def test_any_integer_dtype_of_labels(dtype: torch.dtype, from_labels: bool) -> None:
    data = scene(images=2, classes=5, size=(9, 7), ignored=0.0)
    target = data.target.clone()
    target[0, 0, :3] = 100
    plain = LF.depth_aware_segmentation_error(
        data.logits, target, data.target_depth, cells=(2, 2), ignore_index=100
    )
    scores = data.logits.argmax(1).to(dtype) if from_labels else data.logits
    typed = LF.depth_aware_segmentation_error(
        scores, target.to(dtype), data.target_depth, cells=(2, 2), ignore_index=100
    )
    assert torch.equal(typed, plain)


def test_dse_carries_no_gradient() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    depth = torch.ones(1, 4, 4, requires_grad=True)
    z = LF.depth_aware_segmentation_error(logits, torch.zeros(1, 4, 4, dtype=torch.long), depth)
    assert not z.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_counts_are_exact_beyond_what_a_half_can_hold(dtype: torch.dtype) -> None:
    # 262,144 pixels in one region, one of them wrong; and 131,072 in the other image.
    labels = torch.zeros(2, 512, 512, dtype=torch.long)
    logits = torch.zeros(2, 2, 512, 512, dtype=dtype)
    labels[0, 511, 511] = 1
    labels[1, :256] = 1
    depth = torch.ones(2, 512, 512, dtype=dtype)
    z = LF.depth_aware_segmentation_error(logits, labels, depth, cells=(1, 1))
    assert z.dtype == torch.float32
    assert torch.equal(z[0].unique(), torch.tensor([2.0**-18]))
    assert torch.equal(z[1].unique(), torch.tensor([0.5]))


@pytest.mark.slow
def test_counts_are_exact_beyond_what_a_float_can_hold() -> None:
    # Adding ones in float32 stops at 2 ** 24, which are 16 rows: the rate would be 16 / 17.
    labels = torch.zeros(1, 21, 1 << 20, dtype=torch.uint8)
    predicted = torch.ones_like(labels)
    predicted[0, -1] = 0
    depth = torch.ones(1, 1, 1).expand(labels.shape)
    z = LF.depth_aware_segmentation_error(predicted, labels, depth, cells=(1, 1))
    assert z[0, 0, 0].item() == pytest.approx(20 / 21)


def test_bins_with_edges_that_are_no_floats_are_found_in_float64() -> None:
    # 0.7 in float32 is just below 0.7, and divided by 0.1 in float32 it would be 7.
    depth = torch.tensor([[[0.7]]])
    ids = LF.depth_aware_regions(depth, cells=(1, 1), bin_size=0.1, depth_range=(0.0, 1.0))
    assert ids.item() == 6
