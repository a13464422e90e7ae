"""HHA and normals on their way: computed by prepare, turned with the frame, read by networks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from examples.nyudv2.recipe import PIPELINE
from examples.rgbd.commands import evaluate as command
from examples.rgbd.data import NYUDV2, Augmentation, GeneratedRooms, Sample, label_palette
from examples.rgbd.data.augment import augment, resize
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.frame import to_tensors
from examples.rgbd.data.geometry import compute_geometry, mirrored, to_planes
from examples.rgbd.data.hha import hha
from examples.rgbd.data.intrinsics import Intrinsics
from examples.rgbd.data.prepare import prepare
from examples.rgbd.networks import build_network
from examples.rgbd.options.commands import EvaluateOptions
from examples.rgbd.options.groups import (
    DataOptions,
    NetworkOptions,
    ObjectiveOptions,
    OptionError,
    TrainConfig,
)
from examples.rgbd.pipeline import ANY_FOLDER
from examples.rgbd.run.trained import Trained
from examples.rgbd.splits import open_split
from tests.examples.test_hha import room

CAMERA = Intrinsics(60.0, 60.0, 39.5, 29.5, 60, 80)
WINDOW = Intrinsics(60.0, 60.0, 39.5 - 20, 29.5 - 10, 40, 60)  # from row 10 and column 20 on
SETTINGS = {"fx": 60, "fy": 60, "cx": 39.5, "cy": 29.5, "height": 60, "width": 80}


def depth_of(pitch=0.0):
    return room(pitch)[0][0].numpy().astype(np.float32)


def sample(depth, **maps):
    height, width = depth.shape
    image = np.zeros((height, width, 3), np.uint8)
    return Sample(image, np.zeros((height, width), np.uint8), depth, "room", maps)


def test_normals_survive_eight_bits_and_a_mirror():
    depth = depth_of(12.0)
    depth[20:24, 30:34] = 0
    stored = compute_geometry("normals", depth, CAMERA)
    planes = to_planes("normals", stored)
    known = stored.any(-1)
    assert known.mean() > 0.5
    assert not known[20:24, 30:34].any()
    assert not planes[:, ~torch.from_numpy(known)].any()
    # The floor of a camera that looks down by 12 degrees: down is (0, cos, sin).
    floor = planes[:, 55, 40]
    wanted = torch.tensor([0.0, np.cos(np.radians(12)), np.sin(np.radians(12))]).float()
    assert floor @ wanted > np.cos(np.radians(0.6))
    # A mirrored frame is that of a mirrored camera, and has its normals.
    there = compute_geometry("normals", depth[:, ::-1], CAMERA)
    difference = np.abs(mirrored("normals", stored).astype(int) - there)
    assert difference.max() <= 1
    tilted = np.array([[[228, 128, 203], [0, 0, 0]]], np.uint8)
    assert mirrored("normals", tilted).tolist() == [[[0, 0, 0], [28, 128, 203]]]
    assert mirrored("hha", tilted).tolist() == [[[0, 0, 0], [228, 128, 203]]]


def test_maps_are_varied_with_their_frame():
    """Each map is a copy of the depth here, so that wherever depth goes the maps have to go."""
    depth = np.arange(1, 61, dtype=np.float32).repeat(80).reshape(60, 80) + np.arange(80) / 100
    code = np.stack([np.arange(1, 61).repeat(80).reshape(60, 80)] * 3, -1).astype(np.uint8)
    frame = sample(depth, hha=code, normals=code)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        shown = augment(
            frame, (30, 40), rng, Augmentation(flip=1.0, scale=(0.6, 2.0)), metric=False
        )
        expected = np.where(shown.depth > 0, np.floor(shown.depth), 0)
        for kind in ("hha", "normals"):
            np.testing.assert_array_equal(shown.geometry[kind][..., 1], expected)
        right = np.where(expected > 0, 256 - expected, 0)
        np.testing.assert_array_equal(shown.geometry["normals"][..., 0], right)
    kept = resize(frame, (30, 40), resize_target=False)
    assert kept.geometry["hha"] is code
    tensors = to_tensors(resize(frame, (30, 40)))
    assert tensors.geometry["hha"].shape == (3, 30, 40)
    assert tensors.geometry["normals"].norm(dim=0).max() <= 1 + 1e-6


def test_intrinsics_follow_a_resize_and_refuse_a_crop():
    half = CAMERA.at((30, 40))
    assert (half.fx, half.cx, half.cy) == (30.0, 19.5, 14.5)
    with pytest.raises(DataError, match="was it cropped"):
        CAMERA.at((50, 80))
    # A window sees what the whole image sees there.
    depth = depth_of(8.0)
    whole = compute_geometry("normals", depth, CAMERA)
    part = compute_geometry("normals", depth[10:50, 20:80], WINDOW)
    gap = np.abs(part[4:-4, 4:-4].astype(int) - whole[14:46, 24:76])
    assert gap.max() <= 1


def described(root: Path, intrinsics: dict | None = SETTINGS, **depth):
    """A folder with a dataset.json, of two frames."""
    root.mkdir()
    for name in ("a", "b"):
        for kind in ("image", "label", "depth"):
            (root / kind).mkdir(exist_ok=True)
        Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(root / "image" / f"{name}.png")
        Image.fromarray(np.ones((60, 80), np.uint8)).save(root / "label" / f"{name}.png")
        metres = depth_of(5.0 if name == "a" else 0.0)
        stored = np.rint(1000 * metres).astype(np.uint16)
        Image.fromarray(stored).save(root / "depth" / f"{name}.png")
    for split, name in (("train", "a"), ("test", "b")):
        line = "\t".join(f"{kind}/{name}.png" for kind in ("image", "label", "depth"))
        (root / f"{split}.txt").write_text(f"{line}\n")
    content = {
        "name": "office",
        "classes": ["wall", "floor"],
        "depth": {"per_metre": 1000, **depth},
    }
    if intrinsics is not None:
        content["intrinsics"] = intrinsics
    (root / "dataset.json").write_text(json.dumps(content))
    return {split: ANY_FOLDER.spec.open(root, split) for split in ("train", "test")}


def test_prepare_keeps_hha_beside_the_frames_and_goes_on(tmp_path):
    splits = described(tmp_path / "own")
    target = tmp_path / "plain"
    assert prepare(splits, target, 0) == {"train": 1, "test": 1}
    with pytest.raises(DataError, match="Expected HHA beside the frames"):
        ANY_FOLDER.spec.open(target, "train", geometry=("hha",))
    written = prepare(splits, target, 0, geometry=("hha", "normals"))
    assert written == {"train": 1, "test": 1}
    assert prepare(splits, target, 0, geometry=("hha", "normals")) == {"train": 0, "test": 0}
    frames = ANY_FOLDER.spec.open(target, "train", geometry=("hha",))
    frame = frames[0]
    assert list(frame.geometry) == ["hha"]
    expected = compute_geometry("hha", frame.depth, CAMERA)
    assert np.abs(frame.geometry["hha"].astype(int) - expected).max() <= 1
    assert abs(int(frame.geometry["hha"][58, 40, 2]) - 38) <= 1  # the floor
    assert abs(int(frame.geometry["hha"][5, 40, 2]) - 128) <= 1  # the wall
    assert "hha" not in ANY_FOLDER.spec.open(target, "train")[0].geometry
    (target / "hha" / "b.png").unlink()
    with pytest.raises(DataError, match=r"prepare --hha writes"):
        ANY_FOLDER.spec.open(target, "test", geometry=("hha",))


def test_what_prepare_cannot_compute_is_said(tmp_path):
    with pytest.raises(DataError, match="intrinsics for --hha, but"):
        prepare(described(tmp_path / "a", None), tmp_path / "x", 0, geometry=("hha",))
    cropped = {**SETTINGS, "height": 50}
    with pytest.raises(DataError, match="was it cropped"):
        prepare(described(tmp_path / "b", cropped), tmp_path / "x", 0, geometry=("normals",))
    with pytest.raises(DataError, match="depth in metres for --hha"):
        prepare(described(tmp_path / "c", kind="relative"), tmp_path / "x", 0, geometry=("hha",))
    assert not (tmp_path / "x").exists()
    with pytest.raises(DataError, match=r"'intrinsics.fx' .* above 0"):
        described(tmp_path / "d", {**SETTINGS, "fx": 0})
    with pytest.raises(DataError, match=r"'intrinsics.cy'"):
        described(tmp_path / "e", {key: SETTINGS[key] for key in SETTINGS if key != "cy"})
    assert NYUDV2.camera is not None
    assert NYUDV2.camera.at((240, 320)).fx == pytest.approx(259.43, abs=0.01)
    # camera_params.m of the toolbox, fx_rgb to cy_rgb; MATLAB counts pixels from 1.
    toolbox = (518.85790117450188, 519.46961112127485, 325.58244941119034, 253.73616633400465)
    assert (NYUDV2.camera.fx, NYUDV2.camera.fy) == toolbox[:2]
    assert (NYUDV2.camera.cx, NYUDV2.camera.cy) == pytest.approx(
        [place - 1 for place in toolbox[2:]]
    )
    assert (NYUDV2.camera.height, NYUDV2.camera.width) == (480, 640)


def test_generated_rooms_know_their_camera():
    rooms = GeneratedRooms("train", 1, size=(48, 64), geometry=("hha", "normals"))
    frame = rooms[0]
    plain = GeneratedRooms("train", 1, size=(48, 64))[0]
    np.testing.assert_array_equal(frame.depth, plain.depth)
    assert plain.geometry == {}
    angle = frame.geometry["hha"][..., 2].astype(int)
    floor = (frame.label == rooms.classes.index("floor")) & (frame.depth > 0)
    assert floor.sum() > 30
    assert np.median(np.abs(angle[floor] - 38)) <= 4
    options = DataOptions(rooms=1, image_size=(48, 64))
    opened = open_split(PIPELINE, options, "train", quiet=True, geometry=("hha",))[0]
    assert opened.geometry.keys() == {"hha"}
    np.testing.assert_array_equal(opened.geometry["hha"], frame.geometry["hha"])


def of_a_run(objective="sd", **network):
    config = TrainConfig(
        data=DataOptions(image_size=(32, 64)),
        network=NetworkOptions(**network),
        objective=ObjectiveOptions(objective=objective),
    )
    built = build_network("pspnet", "resnet18", num_classes=2, width=8).eval()
    return Trained(
        built, config, "office", ("wall", "floor"), label_palette(2), (0.5, 8.0), 1, Path("M/best.pt")
    )  # fmt: skip


def test_hha_of_predicted_depth_has_the_camera_of_the_frames(tmp_path, monkeypatch):
    """Not that of the command's data set: a folder has its own, and each generated room another."""
    mining, reads = of_a_run(), of_a_run(network="rdfnet", input="rgb-hha")
    monkeypatch.setattr(command, "load_trained", lambda path: mining)
    options = EvaluateOptions(Path("D"), depth_from=Path("M"))
    frames = described(tmp_path / "own")["test"]
    found = command.own_depth_of(options, reads, frames, "cpu")
    assert found.intrinsics == CAMERA
    assert found.kind == "rgb-hha"
    # A network that squeezes 60 x 80 to 32 x 64 sees the whole frame: it was refused as a crop.
    seen = found(torch.randn(1, 3, 32, 64))
    wanted = hha(seen[:, 0], torch.tensor([48.0, 32.0, 31.5, 15.5]))
    torch.testing.assert_close(seen[:, 1:], wanted, rtol=0, atol=1)  # both are rounded
    for unknown in (described(tmp_path / "x", None)["test"], GeneratedRooms("test", 1)):
        with pytest.raises(OptionError, match="one known camera"):
            command.own_depth_of(options, reads, unknown, "cpu")
