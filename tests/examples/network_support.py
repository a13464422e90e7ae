"""What the tests of the networks share: tiny ones that run the published code, and comparisons."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from examples.rgbd.networks import (
    CONVNEXTS,
    RESNETS,
    VGGS,
    build_network,
)
from examples.rgbd.networks.encoder import Architecture
from examples.rgbd.networks.vgg import VGGArchitecture

CHANNELS = (8, 12, 16, 24)
NUM_CLASSES = 5
SIZE = (64, 80)


TINY = (
    (RESNETS, "tiny", Architecture((1, 1, 1, 1), CHANNELS, "basic")),
    # A quarter of the width of resnet18: enough to learn something in twenty steps.
    (RESNETS, "narrow", Architecture((2, 2, 2, 2), (16, 32, 64, 128), "basic")),
    (RESNETS, "tiny_bottleneck", Architecture((2, 2, 2, 2), CHANNELS, "bottleneck")),
    (CONVNEXTS, "tiny_convnext", Architecture((1, 1, 1, 1), CHANNELS)),
    (VGGS, "tiny_vgg", VGGArchitecture((1, 1, 1, 2, 1), (6, *CHANNELS))),
)


def register_tiny_encoders(monkeypatch):
    """Make "tiny", "narrow", "tiny_bottleneck", "tiny_convnext" and "tiny_vgg" names of encoders."""
    for family, name, architecture in TINY:
        monkeypatch.setitem(family, name, architecture)


def add_tiny_encoders():
    """Do the same in a process that ends with the test."""
    for family, name, architecture in TINY:
        family[name] = architecture


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


def literal_head(head, features, size):
    """Section III-A word by word: upsample, concatenate, one 3x3 convolution."""
    full = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in features]
    conv = nn.Conv2d(sum(head.channels), head.num_outputs, 3, padding=1)
    conv.to(head.weight.dtype).load_state_dict(head.state_dict())
    conv.weight, conv.bias = head.weight, head.bias
    return conv(torch.cat(full, dim=1))
