"""Networks that no one here wrote, and those of the examples, keep the contract."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional as F

from examples.rgbd.networks import (
    NETWORKS,
    DepthFromImage,
    MultiStreamEncoder,
    acnet,
    reads_depth,
    trl,
)
from lwm_loss.testing import ContractError, check_backbone, checks
from lwm_loss.testing.compilation import expect_no_readback
from lwm_loss.testing.registry import backbone_check
from tests.examples.network_support import (
    CHANNELS,
    NUM_CLASSES,
    PlainEncoder,
    make,
    register_tiny_encoders,
)
from tests.kit.leaving_out import leave_out

pytestmark = pytest.mark.slow

CLASSES = NUM_CLASSES
SIZE = (40, 56)
SMALLEST = (32, 40)  # that the networks of the examples take
STAGES = ["stage1", "stage2", "stage3", "stage4"]


class Upsampled(nn.Module):
    """All that a network of transformers needs: its logits, at the image's size."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image):
        logits = self.network(pixel_values=image).logits
        return F.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=False)


class Squared(Upsampled):
    """DPT puts its tokens on a square: it sees the image at one size."""

    def forward(self, image):
        square = F.interpolate(image, (64, 64), mode="bilinear", align_corners=False)
        logits = self.network(pixel_values=square).logits
        return F.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=False)


def segformer():
    config = transformers.SegformerConfig(
        num_labels=CLASSES,
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 16, 24, 32],
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=16,
    )
    return transformers.SegformerForSemanticSegmentation(config)


def dpt():
    config = transformers.DPTConfig(
        num_labels=CLASSES,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=64,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 16, 24, 32],
        fusion_hidden_size=16,
        use_auxiliary_head=False,
    )
    return transformers.DPTForSemanticSegmentation(config)


def upernet():
    backbone = transformers.ConvNextConfig(
        hidden_sizes=list(CHANNELS), depths=[1, 1, 1, 1], out_features=STAGES
    )
    config = transformers.UperNetConfig(
        num_labels=CLASSES,
        backbone_config=backbone,
        hidden_size=16,
        use_auxiliary_head=False,
    )
    return transformers.UperNetForSemanticSegmentation(config)


TRANSFORMERS = {
    "SegFormer": lambda: Upsampled(segformer()),
    "DPT": lambda: Squared(dpt()),
    "UperNet": lambda: Upsampled(upernet()),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_network_of_transformers_keeps_the_contract(name, monkeypatch):
    torch.manual_seed(0)
    model = TRANSFORMERS[name]()
    if name != "SegFormer":  # one of them will do: tracing takes most of the time
        leave_out(monkeypatch, backbone_check, "check_torch_compile")
    report = check_backbone(model, CLASSES, SIZE, on_fail="return", max_examples=1, seed=0)
    assert not report.failed, report
    assert [result.name for result in report if result.status == "skipped"] == [
        "check_missing_depth_stays_local"
    ]


def test_network_of_transformers_needs_no_adapter():
    """It returns a mapping with logits at a quarter of the size, and has been run before."""
    torch.manual_seed(0)
    model = segformer()
    model(torch.zeros(1, 3, *SIZE))
    for check in (
        checks.check_output_shapes,
        checks.check_ignored_pixels_send_no_gradient,
        checks.check_pickle,
        checks.check_deep_copy,
    ):
        check(model, CLASSES, SIZE, resize="bilinear", max_examples=2, seed=0)
    with pytest.raises(ContractError, match="are they to be upsampled"):
        checks.check_output_shapes(model, CLASSES, SIZE, max_examples=2, seed=0)


# Tracing takes more time than all other checks together, of other networks several times as long. That
# they read no value back, which breaks a graph, is looked for on tensors without values.
COMPILED = ("fcn",)
THIN = {"adapt_units": 1, "output_units": 1, "pooling_links": 1}


EXAMPLES = {
    "refinenet": ("plain", {"num_sides": 1, **THIN}),
    "light_refinenet": ("tiny_convnext", {"predict_depth": False, "dropout": 0.5}),
    "deeplabv3": ("tiny", {"freeze_norm": True}),
    "pspnet": ("tiny", {}),
    "rdfnet": ("plain", {"input": "rgbd", **THIN}),
    "acnet": ("tiny", {}),
    "fcn": ("tiny_vgg", {"input": "rgb-hha"}),
    "depth_aware_cnn": ("tiny_vgg", {}),
    "trl": ("plain", {"width": 32, "num_sides": 2}),
    "pap": ("plain", {}),
    "ls_deconvnet": ("tiny_vgg", {"input": "rgbd"}),
    "cfn": ("plain", {"cells": (3, 5), **THIN}),
}


@pytest.fixture
def thin(monkeypatch):
    """Networks of few layers, for the time of a check is that of their number."""
    register_tiny_encoders(monkeypatch)
    monkeypatch.setattr(acnet, "BLOCKS", (1, 1, 1, 1))
    monkeypatch.setattr(trl, "residual_block", partial(nn.Conv2d, kernel_size=1))


def thin_network(name):
    """A network as `check_backbone` calls it: with images alone."""
    torch.manual_seed(0)
    backbone, options = EXAMPLES[name]
    if backbone == "plain":
        backbone = PlainEncoder()
        if name == "rdfnet":
            backbone = MultiStreamEncoder(rgb=backbone, depth=PlainEncoder())
    model = make(name, backbone, **options)
    return DepthFromImage(model) if reads_depth(model) else model


def test_every_network_of_the_examples_is_checked():
    assert set(EXAMPLES) == set(NETWORKS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_network_of_the_examples_keeps_the_contract(name, thin, monkeypatch):
    model = thin_network(name)
    if name not in COMPILED:
        leave_out(monkeypatch, backbone_check, "check_torch_compile")
        image = torch.randn(2, 3, *SMALLEST)
        with torch.no_grad():
            model.eval()(image)  # what a first call may prepare
            expect_no_readback(lambda fake: model(fake(image.clone())))
    report = check_backbone(model, CLASSES, SMALLEST, on_fail="return", max_examples=1, seed=0)
    assert not report.failed, report
    lacking = [result.name for result in report if result.status == "skipped"]
    has_depth = EXAMPLES[name][1].get("predict_depth", True)
    assert lacking == ([] if has_depth else ["check_missing_depth_stays_local"])
