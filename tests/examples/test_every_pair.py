"""Every network on every family of encoders: what is built is used."""

from __future__ import annotations

import pytest
import torch

from examples.rgbd.networks import (
    NETWORKS,
    ConvNextEncoder,
    DepthFromImage,
    reads_depth,
)
from examples.rgbd.networks.kinds import kind_of
from lwm_loss import MultiTaskOutput
from tests.examples.network_support import make, register_tiny_encoders, tensors

FAMILIES = {
    "tiny": "resnet",
    "tiny_bottleneck": "resnet",
    "tiny_convnext": "convnext",
    "efficientnet_lite0": "efficientnet",
    "mobilenet_v2": "mobilenet",
    "tiny_vgg": "vgg",
}
PAIRS = [
    (name, backbone)
    for name in NETWORKS
    for backbone, family in FAMILIES.items()
    if family in (kind_of(name, backbone).families or FAMILIES.values())
]


def variants(kind):
    """What the objectives ask for: depth or none, side outputs or none; and each input."""
    for depth, sides in ((True, 4), (True, 0), (False, 0)):
        if sides and "num_sides" not in kind.options:
            continue
        options = {"num_sides": sides} if "num_sides" in kind.options else {}
        for each in kind.inputs:
            yield {"predict_depth": depth, "input": each, **options}


@pytest.fixture(autouse=True)
def tiny_encoders(monkeypatch):
    register_tiny_encoders(monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backbone"), PAIRS)
def test_no_parameter_is_left_without_a_gradient(name, backbone):
    """DistributedDataParallel takes one that is for a fault."""
    for options in variants(kind_of(name, backbone)):
        width = 32 if name == "trl" else 8
        network = make(name, backbone, width=width, **options).train()
        seen = DepthFromImage(network) if reads_depth(network) else network
        output = MultiTaskOutput.of(seen(torch.randn(2, 3, 64, 96)))
        assert (output.log_depth is not None) == options["predict_depth"]
        assert len(output.side_logits) == options.get("num_sides", 0)
        sum(part.sum() for part in tensors(output)).backward()
        unused = [key for key, each in network.named_parameters() if each.grad is None]
        assert not unused, options


@pytest.mark.parametrize("name", ["pspnet", "deeplabv3"])
def test_weights_with_norms_that_nothing_reads_still_load(name):
    former = make(name, ConvNextEncoder("tiny_convnext")).eval()
    network = make(name, "tiny_convnext").eval()
    missing = set(former.state_dict()) - set(network.state_dict())
    assert missing == {
        f"encoder.norms.{level}.{part}" for level in range(3) for part in ("weight", "bias")
    }
    network.load_state_dict(former.state_dict())
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(network(image).logits, former(image).logits, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match=r"norms\.4"):
        network.load_state_dict({**former.state_dict(), "encoder.norms.4.bias": image})
