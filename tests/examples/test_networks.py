"""The networks against literal transcriptions, and the contract that mining rests on."""

from __future__ import annotations

import copy
import io
import json
import math
import pickle
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import (
    ConvNextBackbone,
    ConvNextConfig,
    ConvNextForImageClassification,
    ResNetBackbone,
    ResNetConfig,
    ResNetForImageClassification,
)

from examples.rgbd.networks import (
    CONVNEXTS,
    NETWORKS,
    RESNETS,
    BoundedLogDepth,
    ConvNextEncoder,
    FourScaleEncoder,
    MultiScaleHead,
    MultiTaskRefineNet,
    RefineNetDecoder,
    ResNetEncoder,
    build_network,
    parameter_groups,
)
from examples.rgbd.networks.encoder import STAGES, Architecture
from lwm_loss import MultiTaskOutput

CHANNELS = (8, 12, 16, 24)
NUM_CLASSES = 5
SIZE = (64, 80)


@pytest.fixture(autouse=True)
def tiny_encoders(monkeypatch):
    """One block a stage: the published code path at a hundredth of the cost."""
    torch.manual_seed(0)
    monkeypatch.setitem(RESNETS, "tiny", Architecture((1, 1, 1, 1), CHANNELS, "basic"))
    bottleneck = Architecture((2, 2, 2, 2), CHANNELS, "bottleneck")
    monkeypatch.setitem(RESNETS, "tiny_bottleneck", bottleneck)
    monkeypatch.setitem(CONVNEXTS, "tiny_convnext", Architecture((1, 1, 1, 1), CHANNELS))


def make(name="refinenet", backbone="tiny", **options):
    options.setdefault("width", 8)
    if "refinenet" in name:
        options.setdefault("initialisation", "scaled")
    return build_network(name, backbone, num_classes=NUM_CLASSES, **options)


def randomise_norms(module):
    """Give every batch norm statistics and parameters that are not the identity."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.5, 0.5)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)


def tensors(output):
    depth = [] if output.log_depth is None else [output.log_depth]
    return [output.logits, *depth, *output.side_logits]


def assert_same(actual, expected, **tolerance):
    torch.testing.assert_close(tensors(actual), tensors(expected), **tolerance)


# --- the head -----------------------------------------------------------------------------------


def literal_head(head, features, size):
    """Section III-A word by word: upsample, concatenate, one 3x3 convolution."""
    full = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in features]
    conv = nn.Conv2d(sum(head.channels), head.num_outputs, 3, padding=1)
    conv.to(head.weight.dtype).load_state_dict(head.state_dict())
    conv.weight, conv.bias = head.weight, head.bias
    return conv(torch.cat(full, dim=1))


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


# --- the decoder --------------------------------------------------------------------------------


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
    decoder = RefineNetDecoder(
        CHANNELS, width=6, top_width=10, pool_first=pool_first, initialisation="scaled"
    ).double()
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
    decoder = RefineNetDecoder((width,) * 4, width=width, top_width=width, kernel_size=kernel,
                               adapt_units=0, output_units=0, initialisation="scaled")  # fmt: skip
    for layer in (decoder.blocks[0].reduce, decoder.blocks[2].pool.convolutions[1]):
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.1)


# --- DeepLabv3 and PSPNet -----------------------------------------------------------------------


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


# --- the whole network --------------------------------------------------------------------------

EVERY_NETWORK = sorted(NETWORKS)
EVERY_CASE = [(name, "tiny") for name in EVERY_NETWORK] + [("refinenet", "tiny_convnext")]


@pytest.mark.parametrize(("name", "backbone"), EVERY_CASE)
@pytest.mark.parametrize("shape", [(1, 3, 37, 53), (2, 3, 64, 80), (2, 3, 32, 95)])
def test_shapes(name, backbone, shape):
    network = make(name, backbone)
    image = torch.randn(shape)
    for training in (True, False):
        output = network.train(training)(image)
        assert isinstance(output, MultiTaskOutput)
        assert output.logits.shape == (shape[0], NUM_CLASSES, *shape[2:])
        assert output.log_depth.shape == (shape[0], *shape[2:])
        assert 0 <= output.log_depth.min() <= output.log_depth.max() <= math.log(256) + 1e-5
        sides = [tuple(side.shape) for side in output.side_logits]
        if training and network.num_sides:
            maps = network.encoder(image)
            assert sides == [(shape[0], NUM_CLASSES, *x.shape[2:]) for x in maps]
        else:
            assert sides == []


def test_side_outputs_on_request_and_fewer():
    network = make(num_sides=2).eval()
    sides = network(torch.randn(1, 3, *SIZE), side_outputs=True).side_logits
    assert [tuple(side.shape[2:]) for side in sides] == [(16, 20), (8, 10)]
    assert network.train()(torch.randn(2, 3, *SIZE), side_outputs=False).side_logits == ()
    assert make(num_sides=0).train()(torch.randn(2, 3, *SIZE)).side_logits == ()


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_without_depth_only_labels_are_predicted(name):
    network = make(name, predict_depth=False)
    assert not [key for key in network.state_dict() if "depth" in key]
    assert network(torch.randn(2, 3, *SIZE)).log_depth is None


@pytest.mark.parametrize(
    ("name", "backbone", "options"),
    [(name, backbone, {}) for name, backbone in EVERY_CASE]
    + [
        ("refinenet", "tiny", {"sum_features": "output", "pool_first": False, "num_sides": 0}),
        ("refinenet", "tiny", {"depth_bound": "sigmoid", "initialisation": "normal"}),
        ("refinenet", "tiny", {"freeze_norm": True, "dropout": 0.1}),
    ],
)
def test_every_trainable_parameter_receives_a_gradient(name, backbone, options):
    network = make(name, backbone, **options).double().train()
    output = network(torch.randn(2, 3, *SIZE).double())
    sum(torch.randn_like(part).mul(part).sum() for part in tensors(output)).backward()
    for key, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_depth_helps_segmentation_only_where_features_are_shared(name):
    network = make(name).eval()
    image = torch.randn(1, 3, *SIZE)
    before = network(image)
    with torch.no_grad():
        for key, parameter in network.named_parameters():
            if "depth" in key:
                parameter.zero_()
    after = network(image)
    assert not torch.equal(before.log_depth, after.log_depth)
    assert torch.equal(before.logits, after.logits) == (name in ("deeplabv3", "pspnet"))


@pytest.mark.parametrize(("name", "backbone"), EVERY_CASE)
def test_evaluation_does_not_depend_on_the_batch(name, backbone):
    network = make(name, backbone, dropout=0.5)
    randomise_norms(network)
    network.double().eval()
    images = torch.randn(3, 3, 47, 66).double()
    together = network(images)
    for index in range(3):
        alone = network(images[index : index + 1])
        torch.testing.assert_close(together.logits[index : index + 1], alone.logits)
        torch.testing.assert_close(together.log_depth[index : index + 1], alone.log_depth)


# The light RefineNet is the same code with other numbers, and few units are quicker to trace.
@pytest.mark.parametrize(
    ("name", "backbone", "options"),
    [
        ("refinenet", "tiny", {"adapt_units": 1, "output_units": 1, "pooling_links": 1}),
        ("deeplabv3", "tiny_convnext", {"dropout": 0.0}),
        ("pspnet", "tiny", {"dropout": 0.0}),
    ],
)
def test_compiles_without_a_graph_break(name, backbone, options):
    torch._dynamo.reset()
    network = make(name, backbone, **options).double().train()
    image = torch.randn(2, 3, 45, 70).double()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    eager_copy = copy.deepcopy(network)
    actual, expected = compiled(image), eager_copy(image)
    assert_same(actual, expected)
    for output in (actual, expected):
        sum(part.square().sum() for part in tensors(output)).backward()
    for (key, ours), theirs in zip(
        network.named_parameters(), eager_copy.parameters(), strict=True
    ):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=key)


@pytest.mark.parametrize(("name", "backbone"), EVERY_CASE)
def test_copies_and_formats_agree(name, backbone):
    network = make(name, backbone)
    randomise_norms(network)
    network.eval()
    image = torch.randn(2, 3, *SIZE)
    expected = network(image)

    assert_same(copy.deepcopy(network)(image), expected, rtol=0, atol=0)
    assert_same(pickle.loads(pickle.dumps(network))(image), expected, rtol=0, atol=0)

    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other = make(name, backbone).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_same(other(image), expected, rtol=0, atol=0)

    last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    assert_same(last(image.to(memory_format=torch.channels_last)), expected, rtol=1e-3, atol=1e-4)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(image)
    assert half.log_depth.dtype == torch.float32
    for ours, theirs in zip(tensors(half), tensors(expected), strict=True):
        assert ours.isfinite().all()
        assert (ours - theirs).abs().max() <= 0.05 * theirs.abs().max() + 0.02


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_a_few_steps_lower_the_loss(name):
    network = make(name, dropout=0.0).train()
    optimizer = torch.optim.SGD(parameter_groups(network, 0.01), momentum=0.9)
    image, label = torch.randn(2, 3, *SIZE), torch.randint(NUM_CLASSES, (2, 4, 5))
    label = label.repeat_interleave(16, 1).repeat_interleave(16, 2)
    depth = 1.0 + label.float()
    losses = []
    for _ in range(12):
        output = network(image)
        loss = F.cross_entropy(output.logits, label) + (output.log_depth - depth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("backbone", "encoder", "decoder", "network"),
    [("resnet18", 11.18, 65.33, 142.36), ("resnet50", 23.51, 75.50, 175.04),
     ("resnet101", 42.50, 75.50, 194.03), ("resnet152", 58.14, 75.50, 209.68)],
)  # fmt: skip
def test_parameter_counts_in_millions(backbone, encoder, decoder, network):
    with torch.device("meta"):
        built = build_network("refinenet", backbone, num_classes=40)
    counted = [
        sum(parameter.numel() for parameter in part.parameters()) / 1e6
        for part in (built.encoder, built.depth_decoder, built)
    ]
    assert counted == pytest.approx([encoder, decoder, network], abs=0.005)


# --- encoders -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["tiny", "tiny_bottleneck", "tiny_convnext"])
def test_encoder_gives_the_maps_of_transformers(backbone):
    if backbone == "tiny_convnext":
        ours = ConvNextEncoder(backbone)
        theirs = ConvNextBackbone(
            ConvNextConfig(depths=[1] * 4, hidden_sizes=list(CHANNELS), out_features=STAGES)
        )
        theirs.embeddings.load_state_dict(ours.embeddings.state_dict())
        theirs.encoder.stages.load_state_dict(ours.stages.state_dict())
        for stage, norm in zip(STAGES, ours.norms, strict=True):
            nn.init.normal_(norm.weight)
            theirs.hidden_states_norms[stage].load_state_dict(norm.state_dict())
    else:
        ours = ResNetEncoder(backbone)
        theirs = ResNetBackbone(
            ResNetConfig(
                depths=list(RESNETS[backbone].depths),
                hidden_sizes=list(CHANNELS),
                layer_type=RESNETS[backbone].layer_type,
                out_features=STAGES,
            )
        )
        theirs.embedder, theirs.encoder.stages = ours.embedder, ours.stages
    randomise_norms(ours)
    image = torch.randn(2, 3, 53, 70)
    maps = ours.eval()(image)
    torch.testing.assert_close(maps, theirs.eval()(image).feature_maps, rtol=0, atol=0)
    assert isinstance(ours, FourScaleEncoder)
    assert tuple(x.shape[1] for x in maps) == ours.channels


@pytest.mark.parametrize("backbone", ["tiny", "tiny_bottleneck"])
@pytest.mark.parametrize("output_stride", [16, 8])
def test_dilated_maps_hold_the_strided_ones(backbone, output_stride):
    strided = ResNetEncoder(backbone).double()
    randomise_norms(strided)
    dilated = ResNetEncoder(backbone, output_stride=output_stride).double()
    dilated.load_state_dict(strided.state_dict())
    image = torch.randn(1, 3, 85, 102).double()
    for coarse, fine, stride in zip(
        strided.eval()(image), dilated.eval()(image), (4, 8, 16, 32), strict=True
    ):
        step = max(1, stride // output_stride)
        torch.testing.assert_close(fine[:, :, ::step, ::step], coarse)
        assert fine.shape[-1] == -(-102 // min(stride, output_stride))


def test_frozen_norm_survives_training():
    network = make(freeze_norm=True)
    randomise_norms(network)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [copy.deepcopy(norm.state_dict()) for norm in norms]
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    network.eval().train()
    assert network.encoder.training
    output = network(torch.randn(1, 3, 32, 32))  # one value per channel in the last map
    sum(part.sum() for part in tensors(output)).backward()
    optimizer.step()
    assert not any(norm.training for norm in norms)
    for norm, state in zip(norms, before, strict=True):
        torch.testing.assert_close(dict(norm.state_dict()), dict(state), rtol=0, atol=0)
    copied = pickle.loads(pickle.dumps(network)).train()
    assert not any(m.training for m in copied.modules() if isinstance(m, nn.BatchNorm2d))


def test_norm_is_trained_from_scratch_and_frozen_when_pretrained(tmp_path):
    network = make().train()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.training and norm.weight.requires_grad for norm in norms)
    save_classifier(tmp_path)
    assert make(pretrained=str(tmp_path)).encoder.freeze_norm
    assert not make(pretrained=str(tmp_path), freeze_norm=False).encoder.freeze_norm


def save_classifier(folder, **changes):
    """Save a whole classifier, as the hub has them: the encoder's names have a prefix there."""
    settings = {"depths": [1] * 4, "hidden_sizes": list(CHANNELS), "layer_type": "basic"}
    model = ResNetForImageClassification(ResNetConfig(**{**settings, **changes}))
    randomise_norms(model)
    model.save_pretrained(folder)
    return model


def test_pretrained_weights_are_those_of_the_folder(tmp_path):
    model = save_classifier(tmp_path)
    encoder = ResNetEncoder("tiny", pretrained=str(tmp_path)).eval()
    image = torch.randn(1, 3, *SIZE)
    expected = model.eval()(image, output_hidden_states=True).hidden_states[1:]
    torch.testing.assert_close(encoder(image), tuple(expected), rtol=0, atol=0)

    model.half().save_pretrained(tmp_path)
    encoder = ResNetEncoder("tiny", pretrained=str(tmp_path))
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_pretrained_convnext_weights_are_those_of_the_folder(tmp_path):
    config = ConvNextConfig(depths=[1] * 4, hidden_sizes=list(CHANNELS))
    model = ConvNextForImageClassification(config)
    model.save_pretrained(tmp_path)
    encoder = ConvNextEncoder("tiny_convnext", pretrained=str(tmp_path))
    for ours, theirs in (
        (encoder.embeddings, model.convnext.embeddings),
        (encoder.stages, model.convnext.encoder.stages),
    ):
        expected = dict(theirs.state_dict())
        torch.testing.assert_close(dict(ours.state_dict()), expected, rtol=0, atol=0)


def test_pretrained_weights_that_do_not_fit_are_refused(tmp_path):
    def refused(match, name="tiny", folder=tmp_path):
        with pytest.raises(ValueError, match=match) as caught:
            ResNetEncoder(name, pretrained=str(folder))
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith("Expected ")

    refused("cannot be loaded", folder=tmp_path / "nowhere")
    refused("cannot be loaded")  # an empty folder
    save_classifier(tmp_path, depths=[2, 1, 1, 1])
    refused(r"a tiny with depths \[1, 1, 1, 1\], but got \[2, 1, 1, 1\]")
    refused("layer_type 'bottleneck', but got 'basic'", name="tiny_bottleneck")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "depths": [1, 1, 1, 1]}))
    ResNetEncoder("tiny", pretrained=str(tmp_path))  # the extra block is not asked for
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "convnext"}))
    refused("model_type 'resnet', but got 'convnext'")
    save_classifier(tmp_path)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    refused("cannot be loaded")
    (tmp_path / "config.json").write_text("{")
    refused("cannot be loaded")


def test_pretrained_weights_must_be_complete(tmp_path):
    model = save_classifier(tmp_path)
    weights = {k: v for k, v in model.state_dict().items() if "stages.2" not in k}
    model.save_pretrained(tmp_path, state_dict=weights)
    with pytest.raises(ValueError, match="to hold all weights of a tiny, but got none for"):
        ResNetEncoder("tiny", pretrained=str(tmp_path))


class PlainEncoder(nn.Module):
    """Somebody's own encoder."""

    def __init__(self):
        super().__init__()
        self.channels = (3, 4, 5, 6)
        self.stem = nn.Conv2d(3, 3, 3, 2, padding=1)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 3, 2, padding=1) for a, b in pairwise((3, *self.channels))
        )

    def forward(self, image):
        maps = [F.relu(self.stem(image))]
        for convolution in self.convolutions:
            maps.append(F.relu(convolution(maps[-1])))
        return maps[1:]


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_any_encoder_of_four_maps_fits(name):
    output = make(name, PlainEncoder()).train()(torch.randn(2, 3, 50, 61))
    assert output.logits.shape == (2, NUM_CLASSES, 50, 61)


# --- building, options, errors ------------------------------------------------------------------


def test_parameter_groups_hold_every_trainable_parameter_once():
    network = make(freeze_norm=True)
    encoder, decoder = parameter_groups(network, 0.01, encoder_factor=0.1)
    assert (encoder["name"], decoder["name"]) == ("encoder", "decoder")
    assert (encoder["lr"], decoder["lr"]) == (pytest.approx(0.001), 0.01)
    ours = [id(p) for group in (encoder, decoder) for p in group["params"]]
    assert sorted(ours) == sorted(id(p) for p in network.parameters() if p.requires_grad)
    convolutions = {id(p) for p in network.encoder.parameters() if p.ndim == 4}
    assert {id(p) for p in encoder["params"]} == convolutions
    torch.optim.SGD([encoder, decoder], momentum=0.9)
    with pytest.raises(TypeError, match=r"module `encoder`.*is it wrapped"):
        parameter_groups(nn.DataParallel(network), 0.01)


def test_builder_follows_the_published_strides_and_drops_unset_options():
    strides = {name: make(name).encoder.output_stride for name in EVERY_NETWORK}
    assert strides == {"refinenet": 32, "light_refinenet": 32, "deeplabv3": 16, "pspnet": 8}
    assert make("deeplabv3", output_stride=8).encoder.output_stride == 8
    assert make("pspnet", "tiny_convnext")(torch.randn(1, 3, *SIZE)).logits.shape[2:] == SIZE
    assert make(num_sides=None, width=None).segmentation_decoder.channels == (256, 256, 256, 512)
    assert make(width=6).segmentation_decoder.channels == (6, 6, 6, 12)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"name": "unet"}, "`name` to be one of refinenet, light_refinenet, deeplabv3, pspnet"),
        ({"backbone": "vgg"}, "`backbone` to be one of resnet18, .*, but got 'vgg'"),
        ({"name": "pspnet", "num_sides": 4}, "options of 'pspnet' .*, but got num_sides"),
        ({"name": "light_refinenet", "kernel_size": 3}, "options of 'light_refinenet'"),
        ({"num_sides": 5}, "`num_sides` to be 0 to 4, but got 5"),
        ({"width": 0}, "`width` to be at least 1, but got 0"),
        ({"sum_features": "both"}, "'onward' or 'output', but got 'both'"),
        ({"initialisation": "he"}, "'normal' or 'scaled', but got 'he'"),
        ({"depth_bound": "tanh"}, "'clamp', 'sigmoid' or 'none', but got 'tanh'"),
        ({"depth_range": (0.0, 10.0)}, "0 < lo < hi, but got"),
        ({"output_stride": 4}, "`output_stride` to be 8, 16 or 32, but got 4"),
        ({"backbone": "tiny_convnext", "freeze_norm": True}, "which has layer norm"),
        ({"backbone": "tiny_convnext", "output_stride": 8}, "did you mean a ResNet"),
        ({"backbone": PlainEncoder(), "pretrained": "x"}, "which is already made"),
    ],
)
def test_builder_errors(arguments, match):
    with pytest.raises(ValueError, match=match):
        make(**arguments)


def test_encoder_without_channels_is_refused():
    with pytest.raises(TypeError, match="`channels`, a tuple of four integers, but got Conv2d"):
        MultiTaskRefineNet(nn.Conv2d(3, 3, 1), 2)


@pytest.mark.parametrize("name", EVERY_NETWORK)
@pytest.mark.parametrize(
    ("image", "error", "match"),
    [
        (torch.zeros(3, 64, 64), ValueError, r"\(B, 3, H, W\), but got \(3, 64, 64\): did you"),
        (torch.zeros(1, 64, 64, 3), ValueError, "to put the channels first"),
        (torch.zeros(1, 3, 31, 64), ValueError, "at least 32 x 32, .* but got 31 x 64"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), TypeError, "scale and normalise"),
    ],
)
def test_images_that_cannot_be_right(name, image, error, match):
    with pytest.raises(error, match=match):
        make(name)(image)


def test_batch_norm_cannot_learn_from_one_value():
    with pytest.raises(ValueError, match=r"one image of 32 x 32.*`freeze_norm=True`"):
        make().train()(torch.zeros(1, 3, 32, 32))
    make().eval()(torch.zeros(1, 3, 32, 32))
    make().train()(torch.zeros(2, 3, 32, 32))
    for name in ("deeplabv3", "pspnet"):
        with pytest.raises(ValueError, match="one image whose last map is a single pixel"):
            make(name, PlainEncoder()).train()(torch.zeros(1, 3, 32, 32))
