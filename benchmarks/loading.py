"""Table 6: how many images a second one core reads and varies for training."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from benchmarks.losses import NotMeasuredError
from benchmarks.measure import Rival, race
from benchmarks.report import Table, milliseconds
from benchmarks.tables import Setting

if TYPE_CHECKING:
    from examples.rgbd.data import Augmentation

CLASSES = 40
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
Loaded = tuple[Tensor, Tensor, Tensor]


def write_frames(root: Path, count: int, size: tuple[int, int]) -> None:
    """Generated rooms as NYUDv2 in the layout of SA-Gate: JPEG, and PNG of 8 and of 16 bits."""
    from examples.rgbd.data import GeneratedRooms, void_of

    rooms = GeneratedRooms("train", count, "mixed", size)
    rng = np.random.default_rng(0)
    for folder in ("RGB", "Label", "Depth"):
        (root / folder).mkdir()
    for number in range(count):
        image, label, depth = rooms[number][:3]
        # A camera's noise: without it the JPEG would be far smaller than a photograph's.
        noisy = (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)
        stored = np.where(label == void_of(label), 0, label + 1).astype(np.uint8)
        millimetres = np.rint(1000 * depth).astype(np.uint16)
        Image.fromarray(noisy).save(root / f"RGB/{number}.jpg", quality=90)
        Image.fromarray(stored).save(root / f"Label/{number}.png")
        Image.fromarray(millimetres).save(root / f"Depth/{number}.png")
    names = "".join(f"RGB/{number}.jpg\tLabel/{number}.png\n" for number in range(count))
    for split in ("train", "test"):
        (root / f"{split}.txt").write_text(names)


def straightforward(
    root: Path, number: int, size: tuple[int, int], options: Augmentation, rng: np.random.Generator
) -> Loaded:
    """The same in PIL and numpy, step by step, as recipes for such data usually go."""
    from examples.rgbd.data import VOID

    height, width = size
    image = Image.open(root / f"RGB/{number}.jpg").convert("RGB")
    label: Image.Image = Image.open(root / f"Label/{number}.png")
    depth = Image.fromarray(np.asarray(Image.open(root / f"Depth/{number}.png")) / np.float32(1000))

    if rng.random() < options.flip:
        turn = Image.Transpose.FLIP_LEFT_RIGHT
        image, label, depth = (picture.transpose(turn) for picture in (image, label, depth))

    scale = float(np.exp(rng.uniform(*np.log(options.scale))))
    scaled = (round(width * scale), round(height * scale))
    image = image.resize(scaled, Image.Resampling.BILINEAR)
    label = label.resize(scaled, Image.Resampling.NEAREST)
    depth = depth.resize(scaled, Image.Resampling.NEAREST)
    left, top = (
        int(rng.integers(min(0, room), max(0, room) + 1))
        for room in (scaled[0] - width, scaled[1] - height)
    )
    # PIL's crop pads with zeros where it leaves the picture; 0 is void in these labels.
    window = (left, top, left + width, top + height)
    image, label, depth = (picture.crop(window) for picture in (image, label, depth))

    for enhance, amount in (
        (ImageEnhance.Brightness, options.brightness),
        (ImageEnhance.Contrast, options.contrast),
        (ImageEnhance.Color, options.saturation),
    ):
        if amount:
            image = enhance(image).enhance(float(rng.uniform(1 - amount, 1 + amount)))
    if options.hue:
        hue, saturation, value = image.convert("HSV").split()
        turned = np.asarray(hue) + np.uint8(
            round(rng.uniform(-options.hue, options.hue) * 255) % 256
        )
        image = Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")

    colours = (np.asarray(image, np.float32) / 255 - MEAN) / STD
    classes = np.asarray(label).astype(np.int64) - 1
    classes[classes < 0] = VOID
    metres = np.asarray(depth) / np.float32(scale)
    return (
        torch.from_numpy(np.ascontiguousarray(colours.transpose(2, 0, 1))),
        torch.from_numpy(classes),
        torch.from_numpy(metres),
    )


def check_same(root: Path, count: int, size: tuple[int, int]) -> None:
    """With nothing left to chance both loaders must give the same tensors."""
    from examples.rgbd.data import NYUDV2, Augmentation, Augmented

    still = Augmentation(flip=0, scale=(1, 1), brightness=0, contrast=0, saturation=0, hue=0)
    ours = Augmented(NYUDV2.open(root, "train"), size, options=still)
    for number in range(count):
        theirs = straightforward(root, number, size, still, np.random.default_rng(0))
        torch.testing.assert_close(tuple(ours[number][:3]), theirs, rtol=1e-5, atol=1e-5)


def table_6(setting: Setting) -> list[Table]:
    """Reading, decoding and varying frames that lie on a disk, in one process and one thread."""
    try:
        from examples.rgbd.data import NYUDV2, Augmentation, Augmented
    except ImportError as error:
        raise NotMeasuredError(
            f"Table 6 was not measured: the example's loader needs the extra `examples` ({error})."
        ) from error
    count, size = (2, (48, 64)) if setting.quick else (8, (480, 640))
    options = Augmentation()
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_frames(root, count, size)
        check_same(root, count, size)
        read = NYUDV2.open(root, "train")
        varied = Augmented(read, size, options=options)
        rng = np.random.default_rng(0)

        def every(load: Callable[[int], object]) -> Callable[[], object]:
            return lambda: [load(number) for number in range(count)]

        rivals = [
            Rival(
                "PIL and numpy, step by step",
                every(lambda number: straightforward(root, number, size, options, rng)),
            ),
            Rival("the example's loader", every(varied.__getitem__)),
            Rival("reading and decoding alone", every(read.__getitem__)),
        ]
        kilobytes = sum(path.stat().st_size for path in root.rglob("*.*g")) / count / 1000
        torch.set_num_threads(1)
        try:
            results = race(rivals, "cpu", setting.effort, memory=False)
        finally:
            torch.set_num_threads(threads)
    rows = [
        [
            result.name,
            milliseconds(result.seconds / count),
            milliseconds(result.iqr / count),
            f"{result.ratio:.2f}",
            f"{count / result.seconds:.0f}",
        ]
        for result in results
    ]
    height, width = size
    title = f"Table 6. Loading and varying images of {height} x {width}, one process, one thread"
    notes = [
        f"{count} generated rooms of {kilobytes:.0f} kB each (JPEG, 8-bit and 16-bit PNG), read "
        "from a temporary folder that the system has in memory: the disk is not measured."
    ]
    columns = ("an image", "time", "IQR", "time ratio", "images/s")
    return [Table(title, columns, rows, notes)]
