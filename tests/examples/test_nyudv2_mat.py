"""NYUDv2 from the original container, written here as MATLAB lays it out."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from torch.utils.data import DataLoader

from examples.rgbd.data.nyudv2.spec import NYUDV2
from tests.examples.layout_writers import refusal

HEIGHT, WIDTH, FRAMES = 6, 9, 5
TRAIN, TEST = (5, 2, 3), (1, 4)
META = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "nyudv2_meta"


def scene(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Colour, original label (0..894), in-painted and raw depth of frame `number`."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    label = rng.integers(0, 895, (HEIGHT, WIDTH)).astype(np.uint16)
    label[0, :4] = 0, 1, 256, 894
    depth = rng.uniform(0.8, 9, (HEIGHT, WIDTH)).astype(np.float32)
    raw = np.where(rng.random((HEIGHT, WIDTH)) < 0.2, 0, depth).astype(np.float32)
    return image, label, depth, raw


MAPPING = np.random.default_rng(99).integers(1, 41, (1, 894)).astype(np.uint8)


def write(root: Path) -> Path:
    root.mkdir(exist_ok=True)
    scenes = [scene(number) for number in range(1, FRAMES + 1)]
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        # MATLAB's image is (row, column, channel, frame); in HDF5 the axes are reversed.
        image, label, depth, raw = (np.stack(arrays, -1) for arrays in zip(*scenes, strict=True))
        for key, array in (
            ("images", image),
            ("labels", label),
            ("depths", depth),
            ("rawDepths", raw),
        ):
            file[key] = array.transpose(range(array.ndim)[::-1])
    scipy.io.savemat(
        root / "splits.mat",
        {
            "trainNdxs": np.array(TRAIN, np.uint16)[:, None],
            "testNdxs": np.array(TEST, np.uint16)[:, None],
        },
    )
    scipy.io.savemat(root / "classMapping40.mat", {"mapClass": MAPPING})
    return root / "nyu_depth_v2_labeled.mat"


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("kind", ["inpainted", "raw"])
def test_frames_are_those_of_the_container(tmp_path: Path, split: str, kind: str) -> None:
    container = write(tmp_path)
    numbers = TRAIN if split == "train" else TEST
    for root in (tmp_path, container):
        dataset = NYUDV2.open(root, split, depth=kind)
        assert dataset.layout == "mat"
        assert dataset.names == [f"{number:04d}" for number in numbers]
        for index, number in enumerate(numbers):
            image, label, depth, raw = scene(number)
            sample = dataset[index]
            np.testing.assert_array_equal(sample.image, image)
            np.testing.assert_array_equal(sample.depth, depth if kind == "inpainted" else raw)
            for row, column in np.ndindex(HEIGHT, WIDTH):
                original = int(label[row, column])
                expected = 255 if original == 0 else int(MAPPING[0, original - 1]) - 1
                assert sample.label[row, column] == expected


def test_workers_read_through_handles_of_their_own(tmp_path: Path) -> None:
    write(tmp_path)
    dataset = NYUDV2.open(tmp_path, "train")
    here = [dataset[index].image for index in range(len(dataset))]  # opens it in this process
    loader = DataLoader(
        dataset, batch_size=None, num_workers=2, collate_fn=lambda sample: sample.image
    )
    for one, other in zip(here, loader, strict=True):
        np.testing.assert_array_equal(one, other)
    copy = pickle.loads(pickle.dumps(dataset))  # as a process that is not forked gets it
    np.testing.assert_array_equal(copy[1].image, here[1])


@pytest.mark.parametrize("name", ["splits.mat", "classMapping40.mat"])
def test_a_companion_file_is_missing_or_damaged(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    path.unlink()
    refusal(lambda: NYUDV2.open(tmp_path, "train"), name, "no such file")
    for content in (b"", whole[:150], b"\0" * 400, b"<html>"):
        path.write_bytes(content)
        refusal(lambda: NYUDV2.open(tmp_path, "train"), str(path))
    scipy.io.savemat(path, {"x": 1})
    refusal(lambda: NYUDV2.open(tmp_path, "train"), str(path), "it is not there")


def test_the_container_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path)
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"\0" * 4000, b"MATLAB 5.0 MAT-file"):
        path.write_bytes(content)
        refusal(lambda: NYUDV2.open(tmp_path, "train"), str(path), "HDF5")


@pytest.mark.parametrize(
    ("key", "array", "part"),
    [
        ("labels", None, "'labels'"),
        ("depths", np.zeros((5, 9)), "'depths'"),
        ("labels", np.zeros((4, WIDTH, HEIGHT), np.uint16), "same frames"),
        ("labels", np.zeros((5, HEIGHT, WIDTH), np.uint16), "9 x 6"),
        ("labels", np.full((5, WIDTH, HEIGHT), 900, np.uint16), "900"),
        ("depths", np.full((5, WIDTH, HEIGHT), 2500, np.float32), "another unit"),
    ],
)
def test_the_container_holds_something_else(
    tmp_path: Path, key: str, array: np.ndarray | None, part: str
) -> None:
    path = write(tmp_path)
    with h5py.File(path, "a") as file:
        del file[key]
        if array is not None:
            file[key] = array
    refusal(lambda: NYUDV2.open(tmp_path, "train")[0], str(path), part)


def test_frame_numbers_beyond_the_container(tmp_path: Path) -> None:
    write(tmp_path)
    scipy.io.savemat(tmp_path / "splits.mat", {"trainNdxs": [[1], [6]], "testNdxs": [[0]]})
    refusal(lambda: NYUDV2.open(tmp_path, "train"), "splits.mat", "1..5", "1..6")
    refusal(lambda: NYUDV2.open(tmp_path, "test"), "splits.mat", "0..0")


@pytest.mark.skipif(not META.is_dir(), reason="needs the real files in ../shared/data/nyudv2_meta")
def test_real_companions_give_the_official_split_and_the_sa_gate_classes(tmp_path: Path) -> None:
    real = META.parent / "nyudv2"
    for name in ("splits.mat", "classMapping40.mat"):
        (tmp_path / name).symlink_to((META / name).resolve())
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "w") as file:
        file.create_dataset("images", (1449, 3, 4, 3), "u1")
        file.create_dataset("depths", (1449, 4, 3), "f4", fillvalue=1)
        file.create_dataset("labels", (1449, 4, 3), "u2")
        # chair, floor and wall in the original numbering
        file["labels"][0, 0] = 5, 11, 21
    train, test = (NYUDV2.open(tmp_path, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (795, 654)
    np.testing.assert_array_equal(test[0].label[:, 0], [4, 1, 0])
    sa_gate = NYUDV2.open(real, "train")
    assert [int(name) - 1 for name in train.names] == [int(name) for name in sa_gate.names]
