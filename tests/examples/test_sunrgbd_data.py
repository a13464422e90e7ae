"""SUN RGB-D from the original archives and from other people's lists and labels."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from examples.rgbd.data.dataset import FrameSource
from examples.rgbd.data.geometry import compute_geometry
from examples.rgbd.data.intrinsics import Intrinsics
from examples.rgbd.data.prepare import prepare
from examples.rgbd.data.spec import Split
from examples.rgbd.data.sunrgbd.scenes import below_archive, read_all_split, read_rotated_depth
from examples.rgbd.data.sunrgbd.spec import SUNRGBD
from examples.sunrgbd.verify import main as verify
from tests.examples.layout_writers import refusal

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
SCENES = {  # with the faults of the real lists; sizes differ from sensor to sensor
    "train": [
        ("kv2/kinect2data/000065-resize", (10, 14), ""),
        ("kv1/NYUdata/NYU0003", (8, 11), "/"),
        ("xtion/sun3ddata/a/b", (9, 12), "//"),
    ],
    "test": [("realsense/lg/2014", (12, 16), "/"), ("kv1/b3dodata/img_0063", (8, 11), "")],
}


def scene(
    path: str, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Colour, label (0 void, 1..37), in-painted and raw depth in millimetres."""
    rng = np.random.default_rng(list(path.encode()))
    image = np.full((*size, 3), rng.integers(0, 256, 3), np.uint8)
    label = rng.integers(0, 38, size, dtype=np.uint8)
    depth = rng.integers(500, 8192, size).astype(np.uint16)
    depth[0, :2] = 8191, 21000  # beyond what the toolbox keeps; the second turns bits around
    raw = np.where(rng.random(size) < 0.3, 0, depth).astype(np.uint16)
    return image, label, depth, raw


def rotate(millimetres: np.ndarray) -> np.ndarray:
    return (
        (millimetres.astype(np.uint32) << 3 | millimetres.astype(np.uint32) >> 13) & 0xFFFF
    ).astype(np.uint16)


def write_archive(root: Path) -> None:
    for scenes in SCENES.values():
        for path, size, _ in scenes:
            image, _, depth, raw = scene(path, size)
            folder = root / "SUNRGBD" / path
            for name in ("image", "depth", "depth_bfx"):
                (folder / name).mkdir(parents=True)
            Image.fromarray(image).save(folder / "image" / "0000104.jpg", quality=100)
            Image.fromarray(rotate(raw)).save(folder / "depth" / "0000104_abs.png")
            Image.fromarray(rotate(depth)).save(folder / "depth_bfx" / "0000104_abs.png")
            (folder / "image" / "._0000104.jpg").write_bytes(b"left by a Mac")


def write_toolbox(root: Path) -> None:
    write_archive(root)
    toolbox = root / "SUNRGBDtoolbox"
    (toolbox / "Metadata").mkdir(parents=True)
    (toolbox / "traintestSUNRGBD").mkdir()
    cells = {}
    for key, split in (("alltrain", "train"), ("alltest", "test")):
        cell = np.empty((1, len(SCENES[split])), object)
        for place, (path, _, end) in enumerate(SCENES[split]):
            cell[0, place] = f"/n/fs/sun3d/data/SUNRGBD/{path}{end}"
        cells[key] = cell
    scipy.io.savemat(toolbox / "traintestSUNRGBD" / "allsplit.mat", cells)
    ordered = SCENES["test"] + SCENES["train"]
    with h5py.File(toolbox / "Metadata" / "SUNRGBD2Dseg.mat", "w") as file:
        group = file.create_group("#refs#")
        table = file.create_dataset("SUNRGBD2Dseg/seglabel", (len(ordered), 1), h5py.ref_dtype)
        for place, (path, size, _) in enumerate(ordered):
            data = group.create_dataset(f"x{place}", data=scene(path, size)[1].T)
            table[place, 0] = data.ref


def write_lists(root: Path) -> None:
    """As RedNet's: from another folder, some with backslashes."""
    write_archive(root)
    for split, scenes in SCENES.items():
        for name, inside in (
            ("img_dir", "image/0000104.jpg"),
            ("depth_dir", "depth_bfx/0000104_abs.png"),
            ("label", "label/label.npy"),
        ):
            lines = [
                f"../SUN/SUNRGBD/{path}{'/' if place else chr(92)}{inside}"
                for place, (path, _, _) in enumerate(scenes)
            ]
            file = f"{name}_{split}.txt"
            (root / "list_files").mkdir(exist_ok=True)
            (root / "list_files" / file).write_text("\n".join(lines))
        for path, size, _ in scenes:
            (root / "SUNRGBD" / path / "label").mkdir()
            np.save(root / "SUNRGBD" / path / "label/label.npy", scene(path, size)[1])


def write_esanet(root: Path) -> None:
    """As ESANet's: paths below SUNRGBD, the archive's folders in the root, labels not."""
    write_archive(root)
    for split, scenes in SCENES.items():
        for name, inside in (("rgb", "image/0000104.jpg"), ("label", "label/label.npy")):
            lines = [f"{path}//{inside}\n" for path, _, _ in scenes]
            (root / f"{split}_{name}.txt").write_text("".join(lines))
        for path, size, _ in scenes:
            for folder in ("image", "depth", "depth_bfx"):
                target = root / path / folder
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(root / "SUNRGBD" / path / folder, target)
            (root / "SUNRGBD" / path / "label").mkdir()
            np.save(root / "SUNRGBD" / path / "label/label.npy", scene(path, size)[1])


def write_handa(root: Path) -> None:
    write_archive(root)
    (root / "labels").mkdir()
    number = 0
    for split, name in (("test", "testing"), ("train", "training")):
        lines = []
        for path, size, _ in SCENES[split]:
            number += 1
            Image.fromarray(scene(path, size)[1]).save(root / "labels" / f"img-{number:06d}.png")
            lines.append(f"SUNRGBD/{path}/image/0000104.jpg")
        (root / f"sunrgbd_{name}_images.txt").write_text("\n".join(lines))


WRITERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "toolbox": ("toolbox", write_toolbox),
    "rednet": ("lists", write_lists),
    "esanet": ("lists", write_esanet),
    "handa": ("handa", write_handa),
}


def agree(dataset: FrameSource, split: str, kind: str = "inpainted") -> None:
    assert len(dataset) == len(SCENES[split])
    for index, (path, size, _) in enumerate(SCENES[split]):
        image, label, depth, raw = scene(path, size)
        sample = dataset[index]
        assert np.abs(sample.image.astype(int) - image).max() < 6
        np.testing.assert_array_equal(
            sample.label, np.where(label == 0, 255, label.astype(int) - 1)
        )
        wanted = np.minimum((depth if kind == "inpainted" else raw) / 1000, 8)
        np.testing.assert_allclose(sample.depth, wanted, atol=1e-6)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("kind", ["inpainted", "raw"])
def test_a_layout_is_recognised_and_read(
    tmp_path: Path, writer: str, split: str, kind: str
) -> None:
    layout, write = WRITERS[writer]
    write(tmp_path)
    dataset = SUNRGBD.open(tmp_path, split, depth=kind)
    assert dataset.layout == layout
    agree(dataset, split, kind)
    agree(SUNRGBD.open(str(tmp_path), split, layout=layout, depth=kind), split, kind)


def test_prepare_computes_hha_by_the_camera_of_each_scene(tmp_path: Path) -> None:
    """A scene has its own ``intrinsics.txt``, in one line or three, whose pixels count from 1."""
    write_toolbox(tmp_path / "source")
    cameras = {}
    for number, (path, (height, width), _) in enumerate(SCENES["train"] + SCENES["test"]):
        focal = 50.0 + 5 * number
        text = f"{focal} 0 {width / 2} 0 {focal} {height / 2} 0 0 1"
        text = text if number % 2 else text.replace(" 0 ", " 0\n", 1)
        (tmp_path / "source" / "SUNRGBD" / path / "intrinsics.txt").write_text(text)
        cameras[focal] = Intrinsics(focal, focal, width / 2 - 1, height / 2 - 1, height, width)
    splits: dict[Split, FrameSource] = {
        "train": SUNRGBD.open(tmp_path / "source", "train"),
        "test": SUNRGBD.open(tmp_path / "source", "test"),
    }
    prepare(splits, tmp_path / "plain", 0, geometry=("hha",))
    for frames in splits.values():
        for index, name in enumerate(frames.names):
            camera = frames.camera(index)
            assert camera is not None
            assert camera == cameras.pop(camera.fx)
            with Image.open(tmp_path / "plain" / "hha" / f"{name}.png") as picture:
                stored = np.asarray(picture)
            wanted = compute_geometry("hha", frames[index].depth, camera)
            assert np.array_equal(stored, wanted)
            assert stored.any()
    assert not cameras
    frames = SUNRGBD.open(tmp_path / "plain", "train", geometry=("hha",))
    assert list(frames[0].geometry) == ["hha"]


def test_the_root_may_be_the_archive_beside_the_toolbox(tmp_path: Path) -> None:
    write_toolbox(tmp_path)
    agree(SUNRGBD.open(tmp_path / "SUNRGBD", "train"), "train")


def test_names_are_unique_over_both_splits_and_count_the_test_frames_first(tmp_path: Path) -> None:
    write_toolbox(tmp_path)
    assert SUNRGBD.open(tmp_path, "test").names == ["000001", "000002"]
    assert SUNRGBD.open(tmp_path, "train").names == ["000003", "000004", "000005"]


@given(st.integers(0, 65535))
def test_rotating_bits_back_is_the_inverse_of_rotating_them(value: int) -> None:
    stored = rotate(np.array([value], np.uint16))
    assert int(((stored >> 3) | (stored << 13))[0]) == value


@pytest.mark.parametrize(
    ("listed", "relative"),
    [
        ("/n/fs/sun3d/data/SUNRGBD/kv1/NYUdata/NYU0001/", "kv1/NYUdata/NYU0001"),
        ("/data1/SUNRGBD//realsense/shr//2014_12_18//", "realsense/shr/2014_12_18"),
        ("../SUN/SUNRGBD/kv2/x-resize\\depth_bfx/1.png", "kv2/x-resize/depth_bfx/1.png"),
        ("kv1/NYUdata/NYU0001//image/NYU0001.jpg", "kv1/NYUdata/NYU0001/image/NYU0001.jpg"),
        ("SUNRGBD/kv1/a", "kv1/a"),
    ],
)
def test_crooked_paths(listed: str, relative: str) -> None:
    assert below_archive(listed) == relative


def test_what_is_missing(tmp_path: Path) -> None:
    refusal(lambda: SUNRGBD.open(tmp_path / "x", "train"), str(tmp_path / "x"), "no such folder")
    refusal(lambda: SUNRGBD.open(tmp_path, "train"), str(tmp_path), "none of them")
    refusal(lambda: SUNRGBD.open(tmp_path, "train", layout="no"), "`layout`", "'no'")
    refusal(
        lambda: SUNRGBD.open(tmp_path, "train", layout="lists"),
        "img_dir_train.txt",
        "train_rgb.txt",
    )
    refusal(lambda: SUNRGBD.open(tmp_path, "train", layout="handa"), "sunrgbd_testing_images.txt")
    write_toolbox(tmp_path)
    split = tmp_path / "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"
    whole = split.read_bytes()
    split.unlink()
    refusal(lambda: SUNRGBD.open(tmp_path, "train"), str(split), "no such file")
    split.write_bytes(whole[: len(whole) // 2])
    refusal(lambda: SUNRGBD.open(tmp_path, "train"), str(split), "damaged")
    scipy.io.savemat(split, {"alltrain": [1, 2], "alltest": [3]})
    refusal(lambda: SUNRGBD.open(tmp_path, "train"), str(split), "'alltrain'")
    split.write_bytes(whole)
    (tmp_path / "SUNRGBD").rename(tmp_path / "other")
    refusal(lambda: SUNRGBD.open(tmp_path, "train"), "SUNRGBD", str(tmp_path))


def test_a_scene_that_is_not_unpacked_completely(tmp_path: Path) -> None:
    write_toolbox(tmp_path)
    folder = tmp_path / "SUNRGBD" / SCENES["train"][0][0]
    (folder / "image" / "0000104.jpg").unlink()
    refusal(lambda: SUNRGBD.open(tmp_path, "train")[0], str(folder / "image"), "found none")
    for name in ("1.jpg", "2.JPG"):
        Image.new("RGB", (14, 10)).save(folder / "image" / name, "JPEG")
    refusal(lambda: SUNRGBD.open(tmp_path, "train")[0], str(folder / "image"), "2 of them")
    (folder / "image" / "2.JPG").unlink()
    (folder / "depth_bfx" / "0000104_abs.png").unlink()
    refusal(lambda: SUNRGBD.open(tmp_path, "train")[0], str(folder / "depth_bfx"), "found none")
    (folder / "depth_bfx").rmdir()
    refusal(lambda: SUNRGBD.open(tmp_path, "train")[0], str(folder / "depth_bfx"), "found none")
    assert len(SUNRGBD.open(tmp_path, "train", depth="raw")[0].name) == 6


def swap(file: h5py.File) -> None:
    table = file["SUNRGBD2Dseg/seglabel"]
    first, last = table[2, 0], table[4, 0]
    table[2, 0], table[4, 0] = last, first


def out_of_range(file: h5py.File) -> None:
    file["#refs#/x2"][...] = 38


def shorten(file: h5py.File) -> None:
    del file["SUNRGBD2Dseg/seglabel"]
    file.create_dataset("SUNRGBD2Dseg/seglabel", (4, 1), h5py.ref_dtype)


def empty(file: h5py.File) -> None:
    del file["SUNRGBD2Dseg/seglabel"]
    file.create_dataset("SUNRGBD2Dseg/seglabel", (5, 1), h5py.ref_dtype)


def rename(file: h5py.File) -> None:
    file.move("SUNRGBD2Dseg", "other")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (swap, ("10 x 14", "9 x 12")),
        (out_of_range, ("entry 3", "38")),
        (shorten, ("all 5 frames", "4")),
        (empty, ("entry 3",)),
        (rename, ("SUNRGBD2Dseg",)),
    ],
)
def test_labels_that_do_not_belong(
    tmp_path: Path, change: Callable[[h5py.File], None], parts: tuple[str, ...]
) -> None:
    write_toolbox(tmp_path)
    path = tmp_path / "SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat"
    with h5py.File(path, "a") as file:
        change(file)
    refusal(lambda: SUNRGBD.open(tmp_path, "train")[0], str(path), *parts)


def test_labels_in_a_damaged_container(tmp_path: Path) -> None:
    write_toolbox(tmp_path)
    path = tmp_path / "SUNRGBDtoolbox/Metadata/SUNRGBD2Dseg.mat"
    whole = path.read_bytes()
    for content in (b"", whole[:1000], b"\0" * 900):
        path.write_bytes(content)
        refusal(lambda: SUNRGBD.open(tmp_path, "train"), str(path), "HDF5")


def test_lists_that_do_not_belong(tmp_path: Path) -> None:
    write_lists(tmp_path)
    listed = tmp_path / "list_files/label_train.txt"
    listed.write_text("\n".join(listed.read_text().splitlines()[:2]))
    refusal(lambda: SUNRGBD.open(tmp_path, "train"), str(listed), "2 for 3")
    listed.unlink()
    refusal(lambda: SUNRGBD.open(tmp_path, "train"), str(listed))
    path = tmp_path / "SUNRGBD" / SCENES["test"][0][0] / "label/label.npy"
    np.save(path, np.full((12, 16), 0.5))
    refusal(lambda: SUNRGBD.open(tmp_path, "test")[0], str(path), "whole numbers")
    np.save(path, np.full((12, 16), -1, np.int8))
    refusal(lambda: SUNRGBD.open(tmp_path, "test")[0], str(path), "-1")


@pytest.mark.parametrize("name", ["label", "depth_dir"])
def test_rows_of_two_lists_name_the_same_scene(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lists(tmp_path)
    listed = tmp_path / f"list_files/{name}_train.txt"
    lines = listed.read_text().splitlines()
    listed.write_text("\n".join([lines[1], lines[0], *lines[2:]]))
    message = refusal(lambda: SUNRGBD.open(tmp_path, "train"), str(listed), "line 1", "sorted")
    for path, _, _ in SCENES["train"][:2]:
        assert path.strip("/").replace("//", "/") in message
    with pytest.raises(SystemExit):
        verify([str(tmp_path), "--subset", "--workers", "0"])
    assert message in capsys.readouterr().err


def test_a_list_names_each_frame_once(tmp_path: Path) -> None:
    write_lists(tmp_path)
    for name in ("img_dir", "label", "depth_dir"):
        listed = tmp_path / f"list_files/{name}_train.txt"
        lines = listed.read_text().splitlines()
        listed.write_text("\n".join([*lines, lines[0]]))
    refusal(lambda: SUNRGBD.open(tmp_path, "train"), "img_dir_train.txt", "lines 1 and 4")


def test_lists_that_are_cut_would_shift_the_labels_of_handa(tmp_path: Path) -> None:
    write_handa(tmp_path)
    listed = tmp_path / "sunrgbd_testing_images.txt"
    listed.write_text("\n".join(listed.read_text().splitlines()[1:]))
    refusal(lambda: SUNRGBD.open(tmp_path, "train"), str(tmp_path / "labels"), "are the lists cut")


def test_missing_labels_of_handa(tmp_path: Path) -> None:
    write_handa(tmp_path)
    (tmp_path / "labels/img-000004.png").unlink()
    refusal(lambda: SUNRGBD.open(tmp_path, "train")[1], "img-000004.png", "no such file")
    for path in (tmp_path / "labels").iterdir():
        path.unlink()
    refusal(lambda: SUNRGBD.open(tmp_path, "train"), "img-000001.png", str(tmp_path))


def test_depth_that_is_not_rotated(tmp_path: Path) -> None:
    depth = np.random.default_rng(0).integers(800, 6000, (20, 20)).astype(np.uint16)
    path = tmp_path / "depth.png"
    Image.fromarray(depth).save(path)
    refusal(lambda: read_rotated_depth(path), str(path), "rotated", "plain millimetres")
    Image.fromarray(rotate(depth)).save(path)
    np.testing.assert_allclose(read_rotated_depth(path), depth / 1000, atol=1e-6)
    for hole in (0, 65535):
        Image.fromarray(np.full((4, 4), hole, np.uint16)).save(path)
        assert (read_rotated_depth(path) == 0).all()


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real files in ../shared/data")
def test_the_real_split_and_the_real_lists_name_the_same_scenes() -> None:
    meta = SHARED / "sunrgbd_meta"
    scenes = read_all_split(meta / "allsplit.mat")
    assert {split: len(found) for split, found in scenes.items()} == SUNRGBD.split_sizes
    assert not set(scenes["train"]) & set(scenes["test"])
    for split, name in (("train", "training"), ("test", "testing")):
        for path in (meta / f"sunrgbd_{name}_images.txt", meta / f"list_files/img_dir_{split}.txt"):
            listed = [
                below_archive(line).rsplit("/", 2)[0] for line in path.read_text().splitlines()
            ]
            assert listed == scenes[split]


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real files in ../shared/data")
def test_depth_of_the_real_scenes() -> None:
    for path in (SHARED / "sunrgbd_frames").glob("SUNRGBD/*/*/*/depth_bfx/*.png"):
        depth = read_rotated_depth(path)
        assert 0.4 < depth.min() < depth.max() <= 8
        raw = read_rotated_depth(next((path.parent.parent / "depth").iterdir()))
        both = raw > 0
        assert 0.5 < both.mean() < 1
        assert np.median(np.abs(raw - depth)[both]) < 0.02


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real files in ../shared/data")
def test_the_fixture_has_the_frames_of_nyudv2() -> None:
    root = SHARED / "sunrgbd_fixture_from_nyudv2"
    dataset = SUNRGBD.open(root, "test")
    number = int(dataset.files(0).image.stem.removeprefix("NYU")) - 1
    sample = dataset[0]
    # The archive's frames are NYUDv2's without its white frame: rows 45.., columns 41.. from 1.
    stored = np.asarray(Image.open(SHARED / f"nyudv2/Label/{number}.png")).astype(int)
    stored = stored[44:471, 40:601]
    known = (stored > 0) & (stored <= 37)
    assert known.mean() > 0.5
    np.testing.assert_array_equal(sample.label[known], stored[known] - 1)
