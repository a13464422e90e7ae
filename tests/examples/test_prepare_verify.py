"""`prepare` writes whole files and resumes; `verify` finds what cannot be right."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples.nyudv2.recipe import PIPELINE
from examples.rgbd import launch
from examples.rgbd.data.classes import NYU40
from examples.rgbd.data.dataset import FrameSource
from examples.rgbd.data.files import atomic
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.frame import Sample
from examples.rgbd.data.inspect.facts import fit
from examples.rgbd.data.inspect.pool import for_each_frame
from examples.rgbd.data.inspect.rules import verify
from examples.rgbd.data.nyudv2.spec import NYUDV2
from examples.rgbd.data.prepare import prepare
from examples.rgbd.data.rooms.dataset import GeneratedRooms

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = REPOSITORY / ".." / "shared" / "data" / "nyudv2"
FRAMES = 12  # in each split
COMPLETE = {"train": FRAMES, "test": FRAMES}
Change = Callable[[Sample], Sample]


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic.os, "fsync", lambda _: None)


@pytest.fixture(scope="module")
def rooms() -> list[Sample]:
    """Generated rooms with the classes of NYUDv2, in-painted."""
    known = {name: NYU40.index(name) for name in GeneratedRooms.classes if name in NYU40}
    table = np.full(256, 255, np.uint8)
    for value, name in enumerate(GeneratedRooms.classes):
        table[value] = known.get(name, NYU40.index("otherprop"))
    frames = []
    for split in ("train", "test"):
        dataset = GeneratedRooms(split, FRAMES, world="c")
        for index in range(FRAMES):
            sample = dataset[index]
            depth = np.where(sample.depth > 0, sample.depth, np.median(sample.depth))
            label = table[sample.label]
            label[0, : 2 * len(NYU40)] = np.arange(len(NYU40)).repeat(2)  # every class occurs
            frames.append(sample._replace(label=label, depth=depth.astype(np.float32)))
    return frames


def write(
    root: Path, rooms: list[Sample], change: Change | None = None, only: int | None = None
) -> Path:
    """The rooms as NYUDv2 in the layout of SA-Gate, all of them changed, or `only` one."""
    for folder in ("RGB", "Label", "Depth"):
        (root / folder).mkdir(parents=True)
    for number, sample in enumerate(rooms):
        if change is not None and only in (None, number):
            sample = change(sample)
        Image.fromarray(np.ascontiguousarray(sample.image)).save(root / f"RGB/{number}.png")
        stored = np.where(sample.label == 255, 0, sample.label + 1).astype(np.uint8)
        Image.fromarray(stored).save(root / f"Label/{number}.png")
        millimetres = np.rint(sample.depth * 1000).astype(np.uint16)
        Image.fromarray(millimetres).save(root / f"Depth/{number}.png")
    for split, numbers in (("train", range(FRAMES)), ("test", range(FRAMES, 2 * FRAMES))):
        lines = "".join(f"RGB/{number}.png\tLabel/{number}.png\n" for number in numbers)
        (root / f"{split}.txt").write_text(lines)
    return root


def splits(root: Path) -> dict:
    return {split: NYUDV2.open(root, split) for split in ("train", "test")}


def problems(root: Path, sizes: dict | None = None) -> list[str]:
    return [text for report in verify(splits(root), sizes, 0) for text in report.problems]


def content(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


# --- prepare -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_prepared_folder_reads_as_its_source(tmp_path: Path, rooms: list[Sample]) -> None:
    source = write(tmp_path / "source", rooms)
    target = tmp_path / "target"
    assert prepare(splits(source), target, 0) == {"train": FRAMES, "test": FRAMES}
    for split, before in splits(source).items():
        after = NYUDV2.open(target, split)
        assert after.layout == "plain"
        assert after.names == before.names
        for index in range(FRAMES):
            for one, other in zip(before[index][:3], after[index][:3], strict=True):
                np.testing.assert_array_equal(one, other)
    assert problems(target) == []


@pytest.mark.slow
def test_another_process_writes_the_same(tmp_path: Path, rooms: list[Sample]) -> None:
    source = write(tmp_path / "source", rooms)
    prepare(splits(source), tmp_path / "alone", 0)
    train = {"train": NYUDV2.open(source, "train")}
    prepare(train, tmp_path / "helped", 1)
    alone, helped = content(tmp_path / "alone"), content(tmp_path / "helped")
    assert helped.items() <= alone.items()
    assert len(helped) == 3 * FRAMES + 2


@pytest.mark.slow
def test_a_jpeg_is_copied_and_not_stored_again(tmp_path: Path, rooms: list[Sample]) -> None:
    source = write(tmp_path / "source", rooms)
    for path in (source / "RGB").iterdir():
        Image.open(path).save(path.with_suffix(".jpg"), quality=70)
        path.unlink()
    prepare(splits(source), tmp_path / "target", 0)
    for number in (0, FRAMES):
        copied = tmp_path / f"target/image/{number}.jpg"
        assert copied.read_bytes() == (source / f"RGB/{number}.jpg").read_bytes()


@pytest.mark.slow
def test_prepare_goes_on_where_it_stopped(tmp_path: Path, rooms: list[Sample]) -> None:
    source = write(tmp_path / "source", rooms)
    prepare(splits(source), tmp_path / "whole", 0)
    damaged = source / "Label/7.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:40])
    target = tmp_path / "target"
    with pytest.raises(DataError, match=r"7\.png"):
        prepare(splits(source), target, 0)
    with pytest.raises(DataError, match="interrupted"):
        NYUDV2.open(target, "train")
    damaged.write_bytes(whole)
    assert prepare(splits(source), target, 0) == {"train": FRAMES - 7, "test": FRAMES}
    assert content(target) == content(tmp_path / "whole")
    assert prepare(splits(source), target, 0) == {"train": 0, "test": 0}
    for lost in ("label/3.png", "depth/5.png", "image/14.png"):
        (target / lost).unlink()
    assert prepare(splits(source), target, 0) == {"train": 2, "test": 1}
    assert content(target) == content(tmp_path / "whole")


@pytest.mark.slow
def test_prepare_killed_at_any_moment_leaves_only_whole_files(
    tmp_path: Path, rooms: list[Sample]
) -> None:
    source = write(tmp_path / "source", rooms)
    target = tmp_path / "target"
    command = [sys.executable, "-m", "examples.nyudv2.prepare", source, target, "--workers", "0"]
    with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list(target.glob("depth/*.png"))) < 3:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    for path in target.rglob("*.png"):
        if not path.name.startswith("."):
            Image.open(path).load()
    (target / "label" / ".99.png.1234.part").write_bytes(b"what a killed run may leave")
    prepare(splits(source), target, 0)
    prepare(splits(source), tmp_path / "whole", 0)
    assert content(target) == content(tmp_path / "whole")


def _killed_at(step: int, source: Path, target: Path) -> bool:
    """Whether a run that dies at the given change of the disk got that far."""
    with warnings.catch_warnings():  # what the child does takes no lock of another thread
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    left = step

    def die(event: str, arguments: tuple) -> None:
        nonlocal left
        writes = event == "open" and "w" in str(arguments[1])
        if writes or event in ("os.mkdir", "os.rename", "os.remove"):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        frames = splits(source)
        sys.addaudithook(die)
        prepare(frames, target, 0)
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_prepare_killed_at_each_change_of_the_disk_goes_on(
    tmp_path: Path, rooms: list[Sample]
) -> None:
    source = write(tmp_path / "source", rooms)
    (source / "train.txt").write_text("RGB/0.png\n")
    (source / "test.txt").write_text(f"RGB/{FRAMES}.png\n")
    prepare(splits(source), tmp_path / "whole", 0)
    whole = content(tmp_path / "whole")
    step = 0
    while _killed_at(step, source, target := tmp_path / f"target{step}"):
        left = content(target) if target.exists() else {}
        assert {name: data for name, data in left.items() if ".part" not in name}.items() <= (
            whole.items()
        )
        prepare(splits(source), target, 0)
        assert content(target) == whole, step
        step += 1
    # Four folders, nine files that are opened and named.
    assert step >= 4 + 2 * len(whole)


@pytest.mark.slow
def test_a_finished_folder_is_not_written_again(tmp_path: Path, rooms: list[Sample]) -> None:
    source = write(tmp_path / "source", rooms)
    target = tmp_path / "target"
    prepare(splits(source), target, 0)
    before = {path: path.stat().st_ino for path in target.rglob("*")}
    assert prepare(splits(source), target, 0) == {"train": 0, "test": 0}
    assert {path: path.stat().st_ino for path in target.rglob("*")} == before


def test_what_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    for method in ("open", "unlink"):  # a folder that may only be read refuses both
        monkeypatch.setattr(Path, method, refuse)
    with pytest.raises(DataError, match=r"write .*/frame\.png, but .* Read-only file system\.$"):
        atomic.write_bytes(tmp_path / "frame.png", b"new")


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "frame.png"
    path.write_bytes(b"the old content")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(DataError, match=r"Expected to write .*frame.png.* No space left"):
        atomic.write_bytes(path, b"new")
    assert content(tmp_path) == {"frame.png": b"the old content"}


def test_prepare_refuses_two_frames_of_one_name(tmp_path: Path, rooms: list[Sample]) -> None:
    source = write(tmp_path / "source", rooms)
    (source / "test.txt").write_text("RGB/12.png\nRGB/3.png\n")
    with pytest.raises(DataError, match=r"RGB/3\.png is number 3 of both"):
        prepare(splits(source), tmp_path / "target", 0)
    assert not (tmp_path / "target").exists()


def _kill_this_process(_: FrameSource, index: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return index


@pytest.mark.slow
def test_a_killed_worker_is_told_in_one_sentence(tmp_path: Path, rooms: list[Sample]) -> None:
    dataset = NYUDV2.open(write(tmp_path / "source", rooms), "train")
    with pytest.raises(DataError, match="one was killed: did memory run out"):
        list(for_each_frame(_kill_this_process, dataset, 1, "train"))


WORKER_AND_PARENT = """
import os, signal, sys
from examples.rgbd.data.inspect.pool import for_each_frame
from examples.rgbd.data.nyudv2.spec import NYUDV2
from tests.examples.test_prepare_verify import number_of_this_process

if __name__ == "__main__":
    numbers = for_each_frame(number_of_this_process, NYUDV2.open(sys.argv[1], "train"), 1, "train")
    print(next(numbers), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def number_of_this_process(_: FrameSource, index: int) -> int:
    return os.getpid()


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(
    tmp_path: Path, rooms: list[Sample]
) -> None:
    source = write(tmp_path / "source", rooms)
    script = tmp_path / "script.py"
    script.write_text(WORKER_AND_PARENT)
    said = tmp_path / "said"
    with said.open("w") as stream:  # a pipe would stay open as long as the worker
        ended = subprocess.call(
            [sys.executable, script, source],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=stream,
            stderr=subprocess.DEVNULL,
        )
    assert ended == -signal.SIGKILL
    worker = int(said.read_text())
    for _ in range(200):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker went on waiting")


@pytest.mark.slow
def test_prepare_does_not_mix_sources(tmp_path: Path, rooms: list[Sample]) -> None:
    source = write(tmp_path / "source", rooms)
    prepare(splits(source), tmp_path / "target", 0)
    with pytest.raises(DataError, match="prepared folder"):
        prepare(splits(tmp_path / "target"), tmp_path / "other", 0)
    with pytest.raises(DataError, match="other content"):
        prepare(splits(source), source, 0)
    manifest = tmp_path / "target" / "dataset.json"
    manifest.write_text(manifest.read_text().replace("inpainted", "raw"))
    with pytest.raises(DataError, match="tells of another one"):
        prepare(splits(source), tmp_path / "target", 0)
    with pytest.raises(DataError, match="prepared with raw depth"):
        NYUDV2.open(tmp_path / "target", "train")
    manifest.write_text(json.dumps({"dataset": "nyudv2"}))
    with pytest.raises(DataError, match="cannot be read"):
        NYUDV2.open(tmp_path / "target", "train")


# --- verify --------------------------------------------------------------------------------


def test_nothing_is_found_in_good_data(tmp_path: Path, rooms: list[Sample]) -> None:
    assert problems(write(tmp_path / "x", rooms), COMPLETE) == []


def offset(by: int) -> Change:
    """All label numbers off by some, as with void taken for class 0."""
    return lambda s: s._replace(
        label=np.where(s.label == 255, 255, (s.label.astype(int) + by) % 256).astype(np.uint8)
    )


ALL_FRAMES: dict[str, tuple[Change, str]] = {
    "labels one up": (offset(1), "found 41"),
    "labels one down": (offset(-1), "none of otherprop"),
    "no wall": (lambda s: s._replace(label=np.maximum(s.label, 1)), "class 0 (wall)"),
    "mirrored labels": (lambda s: s._replace(label=s.label[:, ::-1]), "fit better mirrored"),
    "mirrored images": (lambda s: s._replace(image=s.image[:, ::-1]), "fit better mirrored"),
    "mirrored depth": (lambda s: s._replace(depth=s.depth[:, ::-1]), "Expected depth and labels"),
    "labels upside down": (lambda s: s._replace(label=s.label[::-1]), "upside down"),
    "everything upside down": (
        lambda s: Sample(s.image[::-1], s.label[::-1], s.depth[::-1], s.name),
        "the floor below the ceiling",
    ),
    "depth five times": (lambda s: s._replace(depth=s.depth * 5), "another unit"),
    "depth in 1/5000 m": (lambda s: s._replace(depth=s.depth / 5), "another unit"),
    "stretched depth": (
        lambda s: s._replace(depth=1 + 8 * (s.depth - s.depth.min()) / np.ptp(s.depth)),
        "fixed range",
    ),
    "logarithms of depth": (
        lambda s: s._replace(depth=2 * np.log(s.depth / s.depth.min())),
        "such as a logarithm",
    ),
    "hardly any depth": (
        lambda s: s._replace(depth=np.where(np.arange(s.depth.shape[1]) % 4, 0, s.depth)),
        "75.0% of them have none",
    ),
    "disparity": (lambda s: s._replace(depth=6 / s.depth), "such as disparity"),
    "depth upside down": (lambda s: s._replace(depth=s.depth[::-1]), "or is it upside down"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("fault", ALL_FRAMES)
def test_a_fault_of_all_frames_is_found(tmp_path: Path, rooms: list[Sample], fault: str) -> None:
    change, message = ALL_FRAMES[fault]
    found = problems(write(tmp_path / "x", rooms, change), COMPLETE)
    assert any(message in problem and str(tmp_path) in problem for problem in found), found


@pytest.mark.slow
def test_an_offset_is_found_in_a_part_of_the_data_set(tmp_path: Path, rooms: list[Sample]) -> None:
    """Where a class may be absent, and its absence tells nothing."""
    labelled = [  # without the row that holds every class
        room._replace(label=np.vstack([room.label[1:2], room.label[1:]])) for room in rooms
    ]
    assert problems(write(tmp_path / "good", labelled)) == []
    found = problems(write(tmp_path / "x", labelled, offset(-1)))
    assert any("the floor below the" in problem for problem in found), found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Label", "Depth"])
def test_files_of_other_frames_are_found(tmp_path: Path, rooms: list[Sample], kind: str) -> None:
    root = write(tmp_path / "x", rooms)
    files = [root / kind / f"{number}.png" for number in range(2 * FRAMES)]
    contents = [path.read_bytes() for path in files]
    for path, other in zip(files, contents[1:] + contents[:1], strict=True):
        path.write_bytes(other)
    found = problems(root)
    assert any("of the same frames" in problem and str(files[0]) in problem for problem in found)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.1, 5.0])
def test_one_depth_in_another_unit_is_named(
    tmp_path: Path, rooms: list[Sample], factor: float
) -> None:
    def change(sample: Sample) -> Sample:
        scale = factor * 3 / np.median(sample.depth)  # so that the median would be 3 m
        return sample._replace(depth=sample.depth * np.float32(scale))

    (found,) = problems(write(tmp_path / "x", rooms, change, only=4))
    assert "Depth/4.png" in found
    assert "another unit than the others" in found


@pytest.mark.slow
def test_depth_beyond_what_the_sensor_sees_is_named(tmp_path: Path, rooms: list[Sample]) -> None:
    """A median that a hall could have does not excuse it."""

    def change(sample: Sample) -> Sample:
        return sample._replace(depth=sample.depth * np.float32(14 / sample.depth.max()))

    deepest = min(range(FRAMES), key=lambda k: np.median(rooms[k].depth) / rooms[k].depth.max())
    root = write(tmp_path / "x", rooms, change, only=deepest)
    assert np.median(NYUDV2.open(root, "train")[deepest].depth) < 10
    (found,) = problems(root)
    assert f"Depth/{deepest}.png (frame {deepest}), since no sensor" in found
    assert "reaches to 14 m" in found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Label", "Depth", "RGB"])
def test_a_truncated_file_is_named(tmp_path: Path, rooms: list[Sample], kind: str) -> None:
    root = write(tmp_path / "x", rooms)
    path = root / kind / "5.png"
    path.write_bytes(path.read_bytes()[:-30])
    (found,) = problems(root)
    assert str(path) in found


@pytest.mark.slow
def test_one_mirrored_label_is_named(tmp_path: Path, rooms: list[Sample]) -> None:
    table = next(  # a room with enough to see, which is not its own mirror image
        number
        for number, room in enumerate(rooms)
        if (found := fit(room.image.astype(np.float32).mean(-1), room.label))
        and found[0] > 2 * found[1]
    )
    root = write(tmp_path / "x", rooms, lambda s: s._replace(label=s.label[:, ::-1]), only=table)
    (found,) = problems(root)
    assert f"Label/{table}.png" in found
    assert "mirrored" in found


@pytest.mark.slow
def test_a_label_without_any_class_is_named(tmp_path: Path, rooms: list[Sample]) -> None:
    void = write(tmp_path / "x", rooms, lambda s: s._replace(label=s.label * 0 + 255), only=3)
    (found,) = problems(void)
    assert "Label/3.png" in found


@pytest.mark.slow
def test_wrong_numbers_of_frames_and_frames_in_both_splits(
    tmp_path: Path, rooms: list[Sample]
) -> None:
    root = write(tmp_path / "x", rooms)
    found = problems(root, {"train": 795, "test": FRAMES})
    assert any("Expected 795 train frames, but the lists have 12" in text for text in found)
    again = write(tmp_path / "y", [*rooms[:FRAMES], rooms[4], *rooms[FRAMES + 1 :]])
    (found,) = problems(again)
    assert "both splits" in found
    assert "RGB/12.png" in found
    twice = write(tmp_path / "z", [rooms[1], *rooms[1:]])
    (found,) = problems(twice)
    assert "repeats" in found


def test_a_long_list_of_problems_is_cut(tmp_path: Path, rooms: list[Sample]) -> None:
    many = write(tmp_path / "x", rooms)
    lines = "".join(f"RGB/{number}.png\n" for number in range(100, 150))
    (many / "train.txt").write_text(lines)
    (many / "RGB/100.png").write_bytes(b"")
    (many / "Label/100.png").write_bytes(b"")
    (many / "Depth/100.png").write_bytes(b"")
    found = problems(many)
    assert len(found) == 21
    assert found[-1] == "... and 30 more of this kind."


# --- the command lines ---------------------------------------------------------------------


@pytest.mark.slow
def test_the_commands(
    tmp_path: Path, rooms: list[Sample], capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "source", rooms)
    target = tmp_path / "target"
    arguments = [str(source), str(target), "--workers", "0"]
    launch.prepare(PIPELINE, arguments)
    assert "train: 12 frames, 0 of them written before" in capsys.readouterr().out
    launch.prepare(PIPELINE, arguments)
    assert "test: 12 frames, 12 of them written before" in capsys.readouterr().out

    launch.verify(PIPELINE, [str(target), "--subset", "--workers", "0"])
    out = capsys.readouterr().out
    for part in (
        "train: 12 readable frames",
        "96 x 128: 12",
        "0.0% missing",
        "wall",
        "void",
        "Nothing found",
    ):
        assert part in out
    with pytest.raises(SystemExit) as ended:
        launch.verify(PIPELINE, [str(target), "--workers", "0"])
    assert ended.value.code == 1
    assert "Expected 795 train frames" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        launch.verify(PIPELINE, [str(tmp_path / "nowhere")])
    assert ended.value.code == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: Expected ")
    assert "nowhere" in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("run", [launch.prepare, launch.verify])
def test_a_wrong_command_line_ends_in_one_sentence(
    run: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([], ["here", "there", "--wrkers", "3"]):
        with pytest.raises(SystemExit) as ended:
            run(PIPELINE, arguments)
        assert ended.value.code == 2
        message = capsys.readouterr().err
        assert message.startswith("error: ")
        assert message.count("\n") == 1
        assert f"examples.nyudv2.{run.__name__} --help" in message
    folders = ["here", "there"] if run is launch.prepare else ["here"]
    with pytest.raises(SystemExit) as ended:
        run(PIPELINE, [*folders, "--workers", "-1"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: Expected `workers` of at least 0, but got -1.\n"
    with pytest.raises(SystemExit):
        run(PIPELINE, ["--help"])
    assert "sa-gate, esanet, nicr, drsleep, vainf, gupta" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real frames in ../shared/data/nyudv2")
def test_the_fit_tells_mirrored_real_frames() -> None:
    dataset = NYUDV2.open(REAL, "train")
    for index in range(0, 795, 40):
        sample = dataset[index]
        grey = sample.image.astype(np.float32).mean(-1)
        straight, mirrored = fit(grey, sample.label)[:2]
        assert straight > mirrored
        crossed, fitting = fit(grey[:, ::-1], sample.label)[:2]
        assert fitting > crossed
