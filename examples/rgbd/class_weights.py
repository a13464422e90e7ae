"""Class weights of the cross-entropy: from the label counts of the training frames, or from a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import Subset

from examples.rgbd.data import VOID, Sample, void_of
from examples.rgbd.data.loading import as_it_is, batches, loader
from examples.rgbd.options.groups import COUNTED_WEIGHTS, OptionError
from examples.rgbd.progress import progress_bar

Frames = Sequence[Sample] | Subset[Any]


class LabelCounts(NamedTuple):
    """How often each class occurs.

    Attributes:
        pixels: int64 (C,), the pixels of each class.
        beside: int64 (C,), the labelled pixels of all frames in which the class occurs.
    """

    pixels: Tensor
    beside: Tensor


def count_labels(
    frames: Frames,
    num_classes: int,
    *,
    accelerator: Accelerator | None = None,
    workers: int = 0,
    progress: bool = False,
) -> LabelCounts:
    """Count the labels of all frames in one pass, as they are stored: neither resized nor varied.

    Args:
        frames: the training frames.
        num_classes: C.
        accelerator: its processes divide the frames among themselves; None reads all here.
        workers: processes that read, for each of them.
        progress: show a bar.
    """
    first, step = (0, 1)
    if accelerator is not None:
        first, step = accelerator.process_index, accelerator.num_processes
    mine = Subset(frames, range(first, len(frames), step))  # type: ignore[arg-type]
    source = loader(mine, workers=workers, batch_size=None, collate_fn=as_it_is)
    counts = torch.zeros(2, num_classes, dtype=torch.int64)
    for sample in progress_bar(
        batches(source), "counting labels", total=len(mine), unit="frame", disable=not progress
    ):
        labels = torch.from_numpy(sample.label[sample.label != void_of(sample.label)].astype(int))
        pixels = labels.bincount(minlength=num_classes)
        counts += torch.stack([pixels, torch.where(pixels > 0, pixels.sum(), 0)])
    if accelerator is not None:
        counts = accelerator.reduce(counts.to(accelerator.device), "sum").cpu()
    return LabelCounts(*counts)


def median_frequency(counts: LabelCounts) -> Tensor:
    """Median frequency balancing (Eigen and Fergus, 2015): the median frequency over the class's.

    The frequency of a class is its share of the labelled pixels of the frames in which it occurs.
    A class that never occurs has the weight 1.
    """
    frequency = counts.pixels.double() / counts.beside.clamp(min=1)
    present = counts.pixels > 0
    median = frequency[present].quantile(0.5)
    return torch.where(present, median / frequency, 1.0)


def inverse_sqrt(counts: LabelCounts) -> Tensor:
    """One over the square root of a class's share of all labelled pixels, 1 in the mean.

    The mean is that over the classes that occur. A class that never occurs has the weight 1.
    """
    present = counts.pixels > 0
    weight = torch.where(present, counts.pixels, 1).double().rsqrt()
    return torch.where(present, weight / weight[present].mean(), 1.0)


def weight_of_labels(label: Tensor, weight: Tensor | None) -> Tensor:
    """Add up the class weights of the labelled pixels; without any, count the pixels.

    Args:
        label: int64, ``VOID`` = void.
        weight: (C,), or None.
    """
    labelled = label != VOID
    if weight is None:
        return labelled.sum()
    return weight[label.masked_fill(~labelled, 0)].masked_fill(~labelled, 0).sum()


def given_weights(option: str) -> Tensor | None:
    """Read the file that `--class-weights` names: numbers between blanks, lines or commas.

    Returns:
        float64, one for each number; None if the option names no file.

    Raises:
        OptionError: it cannot be read, or what it holds cannot be weights.
    """
    if option == "none" or option in COUNTED_WEIGHTS:
        return None
    path = Path(option)
    try:
        words = path.read_text(encoding="utf-8-sig").replace(",", " ").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        names = ", ".join(("none", *COUNTED_WEIGHTS))
        raise OptionError(
            f"Expected --class-weights as {names} or a text file of numbers, but got {path}, which "
            f"cannot be read: {reason}."
        ) from None
    weights = []
    for word in words:
        try:
            weight = float(word)
        except ValueError:
            raise OptionError(
                f"Expected numbers in {path} for --class-weights, but got {word!r:.40}: "
                "did you mean one number for each class, without names?"
            ) from None
        if not (math.isfinite(weight) and weight >= 0):
            raise OptionError(
                f"Expected --class-weights in {path} to be finite and at least 0, but got {word}."
            )
        weights.append(weight)
    if not any(weights):
        got = "nothing but 0" if weights else "an empty file"
        raise OptionError(f"Expected --class-weights above 0 in {path}, but got {got}.")
    return torch.tensor(weights, dtype=torch.float64)


def class_weights(
    option: str,
    frames: Frames,
    num_classes: int,
    *,
    accelerator: Accelerator | None = None,
    workers: int = 0,
    progress: bool = False,
) -> Tensor | None:
    """Find the weights that `--class-weights` asks for.

    Args:
        option: of the command line.
        frames: the training frames, see `count_labels`, as the other arguments.
        num_classes: C.
        accelerator: see there.
        workers: see there.
        progress: see there.

    Returns:
        float32 (C,), or None for none.

    Raises:
        OptionError: a file does not have one usable weight for each class, or no pixel is labelled.
    """
    if option == "none":
        return None
    given = given_weights(option)
    if given is not None:
        if len(given) != num_classes:
            raise OptionError(
                f"Expected --class-weights with one number for each of the {num_classes} classes, "
                f"but got {len(given)} in {option}."
            )
        return given.float()
    counts = count_labels(
        frames, num_classes, accelerator=accelerator, workers=workers, progress=progress
    )
    if not counts.pixels.any():
        raise OptionError(
            f"Expected labelled pixels for --class-weights {option}, but the training frames have "
            "none."
        )
    weigh = {"median-frequency": median_frequency, "inverse-sqrt": inverse_sqrt}[option]
    return weigh(counts).float()
