"""Every network of Table I as a file: one in the suite, all of them with EVERY_NETWORK=1."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from examples.rgbd.commands import export as command
from examples.rgbd.data import label_palette
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
    if ending == ".onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    register_tiny_encoders(monkeypatch)
    run = trained(name)
    monkeypatch.setattr(command, "load_trained", lambda path: run)
    path = tmp_path / f"network{ending}"
    options = ExportOptions(
        Path("run"), path, torch=ending == ".pt2", with_depth=True, fixed_size=True
    )
    command.export(options)
    printed = capsys.readouterr().out
    assert "100.000% of the labels the same" in printed
    reads = getattr(run.network, "input", "rgb")
    assert ("depth (B, 1, H, W) float32, metres; 0" in printed) == (reads == "rgbd")
    assert ("depth (B, 4, H, W) float32, metres, disparity" in printed) == (reads == "rgb-hha")
    deployed = command.Deployed(run, "scores", with_depth=True)
    assert not set(deployed.names) & set(deployed.input_names)  # ONNX has one name for one thing
