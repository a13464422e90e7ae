"""The heads against the paper's words, and the range of log-depth."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from examples.rgbd.networks import (
    BoundedLogDepth,
    MultiScaleHead,
)
from tests.examples.network_support import (
    NUM_CLASSES,
    literal_head,
)


@pytest.mark.slow
@given(
    scales=st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=4
    ),
    size=st.tuples(st.integers(1, 23), st.integers(1, 23)),
    batch=st.integers(1, 2),
    num_outputs=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_head_equals_concatenation_and_convolution(scales, size, batch, num_outputs, seed):
    torch.manual_seed(seed)
    head = MultiScaleHead([channels for channels, _, _ in scales], num_outputs).double()
    head.reset_parameters(std=1.0)
    nn.init.normal_(head.bias)
    features = [torch.randn(batch, *shape).double().requires_grad_() for shape in scales]
    actual, expected = head(features, size), literal_head(head, features, size)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)

    upstream = torch.randn_like(expected)
    inputs = [*features, head.weight, head.bias]
    torch.testing.assert_close(
        torch.autograd.grad(actual, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        rtol=1e-11,
        atol=1e-11,
    )


def test_head_in_bfloat16_is_as_close_to_the_truth_as_the_literal_form():
    shapes = [(3, 8, 13, 17), (3, 8, 7, 9), (3, 8, 4, 5), (3, 16, 2, 3)]
    features = [torch.randn(shape) for shape in shapes]
    head = MultiScaleHead([shape[1] for shape in shapes], NUM_CLASSES)
    head.reset_parameters(std=0.1)
    truth = literal_head(copy.deepcopy(head).double(), [x.double() for x in features], (53, 67))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = head(features, (53, 67))
        literal = literal_head(head, features, (53, 67))
    assert actual.dtype == literal.dtype == torch.bfloat16
    error = (actual - truth).abs().max()
    assert error <= 1.5 * (literal - truth).abs().max() + 1e-3


def test_head_saves_nothing_of_full_size_for_backward():
    features = [torch.randn(1, 6, 64 // 2**k, 64 // 2**k, requires_grad=True) for k in range(2, 6)]
    head = MultiScaleHead([6] * 4, NUM_CLASSES)
    saved = []

    def pack(tensor):
        saved.append(tensor.untyped_storage().nbytes() // tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        head(features, (64, 64))
    # The largest is the constant matrix of all taps and rows; the result alone has 5 * 64 * 64.
    assert max(saved) <= 3 * (16 + 8 + 4 + 2) * 64


# --- log-depth ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bound", ["clamp", "sigmoid", "none"])
def test_raw_zero_is_the_middle_of_the_depth_range(bound):
    log_depth = BoundedLogDepth((1.0, 256.0), bound)(torch.zeros(2, 1, 3, 4))
    torch.testing.assert_close(log_depth, torch.full((2, 3, 4), math.log(128.5)))


@pytest.mark.parametrize("bound", ["clamp", "sigmoid"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_log_depth_stays_in_range(bound, dtype):
    raw = torch.linspace(-50, 50, 101, dtype=dtype).view(1, 1, 1, -1)
    log_depth = BoundedLogDepth((2.0, 100.0), bound)(raw)
    assert log_depth.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert log_depth.shape == (1, 1, 101)
    assert (log_depth.diff() >= 0).all()
    limits = torch.tensor([math.log(2.0), math.log(100.0)], dtype=log_depth.dtype)
    torch.testing.assert_close(log_depth[0, 0, [0, -1]], limits)
    assert ((limits[0] <= log_depth) & (log_depth <= limits[1])).all()


def test_clamped_log_depth_is_drawn_back_from_beyond_the_range():
    raw = torch.tensor([-40.0, 0.5, 40.0]).view(1, 1, 1, 3).requires_grad_()
    loss = (BoundedLogDepth()(raw) - math.log(60.0)).square().sum()
    (gradient,) = torch.autograd.grad(loss, raw)
    expected = [2 * (value - math.log(60.0)) for value in (0.0, math.log(128.5) + 0.5, 5.545177)]
    torch.testing.assert_close(gradient.flatten(), torch.tensor(expected))
