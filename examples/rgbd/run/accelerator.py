"""Where a run computes, and in which precision."""

from __future__ import annotations

from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin, is_tensorboard_available

from examples.rgbd.options.groups import OptionError, TrainConfig
from examples.rgbd.run.folder import RunFolder


def make_accelerator(config: TrainConfig, folder: RunFolder) -> Accelerator:
    """Where and in which precision to run.

    Raises:
        OptionError: the machine cannot do what the options ask for.
    """
    options = config.optimisation
    if config.run.tensorboard and not is_tensorboard_available():
        # accelerate would log nothing and say nothing.
        raise OptionError(
            "Expected the package tensorboard for --tensorboard, but it is not installed."
        )
    try:
        accelerator = Accelerator(
            cpu=config.run.device == "cpu",
            # None leaves the choice to `accelerate launch`.
            mixed_precision=None if options.mixed_precision == "no" else options.mixed_precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(
                num_steps=options.accumulation, sync_with_dataloader=False
            ),
            log_with="tensorboard" if config.run.tensorboard else None,
            project_dir=str(folder.path),
        )
    except (ValueError, ImportError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise OptionError(
            f"Expected options that this machine can run, but got: {reason}."
        ) from error
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        # accelerate would compute in float32 and say nothing.
        raise OptionError(
            "Expected a GPU for fp16 mixed precision, but got a CPU: did you mean bf16?"
        )
    return accelerator
