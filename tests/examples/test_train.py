"""The command `train` from end to end: what it writes, and how it refuses."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from examples.nyudv2.recipe import PIPELINE as NYUDV2
from examples.nyudv2.train import main as train_nyudv2
from examples.rgbd.cli import parse
from examples.rgbd.data import Augmented
from examples.rgbd.options.as_json import from_plain, to_plain
from examples.rgbd.options.groups import ROOMS, OptionError, TrainConfig
from examples.rgbd.options.rules import check
from examples.rgbd.run.accelerator import pick_device
from examples.rgbd.run.checkpoint import load_checkpoint
from examples.rgbd.run.folder import RunFolder
from examples.sunrgbd.recipe import PIPELINE as SUNRGBD
from examples.sunrgbd.train import main as train_sunrgbd
from tests.examples.accelerators import forget_accelerator

pytestmark = pytest.mark.usefixtures("tiny_encoders", "workspace")
TINY = [
    *("--rooms", "20", "--test-rooms", "3", "--image-size", "32x48", "--batch-size", "3"),
    *("--epochs", "3", "--width", "8", "--initialisation", "scaled", "--panels", "1"),
    *("--panels-every", "3", "--device", "cpu", "--backbone", "tiny"),
]
NAMES = ("paper", "laptop")
ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data" / "nyudv2"


def rows_of(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def refusal(capsys: pytest.CaptureFixture[str], args: list[str], train=train_nyudv2) -> str:
    """The one sentence with which a command line is refused."""
    with pytest.raises(SystemExit) as stop:
        train([*args, "--device", "cpu"])
    assert stop.value.code not in (0, None)
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    return message


def write_frame(root: Path, number: int, label: np.ndarray | None = None) -> None:
    """A frame in the layout of SA-Gate."""
    rng = np.random.default_rng(number)
    for folder in ("RGB", "Label", "Depth"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    shape = (40, 56)
    Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(
        root / "RGB" / f"{number}.jpg"
    )
    label = rng.integers(0, 41, shape).astype(np.uint8) if label is None else label
    Image.fromarray(label).save(root / "Label" / f"{number}.png")
    depth = rng.integers(800, 6000, shape).astype(np.uint16)
    Image.fromarray(depth).save(root / "Depth" / f"{number}.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of eight training frames and two test frames."""
    root = tmp_path / "data"
    for number in range(10):
        write_frame(root, number)
    (root / "train.txt").write_text("".join(f"RGB/{i}.jpg Label/{i}.png\n" for i in range(8)))
    (root / "test.txt").write_text("".join(f"RGB/{i}.jpg Label/{i}.png\n" for i in (8, 9)))
    return root


SMALL = [
    *("--backbone", "tiny", "--width", "8", "--image-size", "32x48", "--batch-size", "2"),
    *("--epochs", "1", "--workers", "0", "--panels", "0", "--holdout", "0.25"),
]


@pytest.mark.slow
def test_a_run_on_generated_rooms_learns_and_leaves_everything_behind(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    varied: list[int] = []
    original = Augmented.set_epoch
    monkeypatch.setattr(
        Augmented, "set_epoch", lambda self, epoch: (varied.append(epoch), original(self, epoch))
    )
    train_nyudv2([*TINY, "--backbone", "narrow"])
    assert varied == [0, 1, 2]
    run = Path("runs/rooms-full")
    rows = rows_of(run)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert rows[-1]["segmentation"] < rows[0]["segmentation"]
    assert rows[-1]["depth"] < rows[0]["depth"]
    for row in rows:
        whole = row["segmentation"] + row["depth"] + row["hard"] + 0.1 * row["sides"]
        assert row["loss"] == pytest.approx(whole, rel=1e-4)
        assert 0 <= row["val_mean_iou"] <= row["val_pixel_accuracy"] <= 1
    # The curriculum starts with at most the pixels below the median, and lets more in.
    assert rows[0]["kept_share"] <= 0.51 < rows[-1]["kept_share"] < 1
    assert [row["curriculum_progress"] for row in rows] == pytest.approx([0, 1 / 3, 2 / 3])

    stored = json.loads((run / "config.json").read_text())
    assert stored["options"]["run"]["seed"] == 0
    assert stored["versions"]["torch"] == torch.__version__
    state = load_checkpoint(run / "checkpoint.pt")
    assert state["epoch"] == 3
    assert len(state["history"]) == 3
    results = json.loads((run / "results.json").read_text())
    assert results["images"] == 3
    assert len(results["class_iou"]) == 13
    panels = sorted(path.name for path in (run / "panels").iterdir())
    assert panels == ["epoch-003-room-train-00019.png", "test-room-test-00001.png"]
    with Image.open(run / "panels" / panels[0]) as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(2**24)) > 1000

    said = capsys.readouterr().out
    assert "3 images a step = 3 x 1 accumulated x 1 processes" in said
    assert "learning rate 0.002" in said
    assert "most frequent class" in said


def test_a_second_run_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    for expected in ("rooms-full", "rooms-full-2", "rooms-full-3"):
        folder = RunFolder.choose(None, "rooms-full")
        assert folder.path == Path("runs") / expected
        folder.claim()
        folder.release()
    (tmp_path / "empty").mkdir()
    assert RunFolder.choose(Path("empty"), "any").path == Path("empty")


def test_runs_that_are_started_together_never_share_a_folder() -> None:
    together = [RunFolder.choose(None, "rooms-s") for _ in range(3)]
    for folder in together:
        folder.claim()
    assert len({folder.path for folder in together}) == 3
    first, second = (RunFolder.choose(Path("asked"), "rooms-s") for _ in range(2))
    first.claim()
    first.write_config(TrainConfig(), {})
    with pytest.raises(OptionError, match="is in use"):
        second.claim()
    for folder in (*together, first):
        folder.release()


def test_half_precision_on_a_cpu_is_refused_before_anything_is_drawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*_: object, **__: object) -> None:
        raise AssertionError("rooms are drawn")

    monkeypatch.setattr("examples.rgbd.commands.train.open_frames", draw)
    message = refusal(capsys, [*TINY, "--mixed-precision", "fp16", "--output", "run"])
    assert "a GPU for fp16" in message
    assert not Path("run").exists()


@pytest.mark.parametrize("name", ["cuda:1", "cuda:99", "gpu", "cuda:"])
def test_a_device_that_is_not_there_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(OptionError, match=f"Expected --device .*{name}"):
        pick_device(name)
    with pytest.raises(SystemExit):
        train_nyudv2([*TINY, "--device", name, "--output", "run"])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.count("Expected") == 1
    assert name in message
    assert str(pick_device("cuda:0")) == "cuda:0"


HOLD = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
time.sleep(60)
"""


def test_a_folder_is_written_to_by_one_run_at_a_time() -> None:
    folder = RunFolder.choose(Path("run"), "any")
    folder.claim()
    with pytest.raises(OptionError, match="to be the only run that writes to run"):
        RunFolder(Path("run"), begun=True).claim()
    folder.release()
    again = RunFolder(Path("run"), begun=True)
    again.claim()
    again.release()


def test_the_lock_of_a_killed_run_goes_with_it() -> None:
    Path("run").mkdir()
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, "run/.lock"], stdout=subprocess.PIPE, text=True
    )
    with other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with pytest.raises(OptionError, match="another one is still at it"):
                RunFolder(Path("run"), begun=True).claim()
        finally:
            other.kill()
    folder = RunFolder(Path("run"), begun=True)
    folder.claim()
    folder.release()


def test_a_folder_in_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    message = refusal(capsys, [*TINY, "--output", "used"])
    assert "used is in use: did you mean --resume used?" in message


@pytest.mark.slow
def test_a_folder_of_frames_is_trained_on(folder: Path) -> None:
    train_nyudv2(["--data", str(folder), "--output", "run", "--device", "cpu", *SMALL])
    (row,) = rows_of(Path("run"))
    assert row["learning_rate"] == 1e-3
    assert json.loads(Path("run/results.json").read_text())["images"] == 2


@pytest.mark.slow
def test_a_run_is_gone_on_with_on_its_own_frames_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--data", str(folder), "--output", "run", "--device", "cpu", "--objective", "s"]
    train_nyudv2([*args, *SMALL])
    names = (folder / "train.txt").read_text().splitlines()
    (folder / "train.txt").write_text("\n".join(names[:-2]))
    forget_accelerator()
    message = refusal(capsys, ["--resume", "run", "--epochs", "2"])
    assert "nyudv2 with 40 classes, 6 to train on and 2 held out" in message
    assert "nyudv2 with 40 classes, 5 and 1" in message


@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_label_out_of_range_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    write_frame(folder, 3, np.full((40, 56), 41, np.uint8))
    args = ["--data", str(folder), *SMALL, "--workers", workers]
    message = refusal(capsys, args)
    assert "3.png" in message
    assert "41" in message


def test_a_truncated_file_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "RGB" / "5.jpg"
    file.write_bytes(file.read_bytes()[:200])
    assert "5.jpg" in refusal(capsys, ["--data", str(folder), *SMALL])


def test_a_depth_that_is_not_metric_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(10):
        Image.new("L", (56, 40), 128).save(folder / "Depth" / f"{number}.png")
    assert "Depth" in refusal(capsys, ["--data", str(folder), *SMALL])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--resume", "nowhere"], "no config.json"),
        (["--cells", "eight"], "--cells"),
        (["--holdout", "1"], "--holdout"),
        (["--cells", "0x8"], "`cells` to be at least 1"),
        (["--lr", "nan"], "--lr"),
        (["--near", "5", "--far", "2"], "--near < --far"),
        (["--mining", "ohem"], "--objective s or sd"),
        (["--objective", "sd", "--control", "uniform"], "L_h"),
        (["--network", "pspnet"], "side outputs"),
        (["--backbone", "alexnet"], "alexnet"),
        (["--batch-size", "5", "--accumulation", "2"], "--batch-size"),
        (["--rooms", "4", "--batch-size", "8"], "one batch"),
        (["--pretrained", "./no-such-weights"], "no-such-weights"),
        (["--mixed-precision", "fp16"], "did you mean bf16?"),
        (["--objective", "sd", "--mining", "ohem", "--ohem-min-kept", "2000"], "1536 pixels"),
        (["--curriculum-epochs", "0"], "--curriculum-epochs"),
        (["--objective", "sd+r", "--fusion", "max"], "--fusion with an objective that fuses"),
        (["--objective", "full", "--control", "delta", "--bin-size", "5"], "measures Z"),
        (["--objective", "sd+cl", "--alpha", "2"], "--alpha"),
        (["--objective", "sd", "--beta", "0.5"], "side outputs"),
        (["--objective", "hpm", "--curriculum-epochs", "3"], "the curriculum"),
        (
            ["--objective", "sd", "--mining-place", "add"],
            "--mining ohem, focal, lmp, depth-edges or label-boundaries",
        ),
        (["--objective", "sd", "--mining", "depth-edges"], "Expected --mining-place add"),
        (
            [
                "--objective",
                "sd",
                "--mining",
                "depth-edges",
                "--mining-place",
                "add",
                "--edge-radius",
                "0",
            ],
            "radius",
        ),
        (["--objective", "sd", "--mining", "label-boundaries"], "Expected --mining-place add"),
        (["--edge-threshold", "0.2"], "--mining depth-edges"),
        (["--edge-boundaries-only"], "--mining depth-edges"),
        (["--edge-radius", "3"], "--mining depth-edges or label-boundaries"),
        (["--objective", "sd", "--mining", "ohem", "--focal-gamma", "1"], "--mining focal"),
        (["--objective", "sd+r", "--error", "loss"], "--error with an objective that measures Z"),
        (["--class-weights", "median"], "--class-weights as none, median-frequency, inverse-sqrt"),
        (["--momentum", "0.5"], "--optimizer sgd"),
        (["--layout", "sa-gate"], "--layout with --data"),
        (["--data", ".", "--world", "a"], "generated rooms"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_in_one_sentence(
    args: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [] if args[0] in ("--resume", "--data") else TINY
    message = refusal(capsys, [*tiny, *args])
    assert part in message
    assert message.count("Expected") == 1
    assert not list(Path().glob("runs/*"))


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--learning-rat", "1"], "--learning-rat"),
        (["--lr", "fast"], "fast"),
        (["--mining", "best"], "best"),
        (["--image-size", "480"], "two whole numbers"),
        (["--flip", "2"], "`flip` in [0, 1], but got 2.0"),
    ],
)
def test_an_option_that_cannot_be_read_is_refused_in_one_sentence(
    args: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        train_nyudv2(args)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert part in line


def test_tensorboard_that_is_not_installed_is_missed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.rgbd.run.accelerator.is_tensorboard_available", lambda: False)
    assert "not installed" in refusal(capsys, [*TINY, "--tensorboard"])


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    args = [
        *(*TINY, "--optimizer", "sgd", "--schedule", "constant", "--output", "run"),
        *("--lr", "1e30", "--clip-norm", "0", "--checkpoint-every", "1"),
    ]
    said = refusal(capsys, args)
    assert "L_s left first and is nan at step 2 in epoch 1" in said
    assert "run holds from before is untouched" in said
    assert "did you mean --clip-norm 1" in said
    state = load_checkpoint(Path("run/checkpoint.pt"))
    assert state["step"] == 1
    assert all(weight.isfinite().all() for weight in state["network"].values())


def test_sunrgbd_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert "SUN RGB-D" in refusal(capsys, [], train_sunrgbd)


def test_the_help_shows_the_recipe_that_would_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    for args, epochs in (([], "5"), (["--data", "x"], "120")):
        with pytest.raises(SystemExit):
            train_nyudv2([*args, "--help"])
        assert f"(default: {epochs})" in capsys.readouterr().out.split("--epochs")[1].split("--")[0]


def test_a_switch_can_be_given_either_way_whatever_its_default() -> None:
    for words, value in (("--channels-last", True), ("--no-channels-last", False)):
        config = parse(TrainConfig, [words], prog="train", description="", default=ROOMS)
        assert config.optimisation.channels_last is value


@pytest.mark.slow
def test_plain_side_outputs_are_not_logged_as_mined() -> None:
    train_nyudv2([*TINY, "--epochs", "1", "--panels", "0", "--objective", "sd+ms"])
    (row,) = rows_of(Path("runs/rooms-sd+ms"))
    assert row["hard"] == 0
    parts = row["segmentation"] + row["depth"] + 0.1 * row["sides"]
    assert row["loss"] == pytest.approx(parts, rel=1e-4)


def test_the_recipes_have_no_option_without_effect() -> None:
    named = [pipeline.options(name) for pipeline in (NYUDV2, SUNRGBD) for name in (None, *NAMES)]
    for recipe in (ROOMS, *named):
        check(recipe)


def test_recipes_by_name() -> None:
    paper, laptop = (NYUDV2.options(name) for name in NAMES)
    assert (paper.network.backbone, paper.optimisation.lr) == ("resnet152", 1e-3)
    assert (laptop.network.backbone, laptop.network.pretrained) == ("efficientnet_lite2", "pypi")
    assert [each.run.recipe for each in (paper, laptop)] == list(NAMES)
    assert SUNRGBD.options("paper").optimisation.epochs == 60


def test_a_recipe_needs_frames(capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(capsys, ["--recipe", "laptop"])
    assert "--recipe laptop with --data and the folder of NYUDv2" in said


def test_configurations_survive_json() -> None:
    for config in (TrainConfig(), ROOMS):
        assert from_plain(TrainConfig, json.loads(json.dumps(to_plain(config)))) == config


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real NYUDv2 frames in ../shared/data")
def test_real_frames_are_trained_on(tmp_path: Path) -> None:
    lists = {name: (REAL / f"{name}.txt").read_text().splitlines() for name in ("train", "test")}
    root = tmp_path / "few"
    root.mkdir()
    for name in ("RGB", "Label", "Depth"):
        (root / name).symlink_to(REAL / name)
    (root / "train.txt").write_text("\n".join(lists["train"][:6]))
    (root / "test.txt").write_text("\n".join(lists["test"][:2]))
    train_nyudv2(["--data", str(root), "--output", "run", "--device", "cpu", *SMALL])
    (row,) = rows_of(Path("run"))
    # Fractions of the class probabilities at random weights: near log 40.
    assert 0.5 * math.log(40) < row["val_loss"] < 3 * math.log(40)
