"""Depth-aware convolution and pooling against loops in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from examples.rgbd.networks import depth_aware_avg_pool2d, depth_aware_conv2d

SETTINGS = [(3, 1, 1, 1), (3, 2, 1, 1), (3, 1, 2, 2), (3, 1, 0, 1), (1, 1, 0, 1), (5, 1, 2, 1)]


def inputs(height=5, width=6, channels=3):
    depth = torch.rand(2, 1, height, width).double()
    return torch.randn(2, channels, height, width).double(), depth


def looped(x, depth, weight, stride, padding, dilation, alpha):
    """The published sums, tap by tap; without a weight the pooling."""
    x, depth = x.numpy(), depth.numpy()[:, 0]
    size = 3 if weight is None else weight.shape[-1]
    batch, channels, height, width = x.shape
    reach = dilation * (size - 1)
    outputs = channels if weight is None else len(weight)
    rows, columns = ((side + 2 * padding - reach - 1) // stride + 1 for side in (height, width))
    result = np.zeros((batch, outputs, rows, columns))
    for b, i, j in np.ndindex(batch, rows, columns):
        centre = depth[
            b,
            np.clip(i * stride - padding + dilation * (size // 2), 0, height - 1),
            np.clip(j * stride - padding + dilation * (size // 2), 0, width - 1),
        ]
        norm = 0.0
        for u, v in np.ndindex(size, size):
            y, z = i * stride - padding + u * dilation, j * stride - padding + v * dilation
            if not (0 <= y < height and 0 <= z < width):
                continue
            near = np.exp(-alpha * abs(depth[b, y, z] - centre))
            norm += near
            value = x[b, :, y, z] if weight is None else weight[:, :, u, v].numpy() @ x[b, :, y, z]
            result[b, :, i, j] += near * value
        if weight is None:
            result[b, :, i, j] /= norm
    return torch.from_numpy(result)


@pytest.mark.parametrize(("size", "stride", "padding", "dilation"), SETTINGS)
def test_convolution_is_the_looped_one(size, stride, padding, dilation):
    x, depth = inputs()
    weight, bias = torch.randn(4, 3, size, size).double(), torch.randn(4).double()
    ours = depth_aware_conv2d(
        x, depth, weight, bias, stride=stride, padding=padding, dilation=dilation, alpha=3.0
    )
    theirs = looped(x, depth, weight, stride, padding, dilation, 3.0) + bias.view(-1, 1, 1)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("stride", [1, 2])
def test_pooling_is_the_looped_one(stride):
    x, depth = inputs()
    ours = depth_aware_avg_pool2d(x, depth, stride=stride, alpha=3.0)
    torch.testing.assert_close(ours, looped(x, depth, None, stride, 1, 1, 3.0))


@pytest.mark.parametrize(("size", "stride", "padding", "dilation"), SETTINGS)
def test_without_differences_they_are_the_plain_ones(size, stride, padding, dilation):
    x, depth = inputs(9, 8)
    weight = torch.randn(4, 3, size, size).double()
    geometry = {"stride": stride, "padding": padding}
    plain = F.conv2d(x, weight, dilation=dilation, **geometry)
    pooled = F.avg_pool2d(x, size, count_include_pad=False, **geometry) if dilation == 1 else None
    for seen, alpha in ((depth, 0.0), (torch.full_like(depth, 2.5), 8.3)):
        ours = depth_aware_conv2d(x, seen, weight, dilation=dilation, alpha=alpha, **geometry)
        torch.testing.assert_close(ours, plain)
        if pooled is not None:
            ours = depth_aware_avg_pool2d(x, seen, size, alpha=alpha, **geometry)
            torch.testing.assert_close(ours, pooled)


@pytest.mark.slow
def test_gradients_are_those_of_finite_differences():
    x, depth = inputs(4, 5, 2)
    weight, bias = torch.randn(3, 2, 3, 3).double(), torch.randn(3).double()
    for tensor in (x, weight, bias):
        tensor.requires_grad_()
    torch.autograd.gradcheck(
        lambda x, w, b: depth_aware_conv2d(x, depth, w, b, stride=2, padding=1, alpha=3.0),
        (x, weight, bias),
    )
    torch.autograd.gradcheck(lambda x: depth_aware_avg_pool2d(x, depth, alpha=3.0), (x,))


def test_no_gradient_goes_to_the_depth():
    x, depth = inputs()
    depth.requires_grad_()
    x.requires_grad_()
    weight = torch.randn(4, 3, 3, 3).double()
    total = depth_aware_conv2d(x, depth, weight).sum() + depth_aware_avg_pool2d(x, depth).sum()
    total.backward()
    assert depth.grad is None
    assert x.grad.abs().sum() > 0


def test_neighbours_across_an_edge_do_not_mix():
    depth = torch.ones(1, 1, 6, 6)
    depth[..., 3:] = 5.0
    x = torch.zeros(1, 1, 6, 6)
    x[..., 3:] = 1.0
    pooled = depth_aware_avg_pool2d(x, depth)
    torch.testing.assert_close(pooled, x, rtol=0, atol=1e-6)
    assert depth_aware_conv2d(x, depth, torch.ones(1, 1, 3, 3), padding=1)[..., :3].max() < 1e-6
