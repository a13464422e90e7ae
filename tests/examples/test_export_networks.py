"""Every network of Table I as a file: one in the suite, all of them with EVERY_NETWORK=1."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from examples.rgbd.commands import export as command
from examples.rgbd.data import label_palette
from examples.rgbd.networks.layers import crop
from examples.rgbd.networks.superpixels import superpixels
from examples.rgbd.options.commands import ExportOptions
from examples.rgbd.options.groups import (
    DataOptions,
    NetworkOptions,
    ObjectiveOptions,
    TrainConfig,
)
from examples.rgbd.run.trained import Trained
from tests.examples.network_support import NUM_CLASSES, make, register_tiny_encoders
from tests.examples.test_rgbd_networks import CASES, case, stirred

IN_THE_SUITE = ("fcn-rgb-hha",)  # two inputs and two outputs, and the fewest layers
OTHERS = {"refinenet": {}, "deeplabv3": {}, "pspnet": {}}
"""Those that `CASES` does not have."""
MINUTES = pytest.mark.skipif(
    "EVERY_NETWORK" not in os.environ, reason="takes up to a minute: set EVERY_NETWORK=1"
)


def trained(name):
    torch.manual_seed(0)
    network = make(name, **OTHERS[name]) if name in OTHERS else case(name)
    config = TrainConfig(
        data=DataOptions(image_size=(64, 96)),
        objective=ObjectiveOptions(objective="sd"),
        network=NetworkOptions(),
    )
    names = tuple(f"class {k}" for k in range(NUM_CLASSES))
    return Trained(
        stirred(network).eval(), config, "office", names, label_palette(NUM_CLASSES), (0.5, 8.0), 1,
        Path("run/best.pt"),
    )  # fmt: skip


def exported(name, path, monkeypatch, *, fixed):
    """Export a network, which is compared with the file; return the run."""
    if path.suffix == ".onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    register_tiny_encoders(monkeypatch)
    run = trained(name)
    monkeypatch.setattr(command, "load_trained", lambda path: run)
    options = ExportOptions(
        Path("run"), path, torch=path.suffix == ".pt2", with_depth=True, fixed_size=fixed
    )
    command.export(options)
    return run


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
@pytest.mark.parametrize(
    "name",
    [
        name if name in IN_THE_SUITE else pytest.param(name, marks=MINUTES)
        for name in (*OTHERS, *CASES)
    ],
)
def test_a_network_is_exported_and_gives_the_same(name, ending, tmp_path, monkeypatch, capsys):
    """`export` compares the file with the network, and fails where they differ."""
    run = exported(name, tmp_path / f"network{ending}", monkeypatch, fixed=True)
    printed = capsys.readouterr().out
    assert "100.000% of the labels the same" in printed
    reads = getattr(run.network, "input", "rgb")
    assert ("depth (B, 1, H, W) float32, metres; 0" in printed) == (reads == "rgbd")
    assert ("depth (B, 4, H, W) float32, metres, disparity" in printed) == (reads == "rgb-hha")
    deployed = command.Deployed(run, "scores", with_depth=True)
    assert not set(deployed.names) & set(deployed.input_names)  # ONNX has one name for one thing


@MINUTES
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ending"),
    [
        *((name, ".onnx") for name in ("acnet", "pap", "rdfnet-rgbd", "trl")),
        *((name, ".pt2") for name in ("acnet", "cfn", "pap", "rdfnet-rgbd", "trl")),
    ],
)
def test_a_network_is_exported_for_any_size(name, ending, tmp_path, monkeypatch, capsys):
    exported(name, tmp_path / f"network{ending}", monkeypatch, fixed=False)
    printed = capsys.readouterr().out
    assert "any size with sides above 32" in printed
    assert "on 4 other batches" in printed  # of odd sizes too
    assert "100.000% of the labels the same" in printed


class Cropped(nn.Module):
    """A map that comes back from a half of the size, which was rounded up."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 4, 3, 2, padding=1)
        self.up = nn.ConvTranspose2d(4, 3, 2, 2)

    def forward(self, image):
        return crop(self.up(self.down(image)), image.shape[-2:]) + image


class MeanColours(nn.Module):
    """Each super-pixel in its mean colour; three does not divide most sizes."""

    def forward(self, image):
        found = superpixels(image, 3, iterations=1)
        return found.spread(found.mean(image))


def free_sizes():
    return ({0: "batch", 2: "height", 3: "width"},)


ODD = [(1, 3, 33, 47), (3, 3, 40, 35)]


def test_a_cropped_map_is_free_in_its_size():
    """A slice is held to the even sizes of the example: no odd one was taken."""
    network = Cropped().eval()
    free = dict.fromkeys(free_sizes()[0], torch.export.Dim.DYNAMIC)
    program = torch.export.export(
        network, (torch.randn(2, 3, 32, 48),), dynamic_shapes=(free,), strict=False
    ).module()
    for shape in ODD:
        image = torch.randn(shape)
        torch.testing.assert_close(program(image), network(image))


@pytest.mark.slow
def test_a_division_that_rounds_up_does_so_in_onnx(tmp_path):
    """ONNX rounds -(-35 // 3) towards zero, so there were too few super-pixels."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = MeanColours().eval()
    path = tmp_path / "colours.onnx"
    with command.quiet():
        torch.onnx.export(
            network, (torch.rand(2, 3, 32, 48),), path, dynamo=True, dynamic_shapes=free_sizes(),
            input_names=["image"], opset_version=18, verbose=False,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for shape in ODD:
        image = torch.rand(shape)
        (found,) = session.run(None, {"image": image.numpy()})
        np.testing.assert_allclose(found, network(image).numpy(), atol=1e-5)
