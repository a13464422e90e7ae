"""Features of a frozen encoder, and the truth, encoded once and kept on a disk.

A folder of features holds memory-mapped arrays of half precision, channels last, one row a frame:
the training frames, their mirror images, then the test frames. Encoding goes on after a kill.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from examples.rgbd.data import DataError, RGBDDataset, normalise
from examples.rgbd.data import resize as resize_frame
from examples.rgbd.progress import progress_bar
from examples.study.decoders import arrange
from examples.study.targets import (
    LEARN,
    SCORE,
    depth_edges,
    grid_of,
    label_boundaries,
    mixed_flat_regions,
    target_on,
)

COMPONENTS = 128
"""Each of the two maps is reduced to so many principal components."""

_SETTLING = 8
"""Frames that batch norm of random weights takes its statistics from."""

_SAMPLED = 64
"""Of every frame this many pixels of a map go into its mean, deviation and components."""


class Split(NamedTuple):
    """The truth of the frames of one split on one grid.

    Attributes:
        label: uint8 (N, h, w), 255 = void.
        depth: float32 (N, h, w), levels, 0 = missing.
    """

    label: NDArray[np.uint8]
    depth: NDArray[np.float32]


class Regions(NamedTuple):
    """Where test frames are looked at apart; bool (N, h, w) each."""

    boundary: NDArray[np.bool_]
    depth_edge: NDArray[np.bool_]
    mixed_flat: NDArray[np.bool_]


@dataclass(frozen=True)
class Material:
    """All that the runs of a study are made from.

    Attributes:
        classes: their names.
        train: truth of the training frames on the grid that is learnt from.
        test: truth of the test frames on the finer grid that is scored.
        regions: where the test frames are looked at apart.
        fine: (rows, h, w, channels) float16, map at 1/16; None in stage "finetune".
        coarse: the map at 1/32.
        images: uint8 (rows, H, W, 3), in stage "finetune".
    """

    classes: tuple[str, ...]
    train: Split
    test: Split
    regions: Regions
    fine: NDArray[np.float16] | None = None
    coarse: NDArray[np.float16] | None = None
    images: NDArray[np.uint8] | None = None

    @property
    def class_share(self) -> Tensor:
        """(C,) share of each class in the labelled pixels of the training frames."""
        counts = np.bincount(self.train.label.reshape(-1), minlength=256)[: len(self.classes)]
        return torch.from_numpy(counts / max(counts.sum(), 1))


def frame_at(dataset: RGBDDataset, index: int, size: tuple[int, int]) -> Any:
    """A frame at the size that the encoder sees; labels and depth by nearest."""
    sample = dataset[index]
    return sample if sample.label.shape == size else resize_frame(sample, size)


def read_truth(
    train: RGBDDataset, test: RGBDDataset, size: tuple[int, int], near_far: tuple[float, float]
) -> tuple[Split, Split, Regions]:
    """The truth of both splits, each on its grid."""
    splits = []
    for name, dataset, block in (("train", train, LEARN), ("test", test, SCORE)):
        frames = progress_bar(range(len(dataset)), f"truth of the {name} frames", unit="frame")
        grid = grid_of(size, block)
        targets = []
        for index in frames:
            sample = dataset[index]
            targets.append(target_on(sample.label, sample.depth, near_far, grid))
        splits.append(Split(*(np.stack(each) for each in zip(*targets))))
    masks: list[tuple[Any, ...]] = []
    for label, depth in zip(*map(torch.from_numpy, splits[1])):
        label, depth = label[None].long(), depth[None]
        mixed = mixed_flat_regions(label, depth, len(train.classes))
        masks.append((label_boundaries(label)[0], depth_edges(depth)[0], mixed[0]))
    regions = Regions(*(torch.stack(each).numpy() for each in zip(*masks)))
    return splits[0], splits[1], regions


def rows_of(train: int, test: int) -> Iterator[tuple[str, int, bool]]:
    """(split, number, mirrored) of each row of the features."""
    yield from (("train", index, False) for index in range(train))
    yield from (("train", index, True) for index in range(train))
    yield from (("test", index, False) for index in range(test))


@torch.inference_mode()
def encode(
    folder: Path,
    encoder: Callable[[], nn.Module],
    datasets: dict[str, RGBDDataset],
    size: tuple[int, int],
    identity: dict[str, Any],
) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """The two maps of all rows, from the folder or else encoded into it.

    Args:
        folder: where they are kept.
        encoder: builds what gives four maps of an image (B, 3, H, W), finest first.
        datasets: "train" and "test".
        size: (H, W) that the encoder sees.
        identity: what the features depend on, written down and compared.

    Returns:
        fine and coarse, each reduced to its principal components on the training frames.

    Raises:
        DataError: the folder holds other features.
    """
    folder.mkdir(parents=True, exist_ok=True)
    said = folder / "features.json"
    if said.exists():
        found = json.loads(said.read_text())
        if found != identity:
            raise DataError(
                f"Expected the features of {identity} in {folder}, but found those of {found}: did "
                "you mean another --cache?"
            )
    said.write_text(json.dumps(identity, indent=1))
    reduced = [folder / f"{name}.npy" for name in ("fine", "coarse")]
    if not all(path.exists() for path in reduced):
        raw = _encode_rows(folder, encoder(), datasets, size)
        for path, features in zip(reduced, raw):
            _reduce(path, features, len(datasets["train"]))
        for path in folder.glob("raw-*.npy"):
            path.unlink()
    fine, coarse = (np.load(path, mmap_mode="r") for path in reduced)
    return fine, coarse


def settle(encoder: nn.Module, images: Tensor) -> None:
    """Give batch norm that is not folded the statistics of images (B, 3, H, W).

    Random weights have none: without them the last maps are too small for half precision.
    """
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches since
    encoder.train()(images)


def _encode_rows(
    folder: Path, encoder: nn.Module, datasets: dict[str, RGBDDataset], size: tuple[int, int]
) -> list[NDArray[np.float16]]:
    if any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules()):
        first = range(min(_SETTLING, len(datasets["train"])))
        images = [normalise(frame_at(datasets["train"], index, size).image) for index in first]
        settle(encoder, torch.stack(images))
    encoder = encoder.eval()
    rows = list(rows_of(len(datasets["train"]), len(datasets["test"])))

    def maps_of(row: tuple[str, int, bool]) -> tuple[Tensor, Tensor]:
        split, index, mirrored = row
        image = frame_at(datasets[split], index, size).image
        image = np.ascontiguousarray(image[:, ::-1]) if mirrored else image
        batch = normalise(image)[None].contiguous(memory_format=torch.channels_last)
        return arrange(tuple(encoder(batch)))

    paths = [folder / f"raw-{name}.npy" for name in ("fine", "coarse")]
    shapes = [(len(rows), *each.shape[2:], each.shape[1]) for each in maps_of(rows[0])]
    arrays = [_open(path, np.float16, shape) for path, shape in zip(paths, shapes)]
    done = _open(folder / "raw-done.npy", np.bool_, (len(rows),))
    todo = np.flatnonzero(~done)
    bar = progress_bar(
        todo, "encoding", unit="frame", initial=len(rows) - len(todo), total=len(rows)
    )
    for row in bar:
        for array, features in zip(arrays, maps_of(rows[row])):
            array[row] = features[0].permute(1, 2, 0).half().numpy()
        done[row] = True
    return arrays


def _open(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    """A memory-mapped array; a new one is zero, and has its name only when it is whole."""
    if not path.exists():
        part = path.with_name(f".{path.name}.part")
        np.lib.format.open_memmap(part, "w+", dtype, shape).flush()
        part.rename(path)
    return np.lib.format.open_memmap(path, "r+")


def _reduce(path: Path, features: NDArray[np.float16], train: int) -> None:
    """Standardise the channels and turn them to the principal components of training frames."""
    generator = np.random.default_rng(0)
    pixels = features.shape[1] * features.shape[2]
    drawn = [
        features[row].reshape(pixels, -1)[generator.integers(pixels, size=_SAMPLED)]
        for row in range(train)
    ]
    sample = np.concatenate(drawn).astype(np.float64)
    mean, deviation = sample.mean(0), sample.std(0) + 1e-6
    standard = (sample - mean) / deviation
    values, vectors = np.linalg.eigh(standard.T @ standard / len(standard))
    kept = min(COMPONENTS, len(values))
    turn = vectors[:, ::-1][:, :kept]
    # One scale for all components: the largest ones keep their larger spread.
    matrix = (turn / deviation[:, None] / np.sqrt(values[::-1][:kept].mean())).astype(np.float32)
    offset = (mean @ matrix).astype(np.float32)
    part = path.with_name(f".{path.name}.part")
    reduced = np.lib.format.open_memmap(part, "w+", np.float16, (*features.shape[:3], kept))
    for row in progress_bar(range(len(features)), f"reducing {path.stem}", unit="frame"):
        reduced[row] = features[row].astype(np.float32) @ matrix - offset
    reduced.flush()
    part.rename(path)
