"""Where a run computes, and in which precision."""

from __future__ import annotations

import re
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import (
    GradientAccumulationPlugin,
    is_tensorboard_available,
    patch_environment,
)

from examples.rgbd.options.groups import OptionError, TrainConfig
from examples.rgbd.reason import reason_of
from examples.rgbd.run.folder import RunFolder


def check_precision(config: TrainConfig) -> None:
    """Refuse a precision that the device does not have, before anything is read or drawn.

    Raises:
        OptionError: fp16 on a CPU, where accelerate would compute in float32 and say nothing.
    """
    on_cpu = config.run.device == "cpu" or not torch.cuda.is_available()
    if config.optimisation.mixed_precision == "fp16" and on_cpu:
        raise OptionError(
            "Expected a GPU for fp16 mixed precision, but got a CPU: did you mean bf16?"
        )


def pick_device(name: str) -> torch.device:
    """The device that `--device` names: "auto" takes the GPU if there is one.

    Raises:
        OptionError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", name)
    if match is None:
        raise OptionError(f"Expected --device auto, cpu, cuda or cuda:N, but got {name!r}.")
    found = torch.cuda.device_count()
    if name != "cpu" and int(match[1] or 0) >= found:
        raise OptionError(
            f"Expected --device to be one of this machine's {found} GPUs or cpu, but got {name}."
        )
    return torch.device(name)


def accelerator_on(name: str, **options: Any) -> Accelerator:
    """An accelerator on the device that `--device` names.

    Args:
        name: "auto" leaves the choice to accelerate and its launcher.
        **options: of `Accelerator`.
    """
    device = None if name in ("auto", "cpu") else pick_device(name)
    if device is None:
        return Accelerator(cpu=name == "cpu", **options)
    with patch_environment(ACCELERATE_TORCH_DEVICE=str(device)):
        return Accelerator(**options)


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
        accelerator = accelerator_on(
            config.run.device,
            # None leaves the choice to `accelerate launch`.
            mixed_precision=None if options.mixed_precision == "no" else options.mixed_precision,
            gradient_accumulation_plugin=GradientAccumulationPlugin(
                num_steps=options.accumulation, sync_with_dataloader=False
            ),
            log_with="tensorboard" if config.run.tensorboard else None,
            project_dir=str(folder.path),
        )
    except OptionError:  # a sentence already
        raise
    except (ValueError, ImportError) as error:
        reason = reason_of(error)
        raise OptionError(
            f"Expected options that this machine can run, but got: {reason}."
        ) from error
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        # accelerate would compute in float32 and say nothing.
        raise OptionError(
            "Expected a GPU for fp16 mixed precision, but got a CPU: did you mean bf16?"
        )
    return accelerator


def leave_processes(accelerator: Accelerator) -> None:
    """End the process group, once the wrapper that averages gradients has gone.

    DDP that outlives the group holds the last reference to it, and destroys it while holding
    Python's lock, for which the group's own thread may be waiting: neither would ever end
    (https://github.com/pytorch/pytorch/issues/56297).
    """
    accelerator.free_memory()
    accelerator.end_training()
