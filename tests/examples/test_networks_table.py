"""The table of all networks: what is counted is checked against what is known, or by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from examples.rgbd.networks import ResNetEncoder, VGGEncoder
from examples.rgbd.networks import table as tables
from examples.rgbd.networks.table import ROWS, Counts, bytes_kept, count, multiply_adds


def row_of(name, backbone, **options):
    return next(
        row
        for row in ROWS
        if (row.name, row.backbone) == (name, backbone) and options.items() <= row.options.items()
    )


@pytest.mark.parametrize(
    ("encoder", "name", "known"),
    [
        # torchvision: 4.09 GMAC with the classifier's 2048 x 1000; 1.81 with 512 x 1000 (ResNet v1.5).
        (ResNetEncoder, "resnet50", 4.089e9 - 2048 * 1000),
        (ResNetEncoder, "resnet18", 1.814e9 - 512 * 1000),
        # 15.47 with 25088 x 4096 + 4096 x 4096 + 4096 x 1000.
        (VGGEncoder, "vgg16", 15.470e9 - 25088 * 4096 - 4096 * 4096 - 4096 * 1000),
    ],
)
def test_multiply_adds_are_the_known_ones(encoder, name, known):
    with torch.device("meta"):
        found = multiply_adds(encoder(name).eval(), [torch.empty(1, 3, 224, 224)])
    assert found == pytest.approx(known, rel=1e-3)


def test_multiply_adds_of_products_and_transposed_convolutions():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(3, 5, 2, 2)
            self.group = nn.Conv2d(6, 4, 3, padding=1, groups=2)

        def forward(self, image):
            up = self.up(image).flatten(2)  # (1, 5, 16 * 16)
            return up @ up.transpose(1, 2), self.group(torch.cat([image, image], 1))

    with torch.device("meta"):
        found = multiply_adds(Net(), [torch.empty(1, 3, 8, 8)])
    assert found == 8 * 8 * 3 * 5 * 4 + 5 * 5 * 256 + 64 * 4 * 3 * 9


@pytest.mark.slow
def test_shared_light_refinenet_and_acnet_cost_what_is_published():
    light = count(row_of("light_refinenet", "mobilenet_v2"), 40)
    assert light.parameters == 3_070_057
    assert light.multiply_adds / 1e9 == pytest.approx(5.94, abs=0.01)


def test_kept_bytes_are_those_of_the_maps_that_backward_reads():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 1))
    with torch.device("meta"):
        network = network.to("meta")
        kept = bytes_kept(network, [torch.empty(2, 3, 10, 12)])
    # The image, and the rectified map, which its ReLU and the convolution after it share.
    assert kept == 4 * (2 * 3 * 10 * 12 + 2 * 4 * 8 * 10)


def test_table_names_every_row(monkeypatch):
    monkeypatch.setattr(
        tables, "count", lambda row, classes, size: Counts("rgb", classes, 5_940_000_000, 2**31)
    )
    lines = tables.table(7).splitlines()
    assert len(lines) == 1 + len(ROWS)
    assert lines[0].split() == [
        "network", "group", "--network", "backbone", "input", "parameters", "GMAC", "GiB",
    ]  # fmt: skip
    for line, row in zip(lines[1:], ROWS, strict=True):
        assert line.startswith(row.title)
        assert line.split()[-6:] == [row.name, row.backbone, "rgb", "7", "5.9", "2.0"]
