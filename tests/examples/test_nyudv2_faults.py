"""One clear sentence that names the file for everything that is wrong with a folder of NYUDv2."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image
from torch.utils.data import DataLoader

from examples.rgbd.data.classes import NYU40
from examples.rgbd.data.files.units import to_metres, to_sixteen_bits
from examples.rgbd.data.inspect.start import check_files, check_frames, check_splits
from examples.rgbd.data.nyudv2.spec import NYUDV2
from tests.examples.layout_writers import (
    HEIGHT,
    WIDTH,
    refusal,
    save,
    scene,
    write_gupta,
    write_sa_gate,
    write_vainf,
)


def test_a_missing_folder(tmp_path: Path) -> None:
    refusal(
        lambda: NYUDV2.open(tmp_path / "nowhere", "train"),
        str(tmp_path / "nowhere"),
        "no such folder",
    )


def test_a_folder_in_no_layout(tmp_path: Path) -> None:
    refusal(
        lambda: NYUDV2.open(tmp_path, "train"),
        str(tmp_path),
        "none of them",
        "RGB, Depth and Label",
    )


def test_a_folder_in_two_layouts(tmp_path: Path) -> None:
    write_sa_gate(tmp_path)
    write_vainf(tmp_path)
    refusal(lambda: NYUDV2.open(tmp_path, "train"), "sa-gate and vainf", "`layout`")
    assert len(NYUDV2.open(tmp_path, "train", layout="vainf")) == 2


def test_class_numbers_one_too_high_are_told(tmp_path: Path) -> None:
    write_vainf(tmp_path)
    path = next((tmp_path / "seg40" / "train").iterdir())
    stored = np.array(Image.open(path))
    stored[0] = 40
    Image.fromarray(stored).save(path)
    refusal(lambda: NYUDV2.open(tmp_path, "train")[0], str(path), "1..40 with 0 for void")


def test_a_folder_with_hha_alone(tmp_path: Path) -> None:
    """As CMX hands the data set out: HHA is no depth."""
    write_sa_gate(tmp_path)
    (tmp_path / "Depth").rename(tmp_path / "HHA")
    refusal(lambda: NYUDV2.open(tmp_path, "train"), str(tmp_path / "HHA"), "cannot be had")


def test_a_file_of_the_folder_in_place_of_the_folder(tmp_path: Path) -> None:
    write_sa_gate(tmp_path)
    listed = tmp_path / "train.txt"
    refusal(lambda: NYUDV2.open(listed, "train"), str(listed), f"did you mean {tmp_path}?")


def test_a_missing_list(tmp_path: Path) -> None:
    write_sa_gate(tmp_path)
    (tmp_path / "train.txt").unlink()
    refusal(lambda: NYUDV2.open(tmp_path, "train"), "train.txt", str(tmp_path), "found none")


@pytest.mark.parametrize("folder", ["RGB", "Label", "Depth"])
def test_a_folder_without_one_file_of_a_kind(tmp_path: Path, folder: str) -> None:
    write_sa_gate(tmp_path)
    for path in (tmp_path / folder).iterdir():
        path.unlink()
    refusal(
        lambda: NYUDV2.open(tmp_path, "train"), str(tmp_path / folder / "2."), "2 listed frames"
    )


def test_a_file_or_folder_that_is_not_the_container(tmp_path: Path) -> None:
    write_sa_gate(tmp_path)
    listed = tmp_path / "train.txt"
    refusal(lambda: NYUDV2.open(listed, "train"), str(listed), f"did you mean {tmp_path}?")
    renamed = tmp_path / "frames.mat"
    renamed.write_text(listed.read_text())
    refusal(lambda: NYUDV2.open(renamed, "train"), str(renamed), "HDF5")
    refusal(
        lambda: NYUDV2.open(tmp_path, "train", layout="mat"),
        "nyu_depth_v2_labeled.mat",
        "no such file",
    )


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ("the list is empty",)),
        (b"\n \n", ("the list is empty",)),
        (b"Label/2.png\tLabel/3.png\n", ("line 1", "'Label/2.png")),
        (b"RGB/2.jpg\tRGB/3.jpg\n", ("line 1", "'RGB/2.jpg")),
        (b"Label/2.png\n", ("an image", "line 1")),
        (b"1 2 3 4\n", ("line 1", "another layout")),
        (b"2\n3\n2\n", ("repeats 2",)),
        (b"\xff\xfe\x00x", ("it is not text",)),
    ],
)
def test_an_unusable_list(tmp_path: Path, content: bytes, parts: tuple[str, ...]) -> None:
    write_sa_gate(tmp_path)
    (tmp_path / "train.txt").write_bytes(content)
    refusal(lambda: NYUDV2.open(tmp_path, "train"), "train.txt", *parts)


def test_raw_depth_that_the_layout_lacks(tmp_path: Path) -> None:
    write_sa_gate(tmp_path)
    refusal(lambda: NYUDV2.open(tmp_path, "train", depth="raw"), "sa-gate", "`depth`")


@pytest.mark.parametrize(
    "arguments",
    [{"split": "val"}, {"split": "train", "layout": "x"}, {"split": "train", "depth": "x"}],
)
def test_unknown_options(tmp_path: Path, arguments: dict) -> None:
    write_sa_gate(tmp_path)
    with pytest.raises(
        ValueError, match=r"Expected `(split|layout|depth)` to be .*but got '(val|x)'"
    ):
        NYUDV2.open(tmp_path, **arguments)


def png(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


Damage = Callable[[Path], None]


def replace(relative: str, array: np.ndarray) -> tuple[str, Damage]:
    def damage(root: Path) -> None:
        (root / relative).unlink(missing_ok=True)
        save(root / relative, array)

    return relative, damage


def rewrite(relative: str, change: Callable[[bytes], bytes]) -> tuple[str, Damage]:
    return (
        relative,
        lambda root: (root / relative).write_bytes(change((root / relative).read_bytes())) and None,
    )


SHAPE = (HEIGHT, WIDTH)
FAULTS: dict[str, tuple[tuple[str, Damage], str]] = {
    "missing image": (("RGB/2.jpg", lambda root: (root / "RGB/2.jpg").unlink()), "no such file"),
    "missing label": (
        ("Label/2.png", lambda root: (root / "Label/2.png").unlink()),
        "no such file",
    ),
    "missing depth": (
        ("Depth/2.png", lambda root: (root / "Depth/2.png").unlink()),
        "no such file",
    ),
    "empty image": (rewrite("RGB/2.jpg", lambda _: b""), "0 bytes"),
    "empty label": (rewrite("Label/2.png", lambda _: b""), "0 bytes"),
    "empty depth": (rewrite("Depth/2.png", lambda _: b""), "0 bytes"),
    "truncated image": (rewrite("RGB/2.jpg", lambda b: b[: len(b) // 2]), "cannot be decoded"),
    "truncated label": (rewrite("Label/2.png", lambda b: b[: len(b) // 2]), "cannot be decoded"),
    "truncated depth": (rewrite("Depth/2.png", lambda b: b[: len(b) // 2]), "cannot be decoded"),
    "label without its end": (rewrite("Label/2.png", lambda b: b[:-4]), "cannot be decoded"),
    "altered label": (
        rewrite("Label/2.png", lambda b: b[:50] + bytes([b[50] ^ 1]) + b[51:]),
        "checksum",
    ),
    "altered depth": (
        rewrite("Depth/2.png", lambda b: b[:60] + bytes([b[60] ^ 8]) + b[61:]),
        "checksum",
    ),
    "text for an image": (
        rewrite("RGB/2.jpg", lambda _: b"<html>404</html>"),
        "neither a PNG nor a JPEG",
    ),
    "labels from 0": (
        replace("Label/2.png", np.where(np.eye(*SHAPE) > 0, 255, 3).astype(np.uint8)),
        "already 0..39",
    ),
    "label 41": (replace("Label/2.png", np.full(SHAPE, 41, np.uint8)), "found 41"),
    "16-bit label": (replace("Label/2.png", np.full(SHAPE, 400, np.uint16)), "894"),
    "coloured label": (replace("Label/2.png", np.zeros((*SHAPE, 3), np.uint8)), "coloured"),
    "8-bit depth": (replace("Depth/2.png", np.full(SHAPE, 90, np.uint8)), "DFormer"),
    "coloured depth": (replace("Depth/2.png", np.zeros((*SHAPE, 3), np.uint8)), "HHA"),
    "depth in 1/5000 m": (
        replace("Depth/2.png", np.full(SHAPE, 40_000, np.uint16)),
        "another unit",
    ),
    "depth in metres": (replace("Depth/2.png", np.full(SHAPE, 7, np.uint16)), "another unit"),
    "smaller depth": (replace("Depth/2.png", np.full((6, 8), 900, np.uint16)), "12 x 16"),
    "smaller label": (replace("Label/2.png", np.zeros((6, 8), np.uint8)), "6 x 8"),
    "turned label": (replace("Label/2.png", np.zeros((16, 12), np.uint8)), "16 x 12"),
    "16-bit image": (rewrite("RGB/2.jpg", lambda _: png(scene(9)[2])), "8-bit colour"),
    "millimetres in npy": (
        replace("Depth/2.npy", np.full(SHAPE, 2000.0, np.float32)),
        "another unit",
    ),
    "integers in npy": (replace("Depth/2.npy", np.full(SHAPE, 2, np.int16)), "int16"),
    "volume in npy": (replace("Depth/2.npy", np.ones((2, 3, 4), np.float32)), "(2, 3, 4)"),
    "objects in npy": (replace("Depth/2.npy", np.array([[None, {}]])), "object"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_file_is_refused_by_name(tmp_path: Path, fault: str) -> None:
    (relative, damage), part = FAULTS[fault]
    write_sa_gate(tmp_path)
    damage(tmp_path)
    refusal(lambda: NYUDV2.open(tmp_path, "train")[0], str(tmp_path / relative), part)


def test_files_that_the_first_frame_has_must_be_there_for_all(tmp_path: Path) -> None:
    write_sa_gate(tmp_path, npy=True)
    (tmp_path / "Depth/3.npy").rename(tmp_path / "Depth/x.npy")
    refusal(
        lambda: NYUDV2.open(tmp_path, "train")[1], str(tmp_path / "Depth/3.npy"), "no such file"
    )


def test_a_matlab_label_that_cannot_be_read(tmp_path: Path) -> None:
    write_gupta(tmp_path)
    path = tmp_path / "segmentation/img_5003.mat"
    whole = path.read_bytes()
    for content in (b"", whole[:100], b"MATLAB 5.0", bytes(300), whole[:-20]):
        path.write_bytes(content)
        refusal(lambda: NYUDV2.open(tmp_path, "train")[0], str(path))
    for variables, part in (
        ({"other": np.ones(3)}, "it is not there"),
        ({"segmentation": np.ones((2, 3, 4))}, "(2, 3, 4)"),
        ({"segmentation": np.full((HEIGHT, WIDTH), 0.5)}, "whole numbers"),
        ({"segmentation": np.full((HEIGHT, WIDTH), np.nan)}, "whole numbers"),
        ({"segmentation": "text"}, "str"),
        ({"segmentation": np.full((HEIGHT, WIDTH), 41)}, "found 41"),
    ):
        scipy.io.savemat(path, variables)
        refusal(lambda: NYUDV2.open(tmp_path, "train")[0], str(path), part)


def test_an_array_that_announces_too_much_is_not_allocated(tmp_path: Path) -> None:
    write_sa_gate(tmp_path, npy=True)
    path = tmp_path / "Depth/2.npy"
    header = (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + "\n"
    )
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    refusal(lambda: NYUDV2.open(tmp_path, "train")[0], str(path), "ends too early")


@pytest.mark.parametrize("workers", [0, 2])
def test_the_sentence_survives_the_workers_of_a_loader(tmp_path: Path, workers: int) -> None:
    write_sa_gate(tmp_path)
    (tmp_path / "Label/3.png").write_bytes(b"")
    loader = DataLoader(NYUDV2.open(tmp_path, "train"), batch_size=None, num_workers=workers)
    message = refusal(lambda: list(loader), str(tmp_path / "Label/3.png"), "0 bytes")
    assert "Traceback" not in message


@pytest.mark.parametrize(
    "stored",
    [
        np.zeros(SHAPE, np.uint16),
        np.full(SHAPE, 65535, np.uint16),
        np.full(SHAPE, np.nan, np.float32),
    ],
    ids=["zero", "65535", "NaN"],
)
def test_a_frame_without_any_depth_is_a_frame_whose_depth_is_missing(
    tmp_path: Path, stored: np.ndarray
) -> None:
    write_sa_gate(tmp_path, npy=stored.dtype.kind == "f")
    save(next((tmp_path / "Depth").glob("2.*")), stored)
    assert (NYUDV2.open(tmp_path, "train")[0].depth == 0).all()


def test_depth_that_is_not_used_is_not_read(tmp_path: Path) -> None:
    write_sa_gate(tmp_path)
    (tmp_path / "Depth/2.png").write_bytes(b"damaged")
    assert (NYUDV2.open(tmp_path, "train", use_depth="none")[0].depth == 0).all()
    refusal(lambda: NYUDV2.open(tmp_path, "train", use_depth="optional")[0], "Depth/2.png")


def test_stored_depth_never_becomes_a_hole() -> None:
    far = np.array([[0, 1.5, 65.535, 70]], np.float32)
    stored = to_sixteen_bits(far, 1000)
    np.testing.assert_allclose(
        to_metres(stored, 0.001, "x", plausible=None), [[0, 1.5, 65.534, 65.534]]
    )


def test_65535_is_a_hole_and_no_unit(tmp_path: Path) -> None:
    write_sa_gate(tmp_path)
    stored = np.full(SHAPE, 2000, np.uint16)
    stored[0] = 65535
    save(tmp_path / "Depth/2.png", stored)
    depth = NYUDV2.open(tmp_path, "train")[0].depth
    assert (depth[0] == 0).all()
    np.testing.assert_allclose(depth[1:], 2)


@pytest.mark.parametrize("classes", [13, 40])
def test_the_13_coarse_classes_are_not_trained_as_40(tmp_path: Path, classes: int) -> None:
    write_sa_gate(tmp_path)
    (tmp_path / "train.txt").write_text("".join(f"{number}\n" for number in range(12)))
    rng = np.random.default_rng(0)
    for number in range(12):
        image, _, depth = scene(number)
        save(tmp_path / f"RGB/{number}.jpg", image)
        save(tmp_path / f"Label/{number}.png", rng.integers(0, classes + 1, SHAPE, dtype=np.uint8))
        save(tmp_path / f"Depth/{number}.png", depth)
    frames = NYUDV2.open(tmp_path, "train")
    if classes == 40:
        check_frames(frames, frames.depth_limits)
    else:
        refusal(lambda: check_frames(frames, frames.depth_limits), "13 coarse", "rgbd.init")


PREPARED = {"dataset": "nyudv2", "depth": "inpainted", "classes": list(NYU40)}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"classes": list(NYU40[:39])}, ("nyudv2 with 40 classes", "nyudv2 with 39")),
        ({"classes": [*NYU40[1:], NYU40[0]]}, ("nyudv2 with 40 classes",)),
        ({"dataset": "sunrgbd"}, ("Expected nyudv2", "sunrgbd with 40")),
        ({"depth": "raw"}, ("Expected inpainted depth", "prepared with raw")),
        ({"classes": None}, ("did prepare write this folder?",)),
        ({"classes": 40}, ("did prepare write this folder?",)),
    ],
)
def test_a_prepared_folder_of_something_else(
    tmp_path: Path, change: dict, parts: tuple[str, ...]
) -> None:
    (tmp_path / "train.txt").write_text("1\n2\n")
    (tmp_path / "dataset.json").write_text(json.dumps(PREPARED))
    assert NYUDV2.open(tmp_path, "train").names == ["1", "2"]
    refusal(lambda: NYUDV2.open(tmp_path, "test"), "test.txt", "was prepare interrupted?")
    content = {key: value for key, value in {**PREPARED, **change}.items() if value is not None}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    refusal(lambda: NYUDV2.open(tmp_path, "train"), str(tmp_path), *parts)


def test_files_are_looked_for_before_a_run(tmp_path: Path) -> None:
    write_sa_gate(tmp_path)
    for split, name in (("train", "RGB/3.jpg"), ("test", "Depth/0.png")):
        frames = NYUDV2.open(tmp_path, split)
        check_files(frames, quiet=True)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        refusal(lambda: check_files(frames, quiet=True), str(tmp_path / name), split)  # noqa: B023
        frames.use_depth = "none"
        if name.startswith("Depth"):
            check_files(frames, quiet=True)
        (tmp_path / name).write_bytes(content)


def test_identical_lists_are_refused_by_a_run(tmp_path: Path) -> None:
    write_sa_gate(tmp_path)
    (tmp_path / "test.txt").write_bytes((tmp_path / "train.txt").read_bytes())
    train, test = (NYUDV2.open(tmp_path, split) for split in ("train", "test"))
    refusal(lambda: check_splits(train, test), "2 of 2 test frames", "the two lists the same")
