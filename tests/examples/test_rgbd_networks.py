"""The other networks of Table I: counts, shapes, gradients, their second input, their sources."""

from __future__ import annotations

import math
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
from examples.rgbd.networks.cfn import depth_layers
from examples.rgbd.networks.fcn import centred_log_depth
from examples.rgbd.networks.inputs import inverse_depth, normalise_hha
from examples.rgbd.networks.ls_deconvnet import affinities, average_pool, unpool
from examples.rgbd.networks.pap import affinity, diffuse
from examples.rgbd.networks.superpixels import superpixels
from examples.rgbd.networks.trl import TaskAttention
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
    "trl": ("trl", "tiny", {"width": 32}),
    "pap": ("pap", "tiny", {"predict_normals": True}),
    "ls_deconvnet": ("ls_deconvnet", "tiny_vgg", {}),
    "ls_deconvnet-rgbd": ("ls_deconvnet", "tiny_vgg", {"input": "rgbd"}),
    "cfn": ("cfn", "tiny", {}),
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


@pytest.mark.slow
@pytest.mark.parametrize("key", CASES)
@pytest.mark.parametrize("shape", [(1, 3, 37, 53), (2, 3, 32, 95)])
def test_shapes(key, shape):
    network = case(key)
    output = MultiTaskOutput.of(seen(network).eval()(torch.randn(shape)))
    assert output.logits.shape == (shape[0], NUM_CLASSES, *shape[2:])
    assert output.log_depth.shape == (shape[0], *shape[2:])
    assert output.side_logits == ()
    assert 0 <= output.log_depth.min() <= output.log_depth.max() <= 5.5452


@pytest.mark.slow
@pytest.mark.parametrize("key", CASES)
def test_every_parameter_receives_a_gradient(key):
    network = stirred(case(key)).double().train()
    raw = seen(network)(torch.randn(2, 3, *SIZE).double())
    output = MultiTaskOutput.of(raw)
    assert len(output.side_logits) == network.num_sides
    parts = [*tensors(output), *([raw["normals"]] if isinstance(raw, dict) else [])]
    sum(torch.randn_like(part).mul(part).sum() for part in parts).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.slow
@pytest.mark.parametrize("key", CASES)
def test_evaluation_depends_neither_on_the_batch_nor_on_the_copy(key):
    network = seen(stirred(case(key))).double().eval()
    images = torch.randn(2, 3, 47, 66).double()
    together = MultiTaskOutput.of(network(images))
    alone = MultiTaskOutput.of(pickle.loads(pickle.dumps(network))(images[1:]))
    torch.testing.assert_close(together.logits[1:], alone.logits)
    torch.testing.assert_close(together.log_depth[1:], alone.log_depth)


@pytest.mark.parametrize("key", CASES)
def test_without_depth_only_labels_are_predicted(key):
    network = case(key, predict_depth=False)
    output = MultiTaskOutput.of(seen(network).eval()(torch.randn(1, 3, *SIZE)))
    assert output.log_depth is None
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


def test_affinities_are_shares_and_diffusion_mixes_by_them():
    feature = torch.randn(2, 4, 5, 6).double()
    shares = affinity(feature)
    assert shares.shape == (2, 30, 30)
    assert shares.min() >= 0
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 30).double())
    i, j = 3, 17
    flat = feature[0].flatten(1)
    dots = torch.stack([F.cosine_similarity(flat[:, i], flat[:, k], dim=0) for k in range(30)])
    torch.testing.assert_close(shares[0, i, j], (dots / 0.1).exp()[j] / (dots / 0.1).exp().sum())
    # Rows that sum to 1 leave a constant map alone, whatever the number of steps.
    constant = torch.full((2, 4, 5, 6), 3.0).double()
    torch.testing.assert_close(diffuse(constant, shares, torch.tensor(0.7).double(), 3), constant)
    once = diffuse(feature, shares, torch.tensor(0.25).double(), 1)[0].flatten(1)[:, i]
    expected = 0.25 * (shares[0, i] * flat).sum(1) + 0.75 * flat[:, i]
    torch.testing.assert_close(once, expected)


def test_combined_affinities_are_shares_too():
    network = make("pap", predict_normals=True)
    nn.init.normal_(network.combination)
    shares = network.combination.softmax(1)
    torch.testing.assert_close(shares.sum(1), torch.ones(3))
    assert len(network.branches) == 3
    normals = network.eval()(torch.randn(1, 3, *SIZE))["normals"]
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(1, *SIZE))


def test_task_attention_balances_two_states():
    module = TaskAttention(4).double().eval()
    randomise_norms(module)
    segmentation, depth = torch.randn(2, 1, 4, 12, 9).double()
    balance = module.balance(torch.cat([segmentation, depth], 1)).sigmoid()
    x = module.balanced(torch.cat([balance * depth, (1 - balance) * segmentation], 1))
    x = module.down[1](F.max_pool2d(module.down[0](F.max_pool2d(x, 3, 2, 1)), 3, 2, 1))
    for block, size in zip(module.up, ((6, 5), (12, 9)), strict=True):
        x = F.interpolate(block(x), size, mode="bilinear", align_corners=False)
    mask = 1 + module.mask(x).sigmoid()
    expected = module.project(torch.cat([mask * depth, mask * segmentation], 1))
    torch.testing.assert_close(module(segmentation, depth), expected)


def test_locality_sensitive_pooling_is_the_looped_one():
    score, guide = torch.randn(1, 2, 6, 7).double(), torch.rand(1, 3, 6, 7).double()
    ours = average_pool(score, affinities(guide, 3))
    for y, x in ((0, 0), (2, 3), (5, 6)):
        total, norm = torch.zeros(2).double(), 0.0
        for i in range(max(y - 1, 0), min(y + 2, 6)):
            for j in range(max(x - 1, 0), min(x + 2, 7)):
                near = math.exp(-float((guide[0, :, i, j] - guide[0, :, y, x]).square().sum()))
                total, norm = total + near * score[0, :, i, j], norm + near
        torch.testing.assert_close(ours[0, :, y, x], total / norm)
    plain = F.avg_pool2d(score, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(average_pool(score, affinities(torch.zeros_like(guide), 3)), plain)


@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_locality_sensitive_unpooling_weighs_by_the_window(size):
    score, guide = torch.randn(1, 2, 3, 4).double(), torch.rand(1, 3, *size).double()
    ours = unpool(score, guide)
    assert ours.shape == (1, 2, *size)
    for y, x in ((0, 0), (3, 5), (size[0] - 1, size[1] - 1)):
        top, left = y // 2 * 2, x // 2 * 2
        centre = guide[0, :, top : top + 2, left : left + 2].mean((1, 2))
        near = math.exp(-float((guide[0, :, y, x] - centre).square().sum()))
        torch.testing.assert_close(ours[0, :, y, x], near * score[0, :, y // 2, x // 2])
    flat = unpool(score, torch.zeros_like(guide))
    nearest = score.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., : size[0], : size[1]]
    torch.testing.assert_close(flat, nearest)


def test_superpixels_keep_to_edges_and_average_exactly():
    guide = torch.zeros(1, 1, 12, 16)
    guide[..., 7:] = 50.0  # an edge off the grid's lines, at 4, 8 and 12
    found = superpixels(guide, 4)
    assert (found.rows, found.columns) == (3, 4)
    assert 0 <= found.ids.min() <= found.ids.max() < 12
    left, right = found.ids[0, :, :7].unique(), found.ids[0, :, 7:].unique()
    assert not set(left.tolist()) & set(right.tolist())
    feature = torch.randn(1, 3, 12, 16)
    spread = found.spread(found.mean(feature))
    for label in found.ids.unique():
        inside = found.ids[0] == label
        mean = feature[0][:, inside].mean(1, keepdim=True)
        torch.testing.assert_close(spread[0][:, inside], mean.expand(-1, int(inside.sum())))
    homes = superpixels(torch.zeros(1, 1, 8, 8), 4).ids[0]
    assert torch.equal(
        homes, torch.arange(4).reshape(2, 2).repeat_interleave(4, 0).repeat_interleave(4, 1)
    )


def test_depth_layers_divide_the_range_of_log_depth():
    depth = torch.tensor([1.0, 1.9, 2.1, 3.9, 4.1, 8.0, 0.0]).view(1, 1, 1, 7)
    assert depth_layers(depth, 3).flatten().tolist() == [2, 2, 1, 1, 0, 0, 1]
    assert depth_layers(torch.zeros(1, 1, 2, 2), 3).unique().tolist() == [1]
    assert depth_layers(torch.full((1, 1, 2, 2), 2.0), 3).unique().tolist() == [0]


def test_each_pixel_has_the_scores_of_the_branch_of_its_depth():
    network = stirred(make("cfn")).eval()
    image, depth = torch.randn(1, 3, *SIZE), torch.ones(1, 1, *SIZE)
    depth[..., 40:] = 8.0
    before = network(image, depth).logits
    with torch.no_grad():
        network.heads[0].bias.add_(1.0)  # of the farthest
    gap = network(image, depth).logits - before
    torch.testing.assert_close(gap[..., 40:], torch.ones_like(gap[..., 40:]), atol=1e-4, rtol=0)
    assert not gap[..., :40].any()


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"name": "trl", "width": 40}, ValueError, "multiple of 32, but got 40"),
        ({"name": "pap", "affinity_stride": 5}, ValueError, "4, 8, 16 or 32, but got 5"),
        ({"name": "cfn", "cells": ()}, ValueError, "`cells` to be sizes of at least 1"),
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
