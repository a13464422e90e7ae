"""Any folder: `init` describes it, `DescribedFrames` reads it, `prepare` and `verify` work on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.rgbd import launch
from examples.rgbd.data import VOID, DataError, to_tensors
from examples.rgbd.data.described import frame_names
from examples.rgbd.data.description import parse_description
from examples.rgbd.data.inspect.start import check_files, check_frames, check_splits
from examples.rgbd.data.pairing import pair
from examples.rgbd.pipeline import ANY_FOLDER
from tests.examples.layout_writers import refusal

SIZE = (12, 16)


def write(root: Path, frames: int = 8, classes: int = 3, depth: bool = True) -> Path:
    """Scenes of two frames; class numbers from 1, 0 void; depth in metres as .npy."""
    for folder in ("rgb", "seg", "metres"):
        (root / folder).mkdir(parents=True)
    for number in range(frames):
        rng = np.random.default_rng(number)
        name = f"scene{number // 2}_view{number % 2}"
        ending = "jpg" if number % 2 else "png"
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(
            root / f"rgb/{name}.{ending}"
        )
        label = rng.integers(0, classes + 1, SIZE)
        label[0, : classes + 1] = np.arange(classes + 1)[: SIZE[1]]
        label[-1, -1] = classes
        dtype = np.uint8 if classes < 255 else np.uint16
        Image.fromarray(label.astype(dtype)).save(root / f"seg/{name}.png")
        if depth and number != 3:
            metres = rng.uniform(1, 5, SIZE).astype(np.float32)
            metres[1, 1] = 0
            np.save(root / f"metres/{name}.npy", metres)
    return root


def describe(root: Path, *more: str) -> dict:
    launch.init(
        [
            str(root), "--images", "rgb/*.*", "--labels", "seg/*.png", "--depth", "metres/*.npy",
            "--depth-per-metre", "1", "--void", "0", "--first-class", "1", "--test-share", "0.25",
            *more,
        ]
    )  # fmt: skip
    return json.loads((root / "dataset.json").read_text())


@pytest.mark.parametrize("classes", [3, 255, 256, 300, 40_000])
def test_init_describes_a_folder_whose_frames_then_read(tmp_path: Path, classes: int) -> None:
    root = write(tmp_path / "office", classes=classes)
    content = describe(root, "--group", r"(scene\d+)")
    assert content["name"] == "office"
    assert len(content["classes"]) == classes
    assert content["depth"]["per_metre"] == 1
    train, test = (ANY_FOLDER.spec.open(root, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (6, 2)
    scenes = [{name.split("_")[0] for name in frames.names} for frames in (train, test)]
    assert not scenes[0] & scenes[1]
    for frames in (train, test):
        for index in range(len(frames)):
            files, sample = frames.files(index), frames[index]
            stored = np.array(Image.open(files.label)).astype(int)
            void = 255 if classes <= 255 else 65535
            np.testing.assert_array_equal(sample.label, np.where(stored == 0, void, stored - 1))
            tensor = to_tensors(sample).label.numpy()
            np.testing.assert_array_equal(tensor, np.where(stored == 0, VOID, stored - 1))
            if files.depth is None:
                assert (sample.depth == 0).all()
            else:
                np.testing.assert_array_equal(sample.depth, np.load(files.depth))
    assert train.palette.shape == (classes, 3)


def test_what_is_guessed_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "office")
    (root / "rgb/lonely.png").write_bytes((root / "rgb/scene0_view0.png").read_bytes())
    launch.init(
        [str(root), "--images", "rgb/*.*", "--labels", "seg/*.png", "--depth", "metres/*.npy"]
    )
    said = capsys.readouterr().out
    for part in (
        "1 images without a label, left out: rgb/lonely.png",
        "1 images without depth, in which nothing is mined: rgb/scene1_view1.jpg",
        "guessed  class 0 is number 0",
        "guessed  4 classes, named by number",
        "guessed  depth is in metres",
        "guessed  near 1 m and far 5 m",
        "guessed  each frame stands for itself",
        "12 x 16: 8",
    ):
        assert part in said, said


def test_init_replaces_nothing_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "office")
    (root / "train.txt").write_text("somebody's own list\n")
    with pytest.raises(SystemExit):
        describe(root)
    assert "--overwrite" in capsys.readouterr().err
    assert (root / "train.txt").read_text() == "somebody's own list\n"
    describe(root, "--overwrite")


def test_prepared_frames_are_those_of_the_source(tmp_path: Path) -> None:
    root = write(tmp_path / "office", classes=300)
    describe(root)
    launch.prepare(ANY_FOLDER, [str(root), str(tmp_path / "plain"), "--workers", "0"])
    for split in ("train", "test"):
        before, after = (ANY_FOLDER.spec.open(p, split) for p in (root, tmp_path / "plain"))
        assert before.names == after.names
        for index in range(len(before)):
            for one, other in zip(before[index][:2], after[index][:2], strict=True):
                np.testing.assert_array_equal(one, other)
            np.testing.assert_allclose(before[index].depth, after[index].depth, atol=5e-4)


def test_prepare_sees_what_was_mended_and_refuses_another_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, target = write(tmp_path / "office"), tmp_path / "plain"
    describe(root)
    command = [str(root), str(target), "--workers", "0"]
    launch.prepare(ANY_FOLDER, command)
    frames = ANY_FOLDER.spec.open(root, "train")
    mended = frames.files(0).label
    Image.fromarray(np.ones(SIZE, np.uint8)).save(mended)
    launch.prepare(ANY_FOLDER, command)
    assert "6 frames, 5 of them written before" in capsys.readouterr().out
    assert (ANY_FOLDER.spec.open(target, "train")[0].label == 0).all()
    other = write(tmp_path / "elsewhere/office")
    describe(other)
    with pytest.raises(SystemExit):
        launch.prepare(ANY_FOLDER, [str(other), str(target), "--workers", "0"])
    assert "begun from" in capsys.readouterr().err


def test_relative_depth_becomes_levels_of_each_image(tmp_path: Path) -> None:
    root = write(tmp_path / "office")
    describe(root)
    path = root / "dataset.json"
    content = json.loads(path.read_text())
    for inverse in (False, True):
        content["depth"] = {"kind": "relative", "missing": [0], "inverse": inverse}
        path.write_text(json.dumps(content))
        frames = ANY_FOLDER.spec.open(root, "train")
        stored, levels = np.load(frames.files(0).depth or ""), frames[0].depth
        known = stored > 0
        place = (stored - stored[known].min()) / np.ptp(stored[known])
        expected = 1 + 255 * (1 - place if inverse else place)
        np.testing.assert_allclose(levels[known], expected[known], rtol=1e-5)
        assert (levels[~known] == 0).all()
        assert frames.depth_limits == (1.0, 256.0)
        assert not frames.metric


WRONG = {
    "a misspelt entry": ({"clases": ["a", "b"]}, "'clases'"),
    "no classes": ({"classes": []}, "'classes'"),
    "void among the classes": ({"label": {"first_class": 0, "void": [1]}}, "void"),
    "a palette too short": ({"palette": [[1, 2, 3]]}, "palette"),
    "far below near": ({"near": 5, "far": 2}, "far"),
    "no step": ({"depth": {"per_metre": 0}}, "per_metre"),
    "another kind": ({"depth": {"kind": "disparity"}}, "relative"),
    "a name that is taken": ({"name": "rooms"}, "rooms"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_entry_that_cannot_be_used_is_named(tmp_path: Path, case: str) -> None:
    change, part = WRONG[case]
    content = {"name": "office", "classes": ["a", "b"], **change}
    refusal(lambda: parse_description(content, tmp_path / "dataset.json"), "dataset.json", part)


def test_names_are_paired_by_what_varies() -> None:
    assert pair(["a/1.jpg", "a/2.jpg"], ["b/2.png"], "a/*.jpg", "b/*.png") == {"a/2.jpg": "b/2.png"}
    images, labels = ["x/img_007.png", "x/img_012.png"], ["y/seg-7.png", "y/seg-12.png"]
    assert pair(images, labels, "x/*.png", "y/*.png") == dict(zip(images, labels, strict=True))
    assert pair(["s1/color/0.jpg", "s2/color/0.jpg"], ["s2/label/0.png"], "s*/color/*.jpg",
                "s*/label/*.png") == {"s2/color/0.jpg": "s2/label/0.png"}  # fmt: skip
    assert frame_names(["rgb/a.png", "rgb/a.jpg", "rgb/b.png"]) == ["a.png", "a.jpg", "b"]


def test_a_run_does_not_begin_with_what_would_end_it(tmp_path: Path) -> None:
    root = write(tmp_path / "office")
    describe(root)
    train, test = (ANY_FOLDER.spec.open(root, split) for split in ("train", "test"))
    refusal(lambda: check_splits(train, train), "both splits")
    check_splits(train, test)
    check_frames(train, train.depth_limits)
    refusal(lambda: check_frames(train, (100.0, 1000.0)), "outside", "another unit")
    lost = test.files(0).label
    lost.unlink()
    refusal(lambda: check_files(test, quiet=True), str(lost))


@pytest.mark.parametrize("orientation", [2, 3, 4, 6])
def test_an_image_that_exif_turns_is_named(tmp_path: Path, orientation: int) -> None:
    root = write(tmp_path / "office")
    describe(root)
    frames = ANY_FOLDER.spec.open(root, "train")
    index = next(k for k in range(len(frames)) if frames.files(k).image.suffix == ".jpg")
    path = frames.files(index).image
    exif = Image.Exif()
    exif[274] = orientation
    Image.open(path).save(path, exif=exif)
    refusal(lambda: frames[index], str(path), "EXIF")


def test_a_list_without_tabs_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "office")
    describe(root)
    (root / "train.txt").write_text("rgb/scene0_view0.png seg/scene0_view0.png\n")
    with pytest.raises(DataError, match="apart by a tab"):
        ANY_FOLDER.spec.open(root, "train")
