"""Invented frames, and writers of every layout of NYUDv2; what a refusal must look like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image

from examples.rgbd.data.files.errors import DataError

HEIGHT, WIDTH = 12, 16


def scene(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour, classes (255 = void) and depth in millimetres of an invented frame."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    label = rng.integers(0, 40, (HEIGHT, WIDTH), dtype=np.uint8)
    label[0, :3] = 255
    depth = rng.integers(800, 9000, (HEIGHT, WIDTH)).astype(np.uint16)
    depth[1, :2] = 0
    return image, label, depth


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {"segmentation": array})
    else:
        Image.fromarray(array).save(
            path, **({"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {})
        )


def zero_void(label: np.ndarray) -> np.ndarray:
    return np.where(label == 255, 0, label + 1).astype(np.uint8)


# Frame numbers as each layout counts them: training 3 and 4, test 1 (from 1).
def write_sa_gate(root: Path, npy: bool = False, bare: bool = False) -> None:
    for number in (3, 4, 1):
        image, label, depth = scene(number)
        save(root / f"RGB/{number - 1}.jpg", image)
        save(root / f"Label/{number - 1}.png", zero_void(label))
        if npy:
            save(root / f"Depth/{number - 1}.npy", depth.astype(np.float32) / 1000)
        else:
            save(root / f"Depth/{number - 1}.png", depth)
    line = "{0}\n" if bare else "RGB/{0}.jpg\tLabel/{0}.png\n"
    (root / "train.txt").write_text(line.format(2) + line.format(3))
    (root / "test.txt").write_text(line.format(0))


def write_esanet(root: Path, labels: str = "labels_40", base: int = 0) -> None:
    for split, numbers in (("train", (3, 4)), ("test", (1,))):
        for number in numbers:
            image, label, depth = scene(number)
            name = f"{number - base:04d}.png"
            save(root / split / "rgb" / name, image)
            save(root / split / labels / name, zero_void(label))
            save(root / split / "depth" / name, depth)
            save(
                root / split / "depth_raw" / name,
                np.where(depth > 5000, 0, depth).astype(np.uint16),
            )
        lines = "".join(f"{number - base:04d}\n" for number in numbers)
        (root / f"{split}.txt").write_text(lines)


def write_nicr(root: Path) -> None:
    write_esanet(root, "semantic_40", base=1)


def write_drsleep(root: Path) -> None:
    for number in (3, 4, 1):
        image, label, depth = scene(number)
        save(root / f"rgb/{number:06d}.png", image)
        save(root / f"masks/{number:06d}.png", label)
        save(root / f"depth/{number:06d}.png", (depth.astype(int) * 5).astype(np.uint16))
    line = "rgb/{0:06d}.png\tmasks/{0:06d}.png\tdepth/{0:06d}.png\n"
    (root / "train_list_depth.txt").write_text(line.format(3) + line.format(4))
    (root / "val_list_depth.txt").write_text(line.format(1))


def write_vainf(root: Path) -> None:
    for split, numbers in (("train", (3, 4)), ("test", (1,))):
        for number in numbers:
            image, label, depth = scene(number)
            save(root / f"image/{split}/{number:05d}.png", image)
            save(root / f"seg40/{split}/{number:05d}.png", label)
            save(root / f"depth/{split}/{number:05d}.png", depth)


def write_gupta(root: Path) -> None:
    for number in (3, 4, 1):
        image, label, depth = scene(number)
        save(root / f"images/img_{5000 + number}.png", image)
        save(root / f"segmentation/img_{5000 + number}.mat", zero_void(label))
        save(root / f"depth/img_{5000 + number}.png", depth)
    (root / "train.txt").write_text("5003\n")
    (root / "val.txt").write_text("5004\n")
    (root / "test.txt").write_text("5001\n")


def write_nyud_mt(root: Path) -> None:
    for number in (3, 4, 1):
        image, label, depth = scene(number)
        save(root / f"images/{number:04d}.jpg", image)
        save(root / f"segmentation/{number:04d}.png", zero_void(label))
        save(root / f"depth/{number:04d}.npy", depth.astype(np.float32) / 1000)
    (root / "gt_sets").mkdir()
    (root / "gt_sets/train.txt").write_text("0003\n0004\n")
    (root / "gt_sets/val.txt").write_text("0001\n")


WRITERS: dict[str, Callable[[Path], None]] = {
    "sa-gate": write_sa_gate,
    "esanet": write_esanet,
    "nicr": write_nicr,
    "drsleep": write_drsleep,
    "vainf": write_vainf,
    "gupta": write_gupta,
    "nyud-mt": write_nyud_mt,
}


def refusal(read: Callable[[], object], *parts: str) -> str:
    """The message of the `DataError`: one sentence, on one line, that holds all the parts."""
    with pytest.raises(DataError) as caught:
        read()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("Expected ")
    assert message[-1] in ".?"
    for part in parts:
        assert part in message, message
    return message
