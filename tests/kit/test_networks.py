"""Networks that no one here wrote, and those of the examples, keep the contract."""

from __future__ import annotations

import os

import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional as F

from examples.rgbd.networks import NETWORKS, DepthFromImage, reads_depth
from lwm_loss.testing import ContractError, check_backbone, checks
from lwm_loss.testing.registry import backbone_check
from tests.examples.network_support import CHANNELS, NUM_CLASSES, make, register_tiny_encoders
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


# Tracing takes most of the time, of other networks several times as long: of two streams or two
# decoders, made of the layers that these have too.
COMPILED = ("light_refinenet", "deeplabv3", "pspnet", "fcn")
# TRL has 1,284 modules, and is slow however narrow it is: what looks at many pictures is left out.
MANY_PICTURES = (
    "check_finite_outputs",
    "check_finite_gradients",
    "check_bfloat16_autocast",
    "check_input_is_not_modified",
    "check_logits_are_scores",
    "check_eval_is_deterministic",
    "check_no_state_between_calls",
)
TAKE_A_MINUTE = ("trl", "rdfnet", "acnet")
EVERY_NETWORK = "EVERY_NETWORK" in os.environ
MINUTE = "takes a minute: set EVERY_NETWORK=1"
EXAMPLES = {
    "refinenet": ("tiny", {"num_sides": 1, "adapt_units": 1, "output_units": 1}),
    "light_refinenet": ("tiny_convnext", {"predict_depth": False, "dropout": 0.5}),
    "deeplabv3": ("tiny", {"freeze_norm": True}),
    "pspnet": ("tiny", {}),
    "rdfnet": ("tiny", {"input": "rgbd"}),
    "acnet": ("tiny", {}),
    "fcn": ("tiny_vgg", {"input": "rgb-hha"}),
    "depth_aware_cnn": ("tiny_vgg", {}),
    "trl": ("tiny", {"width": 32}),
    "pap": ("tiny", {}),
    "ls_deconvnet": ("tiny_vgg", {"input": "rgbd"}),
    "cfn": ("tiny", {}),
}


def test_every_network_of_the_examples_is_checked():
    assert set(EXAMPLES) == set(NETWORKS)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(not EVERY_NETWORK, reason=MINUTE))
        if name in TAKE_A_MINUTE
        else name
        for name in EXAMPLES
    ],
)
def test_network_of_the_examples_keeps_the_contract(name, monkeypatch):
    register_tiny_encoders(monkeypatch)
    torch.manual_seed(0)
    backbone, options = EXAMPLES[name]
    model = make(name, backbone, **options)
    if reads_depth(model):
        model = DepthFromImage(model)
    left_out = [] if name in COMPILED else ["check_torch_compile"]
    leave_out(monkeypatch, backbone_check, *left_out, *(MANY_PICTURES if name == "trl" else ()))
    report = check_backbone(model, CLASSES, SMALLEST, on_fail="return", max_examples=1, seed=0)
    assert not report.failed, report
    lacking = [result.name for result in report if result.status == "skipped"]
    has_depth = options.get("predict_depth", True)
    assert lacking == ([] if has_depth else ["check_missing_depth_stays_local"])
