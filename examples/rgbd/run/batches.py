"""The batches that a run is trained on, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator

from accelerate import Accelerator

from examples.rgbd.data import Augmented, FrameTensors
from examples.rgbd.data.loading import StepSampler, batches, collate, loader
from examples.rgbd.options.groups import TrainConfig
from examples.rgbd.splits import Frames


class TrainingBatches:
    """Draws frames in the order of an epoch, varies them and stacks them, for one process.

    Args:
        config: all options.
        frames: the data.
        accelerator: tells which process this is, and of how many.

    Raises:
        OptionError: the batch cannot be divided, or there are too few frames for one.
    """

    def __init__(self, config: TrainConfig, frames: Frames, accelerator: Accelerator) -> None:
        options, seed = config.optimisation, config.run.seed
        self._augmented = Augmented(
            frames.train, config.data.image_size, seed, config.augmentation, frames.metric
        )
        self._sampler = StepSampler(
            len(frames.train),
            options.batch_size,
            parts=options.accumulation,
            seed=seed,
            process=accelerator.process_index,
            processes=accelerator.num_processes,
        )
        self._loader = loader(
            self._augmented,
            workers=config.data.workers,
            pin=accelerator.device.type == "cuda",
            passes=True,
            batch_sampler=self._sampler,
            collate_fn=collate,
        )

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self._sampler.steps

    def of_epoch(self, epoch: int, first_step: int = 0) -> Iterator[FrameTensors]:
        """Yield the parts of the steps of an epoch, from a step on.

        Raises:
            DataError: a frame cannot be used.
        """
        self._augmented.set_epoch(epoch)
        self._sampler.start(epoch, first_step)
        yield from batches(self._loader)
