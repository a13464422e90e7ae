"""Depth edges against loops over pairs of pixels, and the weighting of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import lwm_loss as lwm
import lwm_loss.functional as LF


def oracle(values, radius, differ):
    """Pixels near two that differ, by the definition: one pair of pixels after the other."""
    found = np.zeros(values.shape, bool)
    for image, edges in zip(values, found, strict=True):
        for place in np.ndindex(image.shape):
            for axis in range(image.ndim):
                other = list(place)
                other[axis] += radius
                if other[axis] >= image.shape[axis]:
                    continue
                if differ(image[place], image[tuple(other)]):
                    for end in (place, other):
                        window = (slice(max(each - radius, 0), each + radius + 1) for each in end)
                        edges[tuple(window)] = True
    return found


def jump(threshold):
    def differ(near, far):
        known = 0 < near < math.inf and 0 < far < math.inf
        return known and abs(math.log(near) - math.log(far)) > threshold

    return differ


SHAPES = st.one_of(
    st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.just(1), st.integers(2, 5), st.integers(1, 5), st.integers(1, 5)),
)


@given(SHAPES, st.integers(0, 2**32 - 1), st.integers(1, 4), st.sampled_from([0.0, 0.15, 1.0]))
def test_depth_edges_are_the_oracles(shape, seed, radius, threshold):
    rng = np.random.default_rng(seed)
    # Few levels, so that flat places and jumps both occur; every kind of missing depth.
    depth = rng.choice([2.0, 2.2, 3.0, 9.0, 9.0, 9.0], shape)
    holes = rng.random(shape) < 0.2
    depth[holes] = rng.choice([0.0, -1.0, math.nan, math.inf], int(holes.sum()))
    found = LF.depth_edges(torch.from_numpy(depth), threshold=threshold, radius=radius)
    np.testing.assert_array_equal(found.numpy(), oracle(depth, radius, jump(threshold)))


@given(
    SHAPES,
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
    st.sampled_from(["multiclass", "probabilities", "binary", "multilabel"]),
)
def test_boundaries_only_are_the_oracles_edges_where_labels_differ(shape, seed, radius, kind):
    rng = np.random.default_rng(seed)
    classes = {"multiclass": 3, "probabilities": 3, "binary": 1, "multilabel": 2}[kind]
    flags = kind in ("binary", "multilabel")
    depth = rng.choice([2.0, 3.0, 9.0], shape)
    labels = rng.choice(
        [0, 0, 0, 1, 2 - flags, 255], (shape[0], classes if flags else 1, *shape[1:])
    )
    boundary = oracle(
        labels.reshape(-1, *shape[1:]), radius, lambda a, b: a != b and 255 not in (a, b)
    )
    boundary = boundary.reshape(labels.shape).any(1)
    counted = (labels != 255).any(1)
    target = torch.from_numpy(labels if flags else labels[:, 0])
    if kind == "probabilities":
        one_hot = nn.functional.one_hot(torch.where(target == 255, 0, target), 3).movedim(-1, 1)
        target = torch.where((target == 255)[:, None], 0.0, one_hot * 0.8 + 0.1 * (1 - one_hot))
    weighting = lwm.DepthEdgeWeighting(
        0.15, radius, 3.0, 255, task=kind if flags else "multiclass", boundaries_only=True
    )
    logits = torch.zeros(shape[0], classes, *shape[1:])
    alone = lwm.LabelBoundaryWeighting(radius, 3.0, 255, task=weighting.task)(logits, target)
    np.testing.assert_array_equal(alone.numpy(), 3.0 * (boundary & counted))
    if kind == "multiclass":
        found = LF.label_boundaries(target, radius=radius, ignore_index=255)
        np.testing.assert_array_equal(found.numpy(), boundary)
    weight = weighting(logits, target, None, torch.from_numpy(depth))
    expected = 3.0 * (oracle(depth, radius, jump(0.15)) & boundary & counted)
    np.testing.assert_array_equal(weight.numpy(), expected)


def test_a_masked_pixel_makes_no_edge():
    depth = torch.tensor([[[2.0, 2.0, 9.0, 2.0, 2.0]]])
    assert LF.depth_edges(depth, radius=1).all()
    assert not LF.depth_edges(depth, radius=1, depth_mask=depth < 9).any()


def test_edges_do_not_depend_on_the_unit():
    depth = torch.rand(2, 20, 24, generator=torch.Generator().manual_seed(0)) * 4 + 1
    assert torch.equal(LF.depth_edges(depth, radius=2), LF.depth_edges(depth * 1000, radius=2))


def test_weight_is_the_scale_at_labelled_edges():
    depth = torch.tensor([[[2.0, 2.0, 2.0, 3.0, 3.0, 3.0]]])
    target = torch.tensor([[[0, 0, 255, 1, 1, 1]]])
    weighting = lwm.DepthEdgeWeighting(radius=1, scale=2.5, ignore_index=255)
    weight = weighting(torch.zeros(1, 2, 1, 6), target, None, depth)
    assert weight.tolist() == [[[0, 2.5, 0, 2.5, 2.5, 0]]]
    assert weight.dtype == torch.float32


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_weight_of_other_tasks(task):
    depth = torch.tensor([[[2.0, 2.0, 2.0, 3.0, 3.0, 3.0]]])
    classes = 1 if task == "binary" else 3
    target = torch.zeros(1, classes, 1, 6)
    target[..., 4] = 255
    weighting = lwm.DepthEdgeWeighting(radius=1, ignore_index=255, task=task)
    weight = weighting(torch.zeros(1, classes, 1, 6), target, None, depth)
    assert weight.tolist() == [[[0, 2, 2, 2, 0, 0]]]


def test_an_edge_within_an_object_is_no_outline():
    depth = torch.tensor([[[2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 9.0]]])
    target = torch.tensor([[[0, 0, 0, 0, 0, 0, 0, 0, 255, 1]]])
    weighting = lwm.DepthEdgeWeighting(radius=2, ignore_index=255, boundaries_only=True)
    # The last pair jumps in depth and over an ignored pixel from one label to another.
    weight = weighting(torch.zeros(1, 2, 1, 10), target, None, depth)
    assert weight.tolist() == [[[0, 0, 0, 0, 0, 2, 2, 2, 0, 2]]]
    assert "boundaries_only=True" in repr(weighting)


def test_loss_is_the_mean_of_what_lies_at_edges():
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 3, 12, 16, generator=generator, dtype=torch.float64)
    target = torch.randint(3, (2, 12, 16), generator=generator)
    depth = torch.where(torch.arange(16) < 7, 20.0, 40.0).expand(2, 12, 16)
    criterion = nn.CrossEntropyLoss(reduction="none")
    loss = lwm.HardPixelLoss(criterion, lwm.DepthEdgeWeighting(radius=2))(
        logits, target, None, depth
    )
    # Pairs two apart jump at columns 5 to 8; two more on either side are near.
    torch.testing.assert_close(
        loss, criterion(logits, target)[:, :, 3:11].sum() * 2 / target.numel()
    )


def test_edges_of_a_batch_are_those_of_its_images_and_can_be_exported():
    depth = torch.rand(3, 9, 11, generator=torch.Generator().manual_seed(1)) * 4 + 1
    each = torch.stack([LF.depth_edges(image[None], radius=2)[0] for image in depth])
    assert torch.equal(LF.depth_edges(depth, radius=2), each)
    program = torch.export.export(
        _Edges(), (depth,), dynamic_shapes=({0: torch.export.Dim("batch", min=2, max=9)},)
    )
    assert torch.equal(program.module()(depth[:2]), each[:2])


class _Edges(nn.Module):
    def forward(self, depth):
        return LF.depth_edges(depth, radius=2)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"radius": 0}, ValueError, "radius"),
        ({"radius": 1.5}, TypeError, "radius"),
        ({"threshold": -0.1}, ValueError, "threshold"),
        ({"threshold": math.nan}, ValueError, "threshold"),
        ({"scale": -1.0}, ValueError, "scale"),
        ({"task": "other"}, ValueError, "task"),
        ({"ignore_index": 0.5}, TypeError, "ignore_index"),
        ({"boundaries_only": 1}, TypeError, "boundaries_only"),
    ],
)
def test_options_are_checked_when_it_is_built(options, error, said):
    with pytest.raises(error, match=said):
        lwm.DepthEdgeWeighting(**options)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"radius": 0}, ValueError, "radius"),
        ({"scale": math.inf}, ValueError, "scale"),
        ({"task": "other"}, ValueError, "task"),
        ({"ignore_index": "void"}, TypeError, "ignore_index"),
    ],
)
def test_options_of_label_boundaries_are_checked(options, error, said):
    with pytest.raises(error, match=said):
        lwm.LabelBoundaryWeighting(**options)


@pytest.mark.parametrize(
    ("target", "error", "said"),
    [
        (torch.zeros(1, 4, 5), TypeError, "integer"),
        (torch.zeros(1, 4, 5, dtype=torch.bool), TypeError, "integer"),
        (torch.zeros(4, 5).long(), ValueError, "batch dimension"),
        ([[[0, 1]]], TypeError, "torch.Tensor"),
    ],
)
def test_labels_of_boundaries_are_checked(target, error, said):
    with pytest.raises(error, match=said):
        LF.label_boundaries(target)


def test_label_boundaries_need_no_depth_in_a_loss():
    logits = torch.randn(1, 3, 6, 9, generator=torch.Generator().manual_seed(2))
    target = torch.zeros(1, 6, 9, dtype=torch.long)
    target[..., 5:] = 2
    criterion = nn.CrossEntropyLoss(reduction="none")
    loss = lwm.HardPixelLoss(criterion, lwm.LabelBoundaryWeighting(radius=1, scale=1.5))
    # The label changes between columns 4 and 5; one more on either side is near.
    expected = 1.5 * criterion(logits, target)[..., 3:7].sum() / target.numel()
    torch.testing.assert_close(loss(logits, target), expected)


def test_depth_is_demanded():
    with pytest.raises(TypeError, match="target_depth"):
        lwm.DepthEdgeWeighting()(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3).long())


def test_all_sizes_are_accepted():
    for size in itertools.product((0, 1, 3), repeat=2):
        assert LF.depth_edges(torch.ones(2, *size)).shape == (2, *size)
