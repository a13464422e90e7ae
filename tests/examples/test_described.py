"""Any folder: `init` describes it, `DescribedFrames` reads it, `prepare` and `verify` work on it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image

from examples.rgbd import launch
from examples.rgbd.data import NYUDV2, SUNRGBD, VOID, DataError, presets, to_tensors
from examples.rgbd.data.described import frame_names
from examples.rgbd.data.description import parse_description
from examples.rgbd.data.inspect.facts import frame_facts
from examples.rgbd.data.inspect.rules import verify
from examples.rgbd.data.inspect.start import check_files, check_frames, check_splits
from examples.rgbd.data.pairing import likely_pattern, pair
from examples.rgbd.options.commands import InitOptions
from examples.rgbd.options.groups import DataOptions
from examples.rgbd.pipeline import ANY_FOLDER
from examples.rgbd.splits import open_frames
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


@pytest.mark.parametrize(("least", "first"), [(0, 0), (1, 1), (2, 0)])
def test_class_0_is_guessed_to_be_number_0_or_1(tmp_path: Path, least: int, first: int) -> None:
    """Labels that begin at 2 lack a class, or two: none begins there."""
    rng = np.random.default_rng(0)
    for number in range(4):
        image, *_ = _frame(number, 3)
        _picture(tmp_path / f"rgb/{number}.png", image)
        label = rng.integers(least, 7, SIZE).astype(np.uint8)
        label[0, :2] = least, 6
        _picture(tmp_path / f"seg/{number}.png", label)
    launch.init([str(tmp_path), "--images", "rgb/*.png", "--labels", "seg/*.png"])
    content = json.loads((tmp_path / "dataset.json").read_text())
    assert len(content["classes"]) == 7 - first
    frames = ANY_FOLDER.spec.open(tmp_path, "train", use_depth="none")
    stored = np.asarray(Image.open(frames.files(0).label))
    np.testing.assert_array_equal(frames[0].label, stored - first)


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
    "a name twice": ({"classes": ["a", "b", "a"]}, "'a' stands there 2 times"),
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
    def partners(*args: object) -> dict[str, str]:
        return pair(*args).partners  # type: ignore[arg-type]

    found = partners(["a/1.jpg", "a/2.jpg"], ["b/2.png"], "a/*.jpg", "b/*.png")
    assert found == {"a/2.jpg": "b/2.png"}
    images, labels = ["x/img_007.png", "x/img_012.png"], ["y/seg-7.png", "y/seg-12.png"]
    found = partners(images, labels, "x/*.png", "y/*.png")
    assert found == dict(zip(images, labels, strict=True))
    found = partners(
        ["s1/color/0.jpg", "s2/color/0.jpg"], ["s2/label/0.png"], "s*/color/*.jpg", "s*/label/*.png"
    )
    assert found == {"s2/color/0.jpg": "s2/label/0.png"}
    assert frame_names(["rgb/a.png", "rgb/a.jpg", "rgb/b.png"]) == ["a.png", "a.jpg", "b"]


def renamed(root: Path, name: Callable[[int, str], str]) -> Path:
    """The labels by other names."""
    for number, path in reversed([*enumerate(sorted((root / "seg").iterdir()))]):
        path.rename(path.with_name(name(number, path.stem)))
    return root


def test_a_pairing_that_nobody_has_said_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By numbers, and by numbers that begin elsewhere: labels of other frames."""
    root = write(tmp_path / "office", depth=False)
    for number, path in enumerate(sorted((root / "rgb").iterdir())):
        path.rename(path.with_name(f"photo{number}{path.suffix}"))
    args = [str(root), "--images", "rgb/*.*", "--labels", "seg/*.png"]
    renamed(root, lambda number, stem: f"mask-{number:03}.png")
    launch.init(args)
    said = capsys.readouterr().out
    assert "guessed  images and labels belong together by the numbers in their names" in said
    assert "from 0 here" not in said
    renamed(root, lambda number, stem: f"photo{number + 1}.png")
    launch.init([*args, "--overwrite"])
    said = capsys.readouterr().out
    assert "belong together by" not in said
    assert "1 labels without an image: seg/photo8.png" in said
    assert "numbered from 0 here and from 1 there" in said


def test_labels_with_an_ending_of_their_own_are_told_their_pattern(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("oak", "elm"):
        image, label, _ = _frame(0, 3)
        _picture(tmp_path / f"rgb/{name}.png", image)
        _picture(tmp_path / f"seg/{name}_mask.png", (label + 1).astype(np.uint8))
    args = [str(tmp_path), "--images", "rgb/*.png", "--labels"]
    with pytest.raises(SystemExit):
        launch.init([*args, "seg/*.png"])
    assert "did you mean the pattern 'seg/*_mask.png'?" in capsys.readouterr().err
    launch.init([*args, "seg/*_mask.png"])
    assert "belong together by" not in capsys.readouterr().out
    assert likely_pattern(["x/elm_rgb.png"], ["y/elm.npy"]) == "x/*_rgb.png"


def test_class_names_are_read_line_by_line_without_the_mark_that_windows_writes(
    tmp_path: Path,
) -> None:
    root = write(tmp_path / "office")
    (root / "names.txt").write_bytes("\ufeffwall\r\n\r\n  Tür \r\nfloor\n".encode())
    described = describe(root, "--classes", str(root / "names.txt"))
    assert described["classes"] == ["wall", "Tür", "floor"]


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


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
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
    # What the sentence advises helps: the labels are those of the pixels as they are stored.
    Image.open(path).save(path, exif=Image.Exif())
    assert frames[index].label.shape == frames[index].image.shape[:2]


def test_a_list_without_tabs_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "office")
    describe(root)
    (root / "train.txt").write_text("rgb/scene0_view0.png seg/scene0_view0.png\n")
    with pytest.raises(DataError, match="apart by a tab"):
        ANY_FOLDER.spec.open(root, "train")


# --- what `init` knows of data sets that are handed out -----------------------------------------


def _picture(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _array(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def _frame(number: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour, classes (-1 void) and metres."""
    rng = np.random.default_rng(number)
    label = rng.integers(-1, classes, SIZE)
    label[0, 0], label[0, 1] = -1, classes - 1
    metres = rng.integers(1000, 9000, SIZE) / 1000
    metres[2, 2] = 0
    return rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8), label, metres


def _write_nyud_mt(root: Path) -> None:
    for number in range(4):
        image, label, metres = _frame(number, 40)
        _picture(root / f"images/{number:04d}.png", image)
        _picture(root / f"segmentation/{number:04d}.png", (label + 1).astype(np.uint8))
        _array(root / f"depth/{number:04d}.npy", metres.astype(np.float32))
    (root / "gt_sets").mkdir()
    (root / "gt_sets/val.txt").write_text("0001\n")


def _write_nyu13(root: Path) -> None:
    """The 13 classes by the names of nyuv2-meta-data's files, beside depth of one's own."""
    for number in range(4):
        image, label, metres = _frame(number, 13)
        _picture(root / f"rgb/nyu_rgb_{number:04d}.png", image)
        _picture(root / f"labels/new_nyu_class13_{number:04d}.png", (label + 1).astype(np.uint8))
        _picture(root / f"depth/{number:04d}.png", (1000 * metres).round().astype(np.uint16))


def _write_scannet(root: Path) -> None:
    for number in range(4):
        image, label, metres = _frame(number, 40)
        scene = root / f"scene{number:04d}_00"
        _picture(scene / f"color/{number:06d}.jpg", np.kron(image, np.ones((2, 2, 1), np.uint8)))
        _picture(scene / f"label/{number:06d}.png", np.kron((label + 1), [[1, 1]] * 2).astype("u1"))
        _picture(scene / f"depth/{number:06d}.png", (1000 * metres).round().astype(np.uint16))


def _write_cityscapes(root: Path) -> None:
    for number, split in enumerate(("train", "train", "val")):
        image, label, metres = _frame(number, 19)
        name = f"{split}/aachen/aachen_{number:06d}_000019_"
        _picture(root / f"leftImg8bit/{name}leftImg8bit.png", image)
        _picture(
            root / f"gtFine/{name}gtFine_labelTrainIds.png",
            np.where(label < 0, 255, label).astype("u1"),
        )
        _picture(root / f"gtFine/{name}gtFine_color.png", image)
        disparity = np.where(metres > 0, 40_000 / np.maximum(metres, 1), 0)
        _picture(root / f"disparity/{name}disparity.png", disparity.astype(np.uint16))


def _write_mtan(root: Path) -> None:
    for number, split in enumerate(("train", "train", "val")):
        image, label, metres = _frame(number, 13)
        _array(root / f"{split}/image/{number}.npy", image / 255.0)
        _array(root / f"{split}/label/{number}.npy", label.astype(np.float64))
        _array(root / f"{split}/depth/{number}.npy", metres[..., None])


PRESETS = {
    "nyud-mt": (_write_nyud_mt, 40, 3, True),
    "nyu13": (_write_nyu13, 13, 3, True),
    "scannet25k": (_write_scannet, 40, 3, True),
    "cityscapes": (_write_cityscapes, 19, 2, False),
    "mtan": (_write_mtan, 13, 2, True),
}


OWN_PATTERNS = {
    "nyu13": [
        "--images", "rgb/nyu_rgb_*.png", "--labels", "labels/new_nyu_class13_*.png", "--depth",
        "depth/*.png",
    ],
}  # fmt: skip


def test_every_preset_has_a_test() -> None:
    offered = get_args(get_type_hints(InitOptions)["preset"])
    assert {*offered} == {*presets.PRESETS, "none"} == {*PRESETS, "none"}
    without_patterns = {name for name, said in presets.PRESETS.items() if "images" not in said}
    assert without_patterns == {*OWN_PATTERNS}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_describes_its_data_set(tmp_path: Path, preset: str) -> None:
    writer, classes, train, metric = PRESETS[preset]
    writer(tmp_path)
    launch.init([str(tmp_path), "--preset", preset, *OWN_PATTERNS.get(preset, [])])
    frames = ANY_FOLDER.spec.open(tmp_path, "train")
    assert (len(frames), len(frames.classes), frames.metric) == (train, classes, metric)
    for index in range(len(frames)):
        sample = frames[index]
        number = re.search(r"\d+", frames.files(index).image.stem)
        image, label, metres = _frame(int(number[0]), classes)
        if preset == "cityscapes":  # disparity falls with the distance
            order = np.argsort(metres[metres > 0], kind="stable")
            levels = sample.depth[metres > 0][order]
            assert (np.diff(levels) >= 0).all()
            assert (levels[0], levels[-1]) == (1, 256)
            assert (sample.depth[metres == 0] == 0).all()
        else:
            step = 2 if preset == "scannet25k" else 1  # whose depth is smaller than its images
            np.testing.assert_allclose(sample.depth[::step, ::step], metres, atol=1e-6)
        if preset != "scannet25k":
            np.testing.assert_array_equal(sample.image, image)
        step = sample.label.shape[0] // SIZE[0]
        np.testing.assert_array_equal(sample.label[::step, ::step], np.where(label < 0, 255, label))


@pytest.mark.parametrize("preset", ["mtan", "cityscapes", "scannet25k"])
def test_a_folder_in_no_layout_is_told_its_preset(tmp_path: Path, preset: str) -> None:
    PRESETS[preset][0](tmp_path)
    for spec in (NYUDV2, SUNRGBD, ANY_FOLDER.spec):
        refusal(lambda: spec.open(tmp_path, "train"), f"rgbd.init {tmp_path} --preset {preset}")  # noqa: B023


def test_tables_of_hugging_face_are_told_what_to_do_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train-00000-of-00002.parquet").write_bytes(b"PAR1")
    with pytest.raises(SystemExit):
        launch.init([str(tmp_path), "--images", "*.png", "--labels", "*.png"])
    assert "datasets.load_dataset" in capsys.readouterr().err
    refusal(lambda: NYUDV2.open(tmp_path, "train"), ".parquet", "rgbd.init")


# --- wrong uses -----------------------------------------------------------------------------------


MISUSES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "images and labels swapped": (
        ("--images", "seg/*.png", "--labels", "rgb/*.*"), ("--images and --labels the other way",)
    ),
    "labels and depth swapped": (
        ("--images", "rgb/*.*", "--labels", "metres/*.npy", "--depth", "seg/*.png"),
        ("metres/", "fractions", "is it depth"),
    ),
    "a first class that leaves some out": (
        ("--images", "rgb/*.*", "--labels", "seg/*.png", "--void", "0", "--first-class", "2"),
        ("found 1", "--first-class"),
    ),
    "too few classes": (
        ("--images", "rgb/*.*", "--labels", "seg/*.png", "--num-classes", "2"),
        ("found 2", "--num-classes"),
    ),
    "names that do not belong": (
        ("--images", "rgb/scene0_*.jpg", "--labels", "seg/*view0.png"), ("names belong together",)
    ),
    "near beyond far": (
        ("--images", "rgb/*.*", "--labels", "seg/*.png", "--depth", "metres/*.npy", "--near", "9",
         "--far", "3"),
        ("--near < --far",),
    ),
    "a preset without patterns": (("--preset", "nyu13"), ("--images", "--preset nyu13 does not")),
    "a class name twice": (
        ("--images", "rgb/*.*", "--labels", "seg/*.png", "--classes", "{root}/names.txt"),
        ("names.txt", "'wall'", "2 times"),
    ),
    "a group that is in no name": (
        ("--images", "rgb/*.*", "--labels", "seg/*.png", "--group", "room"), ("--group", "room")
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MISUSES)
def test_a_wrong_use_of_init_ends_in_a_sentence_that_helps(
    tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args, parts = MISUSES[case]
    root = write(tmp_path / "office")
    (root / "names.txt").write_text("wall\nfloor\nwall\n")
    with pytest.raises(SystemExit):
        launch.init([str(root), *(arg.format(root=root) for arg in args)])
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: Expected ")
    for part in parts:
        assert part in message, message
    assert not (root / "dataset.json").exists()


@pytest.mark.parametrize("stored_per_metre", [1, 100, 1000])
def test_a_wrong_unit_is_said_before_a_run(tmp_path: Path, stored_per_metre: int) -> None:
    """Metres that are called millimetres, and the other way round."""
    root = write(tmp_path / "office")
    describe(root)
    path = root / "dataset.json"
    content = json.loads(path.read_text())
    content["depth"]["per_metre"] = stored_per_metre
    path.write_text(json.dumps(content))
    frames = ANY_FOLDER.spec.open(root, "train")
    if stored_per_metre == 1:
        check_frames(frames, frames.depth_limits)
    else:
        refusal(lambda: check_frames(frames, frames.depth_limits), "another unit", "outside")


def test_depth_at_near_and_at_far_is_not_beyond_them(tmp_path: Path) -> None:
    """7500 thousandths are more than 7.5 in single precision."""
    root = write(tmp_path / "office", depth=False)
    for path in (root / "seg").iterdir():
        stored = np.full(SIZE, 7500, np.uint16)
        stored[0] = 700
        Image.fromarray(stored).save(root / "metres" / path.name)
    limits = ("--near", "0.7", "--far", "7.5")
    describe(root, "--depth", "metres/*.png", "--depth-per-metre", "1000", *limits)
    frames = ANY_FOLDER.spec.open(root, "train")
    facts = [frame_facts(frames, index) for index in range(len(frames))]
    assert {each.outside for each in facts} == {0.0}


@pytest.mark.parametrize(
    ("near", "far", "problem", "remark"),
    [(0.5, 5.5, False, False), (0.5, 3, False, True), (10, 99, True, False)],
)
def test_verify_says_how_much_depth_lies_beyond_near_and_far(
    tmp_path: Path, near: float, far: float, problem: bool, remark: bool
) -> None:
    """From 1 to 5 m: nothing, half and all of it."""
    root = write(tmp_path / "office")
    describe(root, "--near", str(near), "--far", str(far))
    (report,) = verify({"train": ANY_FOLDER.spec.open(root, "train")}, None, 0)
    problems, remarks = (
        [text for text in texts if f"{near:g} and {far:g} m" in text]
        for texts in (report.problems, report.remarks)
    )
    assert (len(problems), len(remarks)) == (problem, remark)
    for text in problems:
        assert "100% of it lies outside" in text
        assert "is per_metre right" in text
    for text in remarks:
        share = int(re.search(r"(\d+)% of it lies outside", text)[1])
        assert 45 <= share <= 55


def test_a_folder_may_be_called_as_a_data_set_of_its_own_kind(tmp_path: Path) -> None:
    root = write(tmp_path / "nyudv2")
    assert describe(root)["name"] == "nyudv2-described"
    assert len(ANY_FOLDER.spec.open(root, "test")) == 2


def test_depth_is_not_asked_for_where_it_is_not_used(tmp_path: Path) -> None:
    root = write(tmp_path / "office", depth=False)
    args = ["--images", "rgb/*.*", "--labels", "seg/*.png", "--void", "0"]
    launch.init([str(root), *args])
    options = DataOptions(data=root)
    frames = open_frames(ANY_FOLDER, options, quiet=True, needs_depth=False)
    assert (frames.train[0].depth == 0).all()
    refusal(lambda: open_frames(ANY_FOLDER, options, quiet=True), "--objective s")


def test_one_frame_without_any_depth_ends_no_run(tmp_path: Path) -> None:
    root = write(tmp_path / "office")
    describe(root)
    for path in sorted((root / "metres").iterdir())[:2]:
        np.save(path, np.zeros(SIZE, np.float32))
    frames = open_frames(ANY_FOLDER, DataOptions(data=root), quiet=True)
    assert min(frames.train[k].depth.max() for k in range(len(frames.train))) == 0


def test_far_depth_survives_prepare(tmp_path: Path) -> None:
    """Streets: 65.535 m is as far as 16 bits of millimetres go."""
    root = write(tmp_path / "street")
    for path in (root / "metres").iterdir():
        np.save(path, 20 * np.load(path))
    describe(root)
    launch.prepare(ANY_FOLDER, [str(root), str(tmp_path / "plain"), "--workers", "0"])
    for before, after in zip(
        *(ANY_FOLDER.spec.open(place, "train") for place in (root, tmp_path / "plain")), strict=True
    ):
        np.testing.assert_allclose(before.depth, after.depth, atol=1 / 256)
        assert before.depth.max() in (0, pytest.approx(100, abs=10))
