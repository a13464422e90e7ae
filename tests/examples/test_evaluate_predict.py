"""The commands that take a checkpoint: `evaluate`, `predict`, and the figures of `analysis`."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from examples.analysis.__main__ import main as analyse
from examples.analysis.correlation import choose_edges
from examples.analysis.options import Correlation
from examples.nyudv2.evaluate import main as evaluate
from examples.nyudv2.predict import main as predict
from examples.nyudv2.train import main as train
from examples.rgbd.commands.predict import (
    _pictures,
    _steps,
    list_images,
    output_names,
    predict_image,
)
from examples.rgbd.data import label_palette, normalise
from examples.rgbd.options.groups import DataOptions, OptionError, TrainConfig
from examples.rgbd.report.overlay import overlay
from examples.rgbd.run.trained import Trained, load_trained
from examples.sunrgbd.evaluate import main as evaluate_sun
from lwm_loss import MultiTaskOutput
from lwm_loss.analysis import BinnedErrors
from tests.examples.accelerators import forget_accelerator

pytestmark = pytest.mark.usefixtures("tiny_encoders", "workspace")
TINY = [
    *("--rooms", "20", "--test-rooms", "3", "--image-size", "32x64", "--width", "8"),
    *("--batch-size", "3", "--epochs", "3", "--panels", "0", "--device", "cpu"),
    *("--initialisation", "scaled", "--backbone", "narrow"),
]


@pytest.fixture(scope="module")
def run(tiny_encoders: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained for long enough to tell some pixels from others."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train([*TINY, "--output", str(folder)])
    forget_accelerator()
    return folder


def refusal(capsys: pytest.CaptureFixture[str], command, args: list[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        command(args)
    assert stop.value.code not in (0, None)
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.slow
def test_evaluation_finds_what_training_reported(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    more = ["--flip", "--multi-scale", "--scales", "0.5", "1", "--output", "figures.json"]
    evaluate([str(run), "--device", "cpu", "--workers", "0", *more])
    figures = json.loads(Path("figures.json").read_text())
    assert list(figures) == ["single scale", "flip", "multi-scale (0.5, 1) and flip"]
    reported = json.loads((run / "results.json").read_text())
    for key, value in figures["single scale"].items():
        assert reported[key] == pytest.approx(value), key
    assert figures["flip"]["class_iou"] != figures["single scale"]["class_iou"]
    said = capsys.readouterr().out
    assert "cushion" in said
    assert "flip: pixel accuracy" in said


@pytest.mark.slow
def test_checkpoints_that_cannot_be_evaluated_are_named(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nowhere" in refusal(capsys, evaluate, ["nowhere"])
    assert "--crop" in refusal(capsys, evaluate, [str(run), "--crop"])
    assert "--scales" in refusal(capsys, evaluate, [str(run), "--scales", "0"])
    assert "is a folder" in refusal(capsys, evaluate, [str(run), "--output", "."])
    wrong = refusal(capsys, evaluate_sun, [str(run), "--device", "cpu"])
    assert "SUN RGB-D" in wrong


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Plain images of several sizes and kinds."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (40, 70, 3), dtype=np.uint8)
    Image.fromarray(colours).save(folder / "colour.png")
    Image.fromarray(colours[:33, :90, 0]).save(folder / "grey.JPG", format="JPEG")
    Image.fromarray(np.dstack([colours, colours[..., :1]])).save(folder / "alpha.png")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.mark.slow
def test_plain_images_get_labels_and_depth_at_their_own_size(run: Path, pictures: Path) -> None:
    predict([str(run), str(pictures), "--output", "out", "--device", "cpu"])
    names = sorted(path.name for path in Path("out").iterdir())
    kinds = ("depth", "labels", "overlay")
    assert names == sorted(
        ["classes.json", *(f"{i}-{k}.png" for i in ("alpha", "colour", "grey") for k in kinds)]
    )
    assert json.loads(Path("out/classes.json").read_text())["1"] == "floor"
    trained = load_trained(run)
    image = Image.open(pictures / "colour.png").resize((64, 32), Image.Resampling.BILINEAR)
    output = trained.network(normalise(np.asarray(image))[None])
    assert output.logits.argmax(1).unique().numel() > 1
    logits = torch.nn.functional.interpolate(
        output.logits, (40, 70), mode="bilinear", align_corners=False
    )
    with Image.open("out/colour-labels.png") as labels:
        np.testing.assert_array_equal(np.asarray(labels), logits.argmax(1)[0])
    with Image.open("out/colour-depth.png") as picture:
        millimetres = np.asarray(picture)
    assert millimetres.dtype == np.uint16
    near, far = (1000 * limit for limit in trained.limits)
    assert near <= millimetres.min() <= millimetres.max() <= far
    levels = output.log_depth[0].exp().mean().item()
    assert millimetres.mean() == pytest.approx(near + (levels - 1) * (far - near) / 255, rel=0.02)
    with Image.open("out/grey-overlay.png") as overlay, Image.open(pictures / "grey.JPG") as grey:
        assert overlay.width > grey.width  # the legend
        assert overlay.height >= grey.height


@pytest.mark.slow
def test_an_image_that_cannot_be_read_is_named_and_the_others_are_predicted(
    run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "broken.png").write_bytes((pictures / "colour.png").read_bytes()[:99])
    with pytest.raises(SystemExit) as stop:
        predict([str(run), str(pictures), "--output", "out", "--device", "cpu"])
    assert stop.value.code == 1
    errors = capsys.readouterr().err
    assert "broken.png" in errors
    assert "Traceback" not in errors
    assert Path("out/colour-labels.png").exists()
    assert not Path("out/broken-labels.png").exists()


def test_files_that_are_no_images_are_told_and_all_kinds_of_images_are_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.bmp", "b.webp", "c.tif", "d.JPEG", "e.ppm", "f.gif", "notes.txt", "g.mp4"):
        (tmp_path / name).touch()
    assert "".join(file.stem for file in list_images(tmp_path)) == "abcdef"
    assert "2 files that are no images left out: g.mp4, notes.txt" in capsys.readouterr().out


@pytest.mark.parametrize("classes", [7, 300])
def test_an_overlay_has_the_colours_of_the_panels_and_a_legend(classes: int) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    labels = np.full((40, 60), classes - 1, np.uint16)
    labels[:10] = 2
    palette = label_palette(classes)
    names = [f"thing {k}" for k in range(classes)]
    picture = np.asarray(overlay(image, labels, names, palette)).astype(int)
    shown = picture[:40, :60]
    for part, colour in ((np.s_[:10], palette[2]), (np.s_[10:], palette[-1])):
        expected = 0.55 * colour + 0.45 * image[part].astype(float)
        assert np.abs(shown[part] - expected).max() < 0.51
    beside = {tuple(colour) for colour in picture[:, 60:].reshape(-1, 3)}
    assert {tuple(palette[2]), tuple(palette[-1])} <= beside


@pytest.mark.parametrize(("classes", "dtype"), [(256, np.uint8), (300, np.uint16)])
@pytest.mark.parametrize("metric", [True, False])
def test_many_classes_and_far_depth_fit_the_files(classes: int, dtype: type, metric: bool) -> None:
    """300 classes do not wrap at 256, nor 80 m of depth at 65.5 m, nor levels at 65.5."""

    class Last(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> MultiTaskOutput:
            logits = torch.zeros(len(image), classes, *image.shape[-2:])
            logits[:, -1] = 1
            return MultiTaskOutput(logits, torch.full_like(image[:, 0], math.log(256)))

    config = TrainConfig(data=DataOptions(image_size=(32, 32)))
    limits = (1.0, 80.0) if metric else (1.0, 256.0)
    trained = Trained(
        Last(), config, "street", tuple(map(str, range(classes))), label_palette(classes), limits,
        1, Path("run"), metric,
    )  # fmt: skip
    image = np.zeros((8, 9, 3), np.uint8)
    pictures = dict(_pictures(trained, image, predict_image(trained, image)))
    labels = np.asarray(pictures["labels"])
    assert labels.dtype == dtype
    assert (labels == classes - 1).all()
    steps, _ = _steps(trained)
    np.testing.assert_allclose(np.asarray(pictures["depth"]) / steps, limits[1], rtol=1e-4)


@pytest.mark.slow
def test_folders_without_usable_names_are_refused(
    run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty" / "folder.png").mkdir(parents=True)
    assert "found none" in refusal(capsys, predict, [str(run), "empty"])
    assert "no such folder" in refusal(capsys, predict, [str(run), "nowhere"])
    before = (pictures / "colour.png").read_bytes()
    assert "--output" in refusal(capsys, predict, [str(run), "pictures", "--output", "pictures"])
    assert (pictures / "colour.png").read_bytes() == before


def test_images_of_one_name_are_told_apart() -> None:
    names = ["a.jpg", "A.png", "a.jpg.png", "b.png", "b-labels.png"]
    assert output_names([Path(name) for name in names]) == [*names[:3], "b", "b-labels"]
    assert output_names([Path("x/y.jpeg")]) == ["y"]


@pytest.mark.slow
def test_the_correlation_counts_every_pixel_once(run: Path) -> None:
    both = [str(run), str(run / "checkpoint.pt")]
    analyse(["correlation", *both, "--device", "cpu", "--bins", "4", "--output", "c"])
    with Path("c/correlation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == [both[0]] * 4 + [both[1]] * 4
    assert [float(row["low"]) for row in rows[:4]] == pytest.approx([0, 0.25, 0.5, 0.75])
    assert rows[3]["high"] == "inf"
    wrong = sum(int(row["wrong"]) for row in rows[:4])
    pixels = sum(int(row["pixels"]) for row in rows[:4])
    results = json.loads((run / "results.json").read_text())
    # All labelled pixels but those without depth.
    assert 0.7 * 3 * 32 * 64 < pixels < 3 * 32 * 64
    assert 1 - wrong / pixels == pytest.approx(results["pixel_accuracy"], abs=0.1)
    with Image.open("c/correlation.png") as picture:
        assert picture.width > 500


@pytest.mark.slow
def test_quantile_bins_hold_the_same_number_of_pixels(run: Path) -> None:
    args = ["--bins", "5", "--widths", "quantile", "--max-gap", "5", "--output", "c"]
    analyse(["correlation", str(run), "--device", "cpu", *args])
    with Path("c/correlation.csv").open(newline="") as file:
        pixels = [int(row["pixels"]) for row in csv.DictReader(file)]
    assert max(pixels) < 1.2 * min(pixels)


@pytest.mark.parametrize(
    ("counts", "bins", "inner"),
    [
        ({10: 5, 20: 4, 30: 3}, 3, [11, 21]),  # the edges above the bins that fill a third
        ({10: 1, 20: 1, 30: 1, 40: 1}, 2, [21]),
        ({5: 9, 700: 1, 1500: 10}, 2, [701]),
        ({10: 7}, 3, None),  # one bin has all the pixels: both edges would be the same
        ({1999: 7}, 2, None),  # the last bin has them: its upper edge is that of the whole range
    ],
)
def test_equally_filled_bins_end_where_their_share_is_reached(
    counts: dict[int, int], bins: int, inner: list[int] | None
) -> None:
    total = torch.zeros(2000, dtype=torch.long)
    for place, number in counts.items():
        total[place] = number
    fine = BinnedErrors(torch.arange(2001.0).double(), torch.zeros_like(total), total)
    options = Correlation((Path("run"),), bins=bins, widths="quantile")
    if inner is not None:
        assert choose_edges(fine, options) == inner
    else:
        with pytest.raises(OptionError, match=f"for {bins} equally filled bins"):
            choose_edges(fine, options)


@pytest.mark.slow
def test_maps_are_drawn_at_the_epochs_asked_for(run: Path) -> None:
    analyse(["maps", str(run), "--epochs", "0", "1", "--count", "1", "--device", "cpu"])
    assert sorted(path.name for path in Path("maps").iterdir()) == [
        "kept-room-test-00001.png",
        "maps-room-test-00001.png",
    ]


@pytest.mark.slow
def test_epochs_beyond_the_curriculum_are_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["maps", str(run), "--epochs", "1", "99", "--device", "cpu"]
    assert "which has 3, but got 99" in refusal(capsys, analyse, args)
    assert not Path("maps").exists()
