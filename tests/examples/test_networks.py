"""What every network keeps: shapes, gradients, independence of the batch, copies, options, errors."""

from __future__ import annotations

import copy
import hashlib
import io
import math
import pickle
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from examples.rgbd.networks import (
    NETWORKS,
    MultiTaskRefineNet,
    build_network,
    parameter_groups,
)
from examples.rgbd.options.groups import NetworkName
from lwm_loss import MultiTaskOutput
from tests.examples.network_support import (
    NUM_CLASSES,
    SIZE,
    PlainEncoder,
    assert_same,
    make,
    randomise_norms,
    register_tiny_encoders,
    tensors,
)


@pytest.fixture(autouse=True)
def tiny_encoders(monkeypatch):
    register_tiny_encoders(monkeypatch)


EVERY_NETWORK = ["deeplabv3", "light_refinenet", "pspnet", "refinenet"]
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


# That the others are one graph too is a check of the kit, see tests/kit/test_networks.py.
@pytest.mark.slow
def test_compiled_gradients_are_eager_ones():
    torch._dynamo.reset()
    network = make("pspnet", dropout=0.0).double().train()
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("refinenet", "24c7f7b23e189983"),
        ("light_refinenet", "727105d60d6c109c"),
        ("deeplabv3", "4f9edab357085477"),
        ("pspnet", "36c85f831f95e38f"),
    ],
)
def test_checkpoints_of_the_first_release_load(name, digest):
    """The digest is that of the names and shapes that the first release wrote, in their order."""
    network = make(name)
    state = {key: value for key, value in network.state_dict().items() if key[-6:] != "offset"}
    assert network.load_state_dict(state) == ([], [])
    layout = repr([(key, tuple(value.shape)) for key, value in state.items()])
    assert hashlib.sha256(layout.encode()).hexdigest()[:16] == digest


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


@pytest.mark.slow
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


def test_every_network_is_a_choice_of_the_command_line():
    assert set(get_args(NetworkName)) == set(NETWORKS)


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


@pytest.mark.slow
def test_batch_norm_cannot_learn_from_one_value():
    with pytest.raises(ValueError, match=r"one image of 32 x 32.*`freeze_norm=True`"):
        make().train()(torch.zeros(1, 3, 32, 32))
    make().eval()(torch.zeros(1, 3, 32, 32))
    make().train()(torch.zeros(2, 3, 32, 32))
    for name in ("deeplabv3", "pspnet"):
        with pytest.raises(ValueError, match="one image whose last map is a single pixel"):
            make(name, PlainEncoder()).train()(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_any_encoder_of_four_maps_fits(name):
    output = make(name, PlainEncoder()).train()(torch.randn(2, 3, 50, 61))
    assert output.logits.shape == (2, NUM_CLASSES, 50, 61)
