"""The other networks of Table I: counts, shapes, gradients, their second input, their sources."""

from __future__ import annotations

import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from examples.rgbd.networks import (
    NETWORKS,
    VGGS,
    DepthFromImage,
    FullyConnected,
    MultiStreamEncoder,
    ResNetEncoder,
    VGGEncoder,
    build_network,
    parameter_groups,
)
from examples.rgbd.networks.fcn import centred_log_depth
from examples.rgbd.networks.inputs import normalise_hha
from examples.rgbd.networks.rdfnet import inverse_depth
from examples.rgbd.networks.vgg import LARGE_FOV
from examples.rgbd.networks.weights import load_weights_file
from lwm_loss import MultiTaskOutput
from tests.examples.network_support import (
    CHANNELS,
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


CASES = {
    "fcn": ("fcn", "tiny_vgg", {}),
    "fcn-16s-rgbd": ("fcn", "tiny_vgg", {"input": "rgbd", "stride": 16}),
    "fcn-rgb-hha": ("fcn", "tiny_vgg", {"input": "rgb-hha"}),
    "depth_aware_cnn": ("depth_aware_cnn", "tiny_vgg", {}),
    "depth_aware_cnn-rgb-hha": ("depth_aware_cnn", "tiny_vgg", {"input": "rgb-hha"}),
    "depth_aware_cnn-resnet": ("depth_aware_cnn", "tiny_bottleneck", {}),
    "rdfnet-rgb": ("rdfnet", "tiny", {"input": "rgb"}),
    "rdfnet-rgbd": ("rdfnet", "tiny", {"input": "rgbd"}),
    "rdfnet": ("rdfnet", "tiny", {}),
    "acnet": ("acnet", "tiny", {}),
    "light_refinenet": ("light_refinenet", "mobilenet_v2", {}),
}
READS_DEPTH = [
    key for key in CASES if key not in ("fcn", "rdfnet-rgb", "light_refinenet", "trl", "pap")
]


def case(key, **options):
    name, backbone, settings = CASES[key]
    return make(name, backbone, **{**settings, **options})


def seen(network):
    """The network, called with an image alone."""
    return network if network.input == "rgb" else DepthFromImage(network)


def depth_for(network, image):
    batch, _, height, width = image.shape
    metres = 1 + 3 * torch.rand(batch, 1, height, width, dtype=image.dtype)
    hha = 255 * torch.rand(batch, 3, height, width, dtype=image.dtype)
    return torch.cat([metres, hha], 1) if network.input == "rgb-hha" else metres


def stirred(network):
    """A network without weights or statistics at a constant, such as FCN's scores of zero."""
    randomise_norms(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("key", CASES)
@pytest.mark.parametrize("shape", [(1, 3, 37, 53), (2, 3, 32, 95)])
def test_shapes(key, shape):
    network = case(key)
    output = seen(network).eval()(torch.randn(shape))
    assert isinstance(output, MultiTaskOutput)
    assert output.logits.shape == (shape[0], NUM_CLASSES, *shape[2:])
    assert output.log_depth.shape == (shape[0], *shape[2:])
    assert output.side_logits == ()
    assert 0 <= output.log_depth.min() <= output.log_depth.max() <= 5.5452


@pytest.mark.parametrize("key", CASES)
def test_every_parameter_receives_a_gradient(key):
    network = stirred(case(key)).double().train()
    output = seen(network)(torch.randn(2, 3, *SIZE).double())
    assert len(output.side_logits) == network.num_sides
    sum(torch.randn_like(part).mul(part).sum() for part in tensors(output)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("key", CASES)
def test_evaluation_depends_neither_on_the_batch_nor_on_the_copy(key):
    network = seen(stirred(case(key))).double().eval()
    images = torch.randn(2, 3, 47, 66).double()
    together = network(images)
    alone = pickle.loads(pickle.dumps(network))(images[1:])
    torch.testing.assert_close(together.logits[1:], alone.logits)
    torch.testing.assert_close(together.log_depth[1:], alone.log_depth)


@pytest.mark.parametrize("key", CASES)
def test_without_depth_only_labels_are_predicted(key):
    network = case(key, predict_depth=False)
    assert seen(network).eval()(torch.randn(1, 3, *SIZE)).log_depth is None
    assert not [name for name in network.state_dict() if "depth_head" in name]


@pytest.mark.parametrize("key", READS_DEPTH)
def test_depth_is_read(key):
    network = stirred(case(key)).eval()
    image = torch.randn(1, 3, *SIZE)
    first, second = (network(image, depth_for(network, image)) for _ in range(2))
    assert not torch.equal(first.logits, second.logits)
    holes = depth_for(network, image)
    holes[:, 0, :20] = 0
    assert network(image, holes).logits.isfinite().all()


@pytest.mark.parametrize("key", READS_DEPTH)
def test_depth_that_cannot_be_right_is_refused(key):
    network, image = case(key).eval(), torch.randn(1, 3, *SIZE)
    depth = depth_for(network, image)
    with pytest.raises(ValueError, match=r"Expected `depth` as \(1, \d, 64, 80\), metres.*, but"):
        network(image, depth[..., 1:])
    with pytest.raises(TypeError, match="floating-point metres, but got"):
        network(image, depth.long())
    if "rdfnet" not in key:
        with pytest.raises(ValueError, match=r"did you mean network\(image, depth\)"):
            network(image)
    if network.input == "rgbd":
        assert_same(network(image, depth[:, 0]), network(image, depth), rtol=0, atol=0)


@pytest.mark.parametrize("key", CASES)
def test_encoders_learn_at_the_rate_of_the_encoder(key):
    network = case(key)
    groups = parameter_groups(network, 0.01, encoder_factor=0.1)
    encoders = {id(parameter) for parameter in network.encoder.parameters()}
    assert {id(parameter) for parameter in groups[0]["params"]} == encoders
    backbones = [
        module for module in network.modules() if isinstance(module, ResNetEncoder | VGGEncoder)
    ]
    assert all(id(each) in encoders for part in backbones for each in part.parameters())


def count(name, backbone=None, **options):
    with torch.device("meta"):
        network = build_network(name, backbone, num_classes=40, **options)
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "backbone", "options", "expected"),
    [
        ("acnet", "resnet50", {}, 116_628_168),
        ("rdfnet", "resnet50", {}, 149_142_952),
        ("rdfnet", "resnet101", {}, 187_127_208),
        ("rdfnet", "resnet152", {}, 218_414_504),
        ("fcn", "vgg16", {"input": "rgb"}, 134_424_424),
        ("fcn", "vgg16", {"input": "rgb-hha"}, 2 * 134_424_424),
        ("depth_aware_cnn", "vgg16", {}, 20_565_864),
        ("depth_aware_cnn", "vgg16", {"input": "rgb-hha"}, 2 * 20_565_864),
    ],
)
def test_parameters_are_the_published_ones(name, backbone, options, expected):
    assert count(name, backbone, predict_depth=False, **options) == expected


def test_parameters_of_the_shared_light_refinenet_are_the_published_ones():
    assert count("light_refinenet", "mobilenet_v2") == 3_070_057


# --- each against its source -----------------------------------------------------------------------


def torchvision_layout(encoder):
    """The convolutions of an encoder under torchvision's names, as a list of modules there."""
    layers = []
    for block in encoder.blocks:
        for convolution in block:
            layers += [convolution, nn.ReLU()]
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.ModuleDict({"features": nn.Sequential(*layers)})


def test_vgg_is_that_of_torchvision(tmp_path):
    source = VGGEncoder("tiny_vgg")
    layout = torchvision_layout(source)
    torch.save(layout.state_dict(), tmp_path / "vgg.pth")
    encoder = VGGEncoder("tiny_vgg", pretrained=str(tmp_path / "vgg.pth"))
    image = torch.randn(2, 3, 50, 71)
    torch.testing.assert_close(encoder(image)[-1], layout["features"](image), rtol=0, atol=0)
    names = [name.removesuffix(".weight") for name in layout.state_dict() if "weight" in name]
    assert names == [f"features.{index}" for index in (0, 3, 6, 9, 11, 14)]
    with torch.device("meta"):
        published = torchvision_layout(VGGEncoder("vgg16")).state_dict()
    assert [int(key.split(".")[1]) for key in published if key.endswith("bias")] == [
        0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28,
    ]  # fmt: skip

    torch.save({"features.0.weight": torch.zeros(6, 3, 3, 3)}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"'features\.0\.bias' being the first"):
        VGGEncoder("tiny_vgg", pretrained=str(tmp_path / "part.pth"))
    with pytest.raises(ValueError, match=r"to be 'torchvision' or a file ending in .pth"):
        VGGEncoder("tiny_vgg", pretrained=str(tmp_path))


def test_a_fully_connected_layer_of_the_file_is_a_convolution_over_the_whole_map(tmp_path):
    layer = nn.Linear(3 * 2 * 4, 5)
    torch.save({"classifier.0." + key: value for key, value in layer.state_dict().items()},
               tmp_path / "fc.pth")  # fmt: skip
    ours = nn.Sequential(nn.Conv2d(3, 5, (2, 4)))
    load_weights_file(ours, tmp_path / "fc.pth", {"classifier.0": "0"}, network="vgg16")
    window = torch.randn(1, 3, 2, 4)
    torch.testing.assert_close(ours(window).flatten(), layer(window.flatten()))
    with torch.device("meta"):
        encoder = VGGEncoder("vgg16", fully_connected=FullyConnected())
        deeplab = VGGEncoder("vgg16", fully_connected=LARGE_FOV)
    assert encoder.fc6.weight.shape == (4096, 512, 7, 7)  # 25,088 inputs, in this order
    assert deeplab.fc6.weight.shape == (1024, 512, 3, 3)


def test_vgg_starts_with_the_variance_that_he_et_al_derived():
    encoder = VGGEncoder("vgg11")
    for layer in (encoder.blocks[2][1], encoder.blocks[4][0]):
        assert layer.weight.std().item() == pytest.approx(
            (2 / (9 * layer.out_channels)) ** 0.5, rel=0.02
        )
        assert not layer.bias.any()


def test_late_fusion_is_the_mean_of_two_networks():
    both = stirred(make("fcn", "tiny_vgg", input="rgb-hha")).eval()
    image, depth = torch.randn(1, 3, *SIZE), 255 * torch.rand(1, 4, *SIZE)
    outputs = []
    for name, picture in (("rgb", image), ("depth", normalise_hha(depth))):
        one = make("fcn", "tiny_vgg").eval()
        one.encoder = getattr(both.encoder, name)
        one.heads["rgb"] = both.heads[name]
        outputs.append(one(picture))
    mean = [sum(parts) / 2 for parts in zip(*map(tensors, outputs), strict=True)]
    torch.testing.assert_close(tensors(both(image, depth)), mean)


def test_early_fusion_starts_with_the_mean_of_the_colours():
    stem = make("fcn", "tiny_vgg", input="rgbd").encoder.blocks[0][0]
    torch.testing.assert_close(stem.weight[:, 3], stem.weight[:, :3].mean(1))
    depth = torch.tensor([0.0, 2.5516]).view(1, 1, 1, 2)
    torch.testing.assert_close(centred_log_depth(depth), torch.zeros(1, 1, 1, 2), atol=1e-3, rtol=0)
    stem = make("acnet").encoder.depth.embedder.embedder.convolution
    assert stem.weight.shape[1] == stem.in_channels == 1


def test_fcn_16s_adds_the_scores_of_the_fourth_pool():
    network = stirred(make("fcn", "tiny_vgg", stride=16)).eval()
    head, encoder, image = network.heads["rgb"], network.encoder, torch.randn(1, 3, 70, 83)
    maps = encoder(image)
    x = F.relu(F.conv2d(maps[3], encoder.fc6.weight, encoder.fc6.bias, padding=3))
    score = head.score(F.relu(encoder.fc7(x)))
    doubled = F.conv_transpose2d(score, head.upscore.weight, stride=2, padding=1)
    score = doubled[..., : maps[2].shape[2], : maps[2].shape[3]] + head.score_pool4(maps[2])
    expected = F.interpolate(score, (70, 83), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(image).logits, expected)
    fresh = make("fcn", "tiny_vgg", stride=16).heads["rgb"].upscore
    x = torch.randn(1, NUM_CLASSES, 5, 6)
    bilinear = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(fresh(x)[..., 1:-1, 1:-1], bilinear[..., 1:-1, 1:-1])


def test_rdfnet_without_depth_is_its_rgb_half():
    whole = make("rdfnet", input="rgbd").eval()
    half = make("rdfnet", input="rgb").eval()
    weights = {
        key.replace("encoder.rgb.", "encoder."): value
        for key, value in whole.state_dict().items()
        if "encoder.depth." not in key and ".depth." not in key
    }
    half.load_state_dict(weights)
    image = torch.randn(1, 3, *SIZE)
    assert_same(whole(image), half(image), rtol=0, atol=0)


def test_rdfnet_fuses_as_released():
    network = make("rdfnet", input="rgbd").double().eval()
    fusion = network.fusions[1]
    rgb, depth = torch.randn(2, 1, CHANNELS[1], 9, 11).double()

    def path(layers, x):
        _, reduce, units, last = layers
        x = F.conv2d(x, reduce.weight)
        for unit in units:
            residual = F.conv2d(F.relu(x), unit.first.weight, unit.first.bias, padding=1)
            x = x + F.conv2d(F.relu(residual), unit.second.weight, padding=1)
        return F.conv2d(x, last.weight, padding=1)

    total = F.relu(path(fusion.rgb, rgb) + path(fusion.depth, depth))
    pooled = F.conv2d(F.max_pool2d(total, 5, 1, 2), fusion.pooled.weight, padding=1)
    torch.testing.assert_close(fusion(rgb, depth), total + pooled)
    assert [len(block.pool.convolutions) for block in network.decoder.blocks] == [2] * 4
    assert all(isinstance(block.reduce, nn.Identity) for block in network.decoder.blocks)
    seen = inverse_depth(torch.tensor([0.0, 150 / 66.38]).view(1, 1, 1, 2))
    torch.testing.assert_close(seen, torch.zeros(1, 3, 1, 2), atol=1e-4, rtol=0)


def test_acnet_merges_as_released():
    network = stirred(make("acnet")).double().eval()
    image, depth = torch.randn(1, 3, 64, 96).double(), torch.rand(1, 1, 64, 96).double()
    encoder = network.encoder

    def attended(attention, x):
        weight, bias = attention.convolution.weight, attention.convolution.bias
        return x * torch.sigmoid(x.mean((2, 3)) @ weight[:, :, 0, 0].t() + bias)[..., None, None]

    def both(level, rgb, depth):
        return attended(network.rgb_attention[level], rgb) + attended(
            network.depth_attention[level], depth
        )

    rgb = encoder.rgb.embedder.embedder(image)
    metres = encoder.depth.embedder.embedder((depth - 2.84245) / 0.99328)
    merged = both(0, rgb, metres)
    skips = [network.skips[0](merged)]
    rgb, metres, merged = (F.max_pool2d(x, 3, 2, 1) for x in (rgb, metres, merged))
    for level in range(4):
        rgb, metres = encoder.rgb.stages[level](rgb), encoder.depth.stages[level](metres)
        merged = encoder.merge.stages[level](merged) + both(level + 1, rgb, metres)
        skips.append(network.skips[level + 1](merged))
    x, stages = skips[4], []
    for stage, skip in zip(network.stages, skips[3::-1], strict=True):
        stages.append(stage(x))
        x = stages[-1] + skip
    x = network.last(x)
    output = network(image, depth, side_outputs=True)
    torch.testing.assert_close(output.logits, network.segmentation_head(x))
    sides = [head(x) for head, x in zip(network.side_heads, stages[::-1], strict=True)]
    torch.testing.assert_close(list(output.side_logits), sides)
    assert [len(stage) for stage in network.stages] == [6, 4, 3, 3]
    assert not hasattr(encoder.merge, "embedder")


def test_depth_aware_cnn_of_flat_depth_is_plain_deeplab():
    """With constant depth every guided operation is the plain one, so the depth's value is free."""
    network = stirred(make("depth_aware_cnn", "tiny_vgg")).double().eval()
    image = torch.randn(1, 3, *SIZE).double()
    encoder, head = network.encoder, network.heads["rgb"]
    x = image
    for index, block in enumerate(encoder.blocks):
        for layer in block:
            x = F.relu(layer(x))
        x = F.max_pool2d(x, 3, 2 if index < 3 else 1, 1)
    assert encoder.blocks[4][0].dilation == (2, 2)
    x = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    x = F.relu(encoder.fc7(F.relu(encoder.fc6(x))))
    x = torch.cat([x, x.mean((2, 3), keepdim=True).expand_as(x)], 1)
    logits = F.interpolate(head.score(x), SIZE, mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(image, torch.full((1, *SIZE), 3.0).double()).logits, logits)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"name": "fcn", "backbone": "tiny"}, ValueError, "`backbone` of 'fcn' to be one of vgg11"),
        ({"name": "fcn", "backbone": "tiny_vgg", "freeze_norm": True}, ValueError, "has no norm"),
        ({"name": "fcn", "backbone": "tiny_vgg", "stride": 8}, ValueError, "16 or 32, but got 8"),
        ({"name": "acnet", "input": "rgb"}, ValueError, "one of rgbd for a ACNet, but got 'rgb'"),
        ({"name": "refinenet", "input": "rgbd"}, ValueError, "options of 'refinenet'"),
        ({"name": "rdfnet", "input": "hha"}, ValueError, "rgb, rgbd, rgb-hha for a RDFNet"),
        ({"name": "rdfnet", "backbone": ResNetEncoder("resnet18")}, TypeError, "stream `depth`"),
        ({"name": "depth_aware_cnn", "backbone": "tiny_vgg", "alpha": -1.0}, ValueError, "`alpha`"),
    ],
)
def test_what_cannot_be_built_is_said(arguments, error, match):
    with pytest.raises(error, match=match):
        make(**arguments)


def test_streams_of_different_channels_are_refused():
    with pytest.raises(TypeError, match="of the same channels, but got"):
        MultiStreamEncoder(rgb=ResNetEncoder("tiny"), depth=PlainEncoder())
    assert make("refinenet", input="rgb").encoder.channels == CHANNELS
    assert {case[0] for case in CASES.values()} <= NETWORKS.keys()
    assert "tiny_vgg" in VGGS
