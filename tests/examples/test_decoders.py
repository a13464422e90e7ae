"""RefineNet, DeepLabv3 and PSPNet against literal transcriptions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from examples.rgbd.networks import DecoderShape, RefineNetDecoder
from lwm_loss import MultiTaskOutput
from tests.examples.network_support import (
    CHANNELS,
    SIZE,
    assert_same,
    literal_head,
    make,
    randomise_norms,
    register_tiny_encoders,
)


@pytest.fixture(autouse=True)
def tiny_encoders(monkeypatch):
    register_tiny_encoders(monkeypatch)


def released_refinenet(weights, features, pool_first):
    """The released network, level by level, from a plain dictionary of weights."""

    def conv(x, name):
        bias = weights.get(f"{name}.bias")
        return F.conv2d(x, weights[f"{name}.weight"], bias, padding=1)

    def units(x, prefix, count):
        for index in range(count):
            residual = conv(F.relu(x), f"{prefix}.{index}.first")
            x = x + conv(F.relu(residual), f"{prefix}.{index}.second")
        return x

    outputs = {}
    for level in (3, 2, 1, 0):
        block = f"blocks.{level}"
        x = units(conv(features[level], f"{block}.reduce"), f"{block}.adapt", 2)
        if level < 3:
            coarse = conv(outputs[level + 1], f"{block}.fuse.coarse")
            coarse = F.interpolate(coarse, x.shape[-2:], mode="bilinear", align_corners=False)
            x = conv(x, f"{block}.fuse.fine") + coarse
        top = x = F.relu(x)
        for link in range(4):
            name = f"{block}.pool.convolutions.{link}"
            top = conv(F.max_pool2d(top, 5, 1, 2), name) if pool_first else conv(top, name)
            top = top if pool_first else F.max_pool2d(top, 5, 1, 2)
            x = x + top
        outputs[level] = units(x, f"{block}.output", 3)
    return [outputs[level] for level in range(4)]


@pytest.mark.parametrize("pool_first", [True, False])
def test_decoder_is_the_released_one(pool_first):
    shape = DecoderShape(width=6, top_width=10, pool_first=pool_first, initialisation="scaled")
    decoder = RefineNetDecoder(CHANNELS, shape).double()
    for name, parameter in decoder.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    sizes = [(17, 21), (9, 11), (5, 6), (3, 3)]
    features = [torch.randn(2, c, *size).double() for c, size in zip(CHANNELS, sizes, strict=True)]
    expected = released_refinenet(decoder.state_dict(), features, pool_first)
    torch.testing.assert_close(decoder(features), expected)
    assert [x.shape[1] for x in expected] == list(decoder.channels) == [6, 6, 6, 10]


@pytest.mark.parametrize("sum_features", ["onward", "output"])
def test_depth_features_are_added_level_by_level(sum_features):
    network = make(sum_features=sum_features, depth_bound="none").double().eval()
    image = torch.randn(2, 3, *SIZE).double()
    features = network.encoder(image)
    depth = network.depth_decoder(features)
    if sum_features == "output":
        own = network.segmentation_decoder(features)
        sums = [a + b for a, b in zip(own, depth, strict=True)]
    else:
        blocks = network.segmentation_decoder.blocks
        sums = [blocks[3](features[3]) + depth[3]]
        for level in (2, 1, 0):
            sums.insert(0, blocks[level](features[level], sums[0]) + depth[level])
    expected = MultiTaskOutput(
        literal_head(network.segmentation_head, sums, SIZE),
        (math.log(128.5) + literal_head(network.depth_head, depth, SIZE))[:, 0],
        tuple(head(x) for head, x in zip(network.side_heads, sums, strict=True)),
    )
    assert_same(network(image, side_outputs=True), expected)


@pytest.mark.parametrize(
    ("kernel", "width", "expected"), [(3, 16, 0.04), (3, 256, 0.01), (1, 64, 0.06)]
)
def test_scaled_initialisation_has_the_gain_of_the_released_width(kernel, width, expected):
    shape = DecoderShape(width=width, top_width=width, kernel_size=kernel,
                         adapt_units=0, output_units=0, initialisation="scaled")  # fmt: skip
    decoder = RefineNetDecoder((width,) * 4, shape)
    for layer in (decoder.blocks[0].reduce, decoder.blocks[2].pool.convolutions[1]):
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.1)


def conv(weights, x, name, dilation=1):
    weight = weights[f"{name}.weight"]
    padding = dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, weights.get(f"{name}.bias"), padding=padding, dilation=dilation)


def conv_norm_relu(weights, x, name, dilation=1):
    """Convolution, batch norm by its definition, ReLU."""
    x = conv(weights, x, f"{name}.0", dilation)
    mean, variance, gain, shift = (
        weights[f"{name}.1.{key}"].view(-1, 1, 1)
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    return F.relu((x - mean) / (variance + 1e-5).sqrt() * gain + shift)


def upsampled(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize(("output_stride", "rates"), [(16, (6, 12, 18)), (8, (12, 24, 36))])
def test_deeplabv3_is_the_published_one(output_stride, rates):
    network = make("deeplabv3", output_stride=output_stride, depth_bound="none").double().eval()
    randomise_norms(network)
    weights, image = network.state_dict(), torch.randn(2, 3, *SIZE).double()
    x = network.encoder(image)[3]
    branches = [conv_norm_relu(weights, x, "pyramid.local.0")]
    for index, rate in enumerate(rates, start=1):
        branches.append(conv_norm_relu(weights, x, f"pyramid.local.{index}", rate))
    mean = F.relu(conv(weights, x.mean((2, 3), keepdim=True), "pyramid.image_level.1"))
    branches.append(mean.expand_as(branches[0]))
    x = conv_norm_relu(weights, torch.cat(branches, 1), "pyramid.project")
    logits = upsampled(conv(weights, x, "segmentation_head"), SIZE)
    log_depth = math.log(128.5) + upsampled(conv(weights, x, "depth_head"), SIZE)[:, 0]
    assert_same(network(image), MultiTaskOutput(logits, log_depth))


def test_pspnet_is_the_published_one():
    network = make("pspnet", depth_bound="none").double().eval()
    randomise_norms(network)
    weights, image = network.state_dict(), torch.randn(2, 3, *SIZE).double()
    x = network.encoder(image)[3]
    parts = [x]
    for index, side in enumerate((1, 2, 3, 6)):
        name = f"pyramid.levels.{index}.1"
        pooled = F.adaptive_avg_pool2d(x, side)
        pooled = (
            F.relu(conv(weights, pooled, f"{name}.0"))
            if side == 1
            else conv_norm_relu(weights, pooled, name)
        )
        assert pooled.shape[1] == x.shape[1] // 4
        parts.append(upsampled(pooled, x.shape[-2:]))
    x = torch.cat(parts, 1)
    labels = conv_norm_relu(weights, x, "segmentation_head.0")
    logits = upsampled(conv(weights, labels, "segmentation_head.2"), SIZE)
    log_depth = math.log(128.5) + upsampled(conv(weights, x, "depth_head"), SIZE)[:, 0]
    assert_same(network(image), MultiTaskOutput(logits, log_depth))
