"""Encoders: their maps, dilation, frozen batch norm, and pre-trained weights."""

from __future__ import annotations

import copy
import json
import pickle
import re

import pytest
import torch
from safetensors.torch import save_file
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
    RESNETS,
    ConvNextEncoder,
    FourScaleEncoder,
    ResNetEncoder,
)
from examples.rgbd.networks.encoder import STAGES
from tests.examples.network_support import (
    CHANNELS,
    SIZE,
    make,
    randomise_norms,
    register_tiny_encoders,
    tensors,
)


@pytest.fixture(autouse=True)
def tiny_encoders(monkeypatch):
    register_tiny_encoders(monkeypatch)


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


def as_torchvision(encoder):
    """The encoder's weights under torchvision's names, translated by text alone."""
    renamed = {}
    for key, value in encoder.state_dict().items():
        key = re.sub(r"^embedder\.embedder\.convolution", "conv1", key)
        key = re.sub(r"^embedder\.embedder\.normalization", "bn1", key)
        key = re.sub(r"^stages\.(\d+)\.layers", lambda m: f"layer{int(m[1]) + 1}", key)
        key = re.sub(r"\.layer\.(\d)\.convolution", lambda m: f".conv{int(m[1]) + 1}", key)
        key = re.sub(r"\.layer\.(\d)\.normalization", lambda m: f".bn{int(m[1]) + 1}", key)
        key = key.replace("shortcut.convolution", "downsample.0")
        renamed[key.replace("shortcut.normalization", "downsample.1")] = value
    return renamed


@pytest.mark.parametrize("name", ["tiny", "tiny_bottleneck"])
def test_torchvision_file_gives_its_weights(tmp_path, caplog, name):
    saved = ResNetEncoder(name)
    randomise_norms(saved)
    weights = as_torchvision(saved) | {
        "fc.weight": torch.zeros(10, 512),
        "fc.bias": torch.zeros(10),
    }
    # Keys as torchvision has them, so that the translation above is not all that is relied on.
    assert {"conv1.weight", "bn1.running_mean", "layer2.0.downsample.1.bias"} <= weights.keys()
    assert "layer4.0.conv2.weight" in weights
    torch.save(weights, tmp_path / "weights.pth")
    save_file({k: v.contiguous() for k, v in weights.items()}, tmp_path / "weights.safetensors")
    for ending in ("pth", "safetensors"):
        loaded = ResNetEncoder(name, pretrained=str(tmp_path / f"weights.{ending}"))
        expected = dict(saved.state_dict())
        torch.testing.assert_close(dict(loaded.state_dict()), expected, rtol=0, atol=0)
        assert "without a place for fc.bias, fc.weight." in caplog.text
        caplog.clear()


def test_torchvision_file_that_does_not_fit_is_refused(tmp_path):
    weights = as_torchvision(ResNetEncoder("tiny"))
    path = tmp_path / "weights.pth"

    def refused(match, content, name="tiny"):
        torch.save(content, path)
        with pytest.raises(ValueError, match=match) as caught:
            ResNetEncoder(name, pretrained=str(path))
        assert "\n" not in str(caught.value)

    refused("layer1.0.conv1.weight is .* in place of .*backbone match", weights, "tiny_bottleneck")
    first = {key: value for key, value in weights.items() if "layer4" not in key}
    refused("all weights of a tiny, .*'layer4.0.*' being the first: does", first)
    renamed = {key.replace("layer1", "first"): value for key, value in weights.items()}
    refused("are not there.*without a place for first.0.bn1", renamed)
    refused("a dict of tensors", {"epoch": 3})
    refused("a dict of tensors", [1, 2])
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match="cannot be loaded"):
        ResNetEncoder("tiny", pretrained=str(path))


def test_weights_of_another_family_are_not_looked_for_on_the_hub():
    with pytest.raises(ValueError, match=r"but got 'pypi': did you mean .* an efficientnet_lite"):
        ResNetEncoder("tiny", pretrained="pypi")
    with pytest.raises(ValueError, match=r"but got 'torchvision': did you mean .* a vgg"):
        ConvNextEncoder("tiny_convnext", pretrained="torchvision")
