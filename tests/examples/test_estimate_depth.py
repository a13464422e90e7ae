"""Depth by a monocular model, written beside images and named in their lists."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from examples.rgbd import launch
from examples.rgbd.commands import estimate_depth as command
from examples.rgbd.options.groups import DataOptions
from examples.rgbd.pipeline import ANY_FOLDER
from examples.rgbd.splits import open_frames

SIZE = (20, 28)


def write(root: Path, frames: int = 6) -> Path:
    """Images whose red rises with the distance, and labels; no depth."""
    for number in range(frames):
        rng = np.random.default_rng(number)
        for folder in ("rgb", "seg"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        red = rng.permutation(SIZE[0] * SIZE[1]).reshape(SIZE) * 255 // (SIZE[0] * SIZE[1])
        image = np.stack([red, 0 * red, 0 * red], -1).astype(np.uint8)
        Image.fromarray(image).save(root / f"rgb/{number:02d}.png")
        label = rng.integers(0, 3, SIZE).astype(np.uint8)
        Image.fromarray(label).save(root / f"seg/{number:02d}.png")
    launch.init(
        [str(root), "--images", "rgb/*.png", "--labels", "seg/*.png", "--test-share", "0.3"]
    )
    return root


class Model:
    """As a pipeline of transformers is called: what it gives is `of` the red channel."""

    def __init__(self, of: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> None:
        self.of = of
        self.seen = 0
        self.dies_at: int | None = None

    def __call__(self, image: Image.Image) -> dict[str, Any]:
        if self.seen == self.dies_at:
            raise KeyboardInterrupt
        self.seen += 1
        red = np.asarray(image)[..., 0].astype(np.float64)
        return {"predicted_depth": torch.from_numpy(self.of(red))}


def estimate(root: Path, *more: str) -> None:
    launch.estimate_depth([str(root), "--model", "some/model", "--device", "cpu", *more])


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    """Falls with the distance, up to a scale and an offset, as most models do."""
    made = Model(lambda red: 1e-8 * (300 - red) - 5e-7)
    monkeypatch.setattr(command, "_load", lambda options: made)
    return made


@pytest.mark.parametrize("predicts", ["inverse", "relative", "metres"])
def test_estimated_depth_is_what_training_reads(
    tmp_path: Path, model: Model, predicts: str
) -> None:
    root = write(tmp_path / "office")
    if predicts != "inverse":
        model.of = lambda red: 0.5 + red / 64
    estimate(root, "--predicts", predicts)
    content = json.loads((root / "dataset.json").read_text())
    assert content["depth"]["kind"] == ("metric" if predicts == "metres" else "relative")
    frames = open_frames(ANY_FOLDER, DataOptions(data=root, holdout=0), quiet=True)
    for index in range(len(frames.train)):
        sample = frames.train[index]
        red = sample.image[..., 0].astype(float)
        if predicts == "metres":
            np.testing.assert_allclose(sample.depth, 0.5 + red / 64, atol=6e-4)
        else:  # the least of each image is level 1, the greatest level 256
            expected = 1 + 255 * (red - red.min()) / (red.max() - red.min())
            np.testing.assert_allclose(sample.depth, expected, atol=0.01)
    assert frames.limits == ((0.5, 10.0) if predicts == "metres" else (1.0, 256.0))


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_encoders", "workspace")
def test_estimated_depth_is_prepared_trained_on_and_scored(tmp_path: Path, model: Model) -> None:
    root, plain, run = write(tmp_path / "office"), tmp_path / "plain", tmp_path / "run"
    estimate(root)
    launch.prepare(ANY_FOLDER, [str(root), str(plain), "--workers", "0"])
    for before, after in zip(
        *(ANY_FOLDER.spec.open(place, "train") for place in (root, plain)), strict=True
    ):
        np.testing.assert_allclose(after.depth, before.depth, atol=0.01)
    line = (
        f"--data {plain} --objective sd+z --backbone tiny --width 8 --image-size 32x48 --epochs 1 "
        f"--batch-size 2 --holdout 0 --workers 0 --panels 0 --device cpu --output {run}"
    )
    launch.train(ANY_FOLDER, line.split())
    with (run / "metrics.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["depth"]) > 0
    assert float(row["hard"]) > 0  # Z of regions that the estimate cuts out
    results = json.loads((run / "results.json").read_text())
    assert results["images"] == 2
    assert results["log_depth_rmse"] > 0


def test_it_goes_on_where_it_stopped(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "office")
    model.dies_at = 4
    before = (root / "train.txt").read_bytes()
    with pytest.raises(SystemExit) as stop:
        estimate(root)
    assert stop.value.code == 130
    assert (root / "train.txt").read_bytes() == before  # nothing is named that is not there
    assert len(list((root / "depth_estimated").rglob("*.png"))) == 4
    model.dies_at = None
    estimate(root)
    assert model.seen == 6
    assert "2 depth maps written" in capsys.readouterr().out
    estimate(root)
    assert model.seen == 6
    with pytest.raises(SystemExit):
        launch.estimate_depth([str(root), "--model", "another"])
    assert "tells of another model" in capsys.readouterr().err


def test_measured_depth_is_not_lost(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "office")
    line = (root / "train.txt").read_text().splitlines()[0]
    (root / "train.txt").write_text(f"{line}\tmeasured.npy\n")
    before = (root / "train.txt").read_bytes()
    with pytest.raises(SystemExit):
        estimate(root)
    assert "--replace" in capsys.readouterr().err
    assert (root / "train.txt").read_bytes() == before
    estimate(root, "--replace")
    assert "depth_estimated/" in (root / "train.txt").read_text()


def test_images_without_a_description_come_first(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path / "office")
    (root / "dataset.json").unlink()
    estimate(root, "--images", "rgb/*.png")
    said = capsys.readouterr().out
    assert "--depth 'depth_estimated/**/*.png' --relative" in said
    more = ["--depth", "depth_estimated/**/*.png", "--relative", "--overwrite"]
    launch.init([str(root), "--images", "rgb/*.png", "--labels", "seg/*.png", *more])
    frames = ANY_FOLDER.spec.open(root, "train")
    assert frames[0].depth.max() == 256


def test_an_image_of_one_value_or_of_none_is_depth_all_the_same() -> None:
    flat = command._stored(np.full(SIZE, 3, np.float32), "inverse")
    assert (flat > 0).all()
    lost = command._stored(np.full(SIZE, np.nan, np.float32), "relative")
    assert (lost == 0).all()


@pytest.mark.slow
def test_a_model_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "office")
    with pytest.raises(SystemExit):
        launch.estimate_depth([str(root), "--model", str(tmp_path), "--device", "cpu"])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: Expected a depth-estimation model")
    assert str(tmp_path) in message


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dpt", "depth_anything"])
def test_a_model_of_transformers_in_a_folder(tmp_path: Path, kind: str) -> None:
    """Random weights; what counts is that the folder loads, and that sizes and numbers fit."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    small = {
        "neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8,
    }  # fmt: skip
    size = 32 if kind == "dpt" else 28
    backbone = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
    if kind == "dpt":
        config = transformers.DPTConfig(
            image_size=size, patch_size=8, intermediate_size=32, backbone_out_indices=[0, 1, 2, 3],
            is_hybrid=False, **small, **backbone,
        )  # fmt: skip
        network = transformers.DPTForDepthEstimation(config)
    else:
        stages = [f"stage{k}" for k in range(1, 5)]
        config = transformers.DepthAnythingConfig(
            backbone_config=transformers.Dinov2Config(
                image_size=size, patch_size=14, out_features=stages, reshape_hidden_states=False,
                apply_layernorm=True, **backbone,
            ),
            reassemble_hidden_size=16, patch_size=14, head_hidden_size=8, **small,
        )  # fmt: skip
        network = transformers.DepthAnythingForDepthEstimation(config)
    folder = tmp_path / "model"
    network.save_pretrained(folder)
    transformers.DPTImageProcessor(size={"height": size, "width": size}).save_pretrained(folder)
    root = write(tmp_path / "office", frames=3)
    launch.estimate_depth([str(root), "--model", str(folder), "--device", "cpu"])
    sample = ANY_FOLDER.spec.open(root, "train")[0]
    assert sample.depth.shape == SIZE
    assert (sample.depth.min(), sample.depth.max()) == (1, 256)
    assert len(np.unique(sample.depth)) > 50
