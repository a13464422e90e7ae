"""Which frames are held out, in which order the others come, and how they are put together."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from examples.rgbd.data import DataError, FrameTensors, RGBDDataset, Sample
from examples.rgbd.options.groups import OptionError
from examples.rgbd.progress import progress_bar

_RUN = 10


def split_holdout(length: int, share: float) -> tuple[list[int], list[int]]:
    """Indices to train on and indices to hold out.

    Whole runs of (up to ten) consecutive frames are held out, spread evenly over the split: in
    NYUDv2 neighbours show the same room, so single frames would tell too much about each other.
    The choice depends on nothing but the two numbers, so that runs with different seeds compare.
    """
    run = max(1, min(_RUN, int(length * share)))
    train: list[int] = []
    held: list[int] = []
    for index in range(length):
        block = index // run
        chosen = math.floor((block + 1) * share) > math.floor(block * share)
        (held if chosen else train).append(index)
    if share > 0 and not held:
        held.append(train.pop())
    return train, held


class StepSampler(Sampler[list[int]]):
    """The parts of each step's batch that one process works through.

    The order of an epoch depends on (seed, epoch) alone. A step takes the next `batch_size`
    frames, whichever way they are divided among processes and accumulated parts: that is why
    this is not left to accelerate's own sharding. Frames that do not fill a batch are left for
    another epoch.

    Args:
        length: number of frames.
        batch_size: frames a step.
        parts: parts a process splits its share into.
        seed: of the order.
        process: this process.
        processes: number of processes.

    Raises:
        OptionError: the batch cannot be divided, or there are too few frames for one.
    """

    def __init__(
        self, length: int, batch_size: int, *, parts: int = 1, seed: int = 0,
        process: int = 0, processes: int = 1,
    ) -> None:  # fmt: skip
        if batch_size % (parts * processes):
            raise OptionError(
                f"Expected --batch-size to be a multiple of {processes} processes x {parts} "
                f"accumulated parts, but got {batch_size}."
            )
        if length < batch_size:
            raise OptionError(
                f"Expected at least {batch_size} frames to train on, one batch, but got {length}: "
                "did you mean a smaller --batch-size or --holdout?"
            )
        self.length = length
        self.batch_size = batch_size
        self.parts = parts
        self.seed = seed
        self.process = process
        self.processes = processes
        self.epoch = 0
        self.first_step = 0

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.length // self.batch_size

    def start(self, epoch: int, first_step: int = 0) -> None:
        """Choose the epoch, and the step to begin with, of the next pass."""
        self.epoch = epoch
        self.first_step = first_step

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        # Two numbers make one seed; any pair of epochs or seeds that people use stays distinct.
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.length, generator=generator).tolist()
        size = self.batch_size // (self.parts * self.processes)
        for step in range(self.first_step, self.steps):
            first = step * self.batch_size + self.process * self.parts * size
            for part in range(self.parts):
                yield order[first + part * size : first + (part + 1) * size]


class Guarded(Dataset[Any]):
    """Hands a `DataError` over as an item: a worker would raise it wrapped in a traceback."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except DataError as error:
            return error


def _unguard(items: Any) -> Any:
    if isinstance(items, DataError):
        raise items
    return items


def collate(frames: Sequence[FrameTensors | DataError]) -> FrameTensors | DataError:
    """Stack frames of one size into a batch; the first error among them goes before."""
    for frame in frames:
        if isinstance(frame, DataError):
            return frame
    return stack(frames)  # type: ignore[arg-type]


def stack(frames: Sequence[FrameTensors]) -> FrameTensors:
    """Stack frames of one size into a batch."""
    batch: FrameTensors = default_collate(list(frames))
    return batch


class Ragged(list[FrameTensors]):
    """Frames for evaluation: their images have one size, their labels each their own."""

    def images(self) -> Tensor:
        """All images, (B, 3, H, W)."""
        return torch.stack([frame.image for frame in self])


def collate_ragged(frames: Sequence[FrameTensors | DataError]) -> Ragged | DataError:
    """Keep frames apart; the first error among them goes before."""
    for frame in frames:
        if isinstance(frame, DataError):
            return frame
    return Ragged(frames)  # type: ignore[arg-type]


def as_it_is(frame: Any) -> Any:
    """Leave a frame that is read alone (`batch_size=None`) as numpy arrays."""
    return frame


def _leave_interrupts_to_the_parent(worker: int) -> None:
    """A terminal interrupts all processes at once, but it is for one of them to end the run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def loader(
    dataset: Dataset[Any], *, workers: int, pin: bool = False, passes: bool = False, **options: Any
) -> DataLoader[Any]:
    """A data loader that leaves the global random state alone; read it through `batches`.

    Args:
        dataset: the frames.
        workers: processes that read.
        pin: memory that a GPU can copy from.
        passes: it is read many times over. Its workers then stay, and are ended by a destructor,
            where Python would swallow an interrupt.
        **options: of `DataLoader`.
    """
    return DataLoader(
        Guarded(dataset),
        num_workers=workers,
        persistent_workers=passes and workers > 0,
        worker_init_fn=_leave_interrupts_to_the_parent,
        pin_memory=pin,
        # torch draws a seed for the workers at each pass. Taken from the global generator, it
        # would differ between a run and the same run resumed.
        generator=torch.Generator(),
        **options,
    )


def batches(source: DataLoader[Any]) -> Iterator[Any]:
    """What a loader yields.

    Raises:
        DataError: what a worker found wrong with a file.
    """
    for items in source:
        yield _unguard(items)


class Preloaded(RGBDDataset):
    """A data set that is drawn once and kept in memory: for generated rooms.

    Args:
        dataset: the frames.
        workers: processes to draw with.
        label: of the progress bar, or None for none.
    """

    def __init__(self, dataset: RGBDDataset, workers: int, label: str | None = None) -> None:
        self.classes = dataset.classes
        self.palette = dataset.palette
        self.depth_limits = dataset.depth_limits
        drawn = loader(dataset, workers=workers, batch_size=None, collate_fn=as_it_is)
        self._frames: list[Sample] = list(
            progress_bar(
                batches(drawn), label, total=len(dataset), unit="room", disable=label is None
            )
        )

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Sample:
        return self._frames[index]
