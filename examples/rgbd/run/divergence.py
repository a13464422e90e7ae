"""Whether a run has left the finite numbers: at which step, by which term, and what helps."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from examples.rgbd.options.groups import OptionError, TrainConfig
from examples.rgbd.report.text import TERMS

_NAMES = {
    "segmentation": "L_s",
    "depth": "L_d",
    "hard": "L_h",
    "sides": "the side outputs' loss",
    "normals": "the loss of the normals",
    "loss": "the whole loss",
}


class TrainingError(OptionError):
    """Training that cannot go on, told in one sentence."""


class Divergence:
    """Remember the first step at which each term of the loss was not finite.

    It is kept on the device and read only when it is asked for, so that a GPU never waits.

    Args:
        device: where the terms are.
    """

    def __init__(self, device: torch.device) -> None:
        self._first = torch.zeros(len(TERMS), dtype=torch.float64, device=device)
        self._value = torch.zeros_like(self._first)

    def watch(self, terms: Tensor, step: int) -> None:
        """Look at the terms of a step, in the order of `TERMS`; steps count from 1."""
        new = ~terms.isfinite() & (self._first == 0)
        self._first.masked_fill_(new, step)
        self._value = torch.where(new, terms, self._value)

    def describe(self, network: nn.Module) -> str | None:
        """Say which term left first and when, or that weights did; None if all is finite."""
        first, value = (dict(zip(TERMS, each.tolist())) for each in (self._first, self._value))
        left = [name for name in _NAMES if first[name]]
        if left:
            term = min(left, key=lambda name: first[name])
            return f"{_NAMES[term]} left first and is {value[term]} at step {first[term]:.0f}"
        weights = [each for each in network.parameters() if each.is_floating_point()]
        whole = torch.stack([each.detach().isfinite().all() for each in weights]).all()
        return None if bool(whole) else "the weights are not finite after the last step"

    def check(self, network: nn.Module, config: TrainConfig, epoch: int, kept: Path | None) -> None:
        """Refuse to go on with terms or weights that are not finite; ``kept`` holds earlier ones.

        Raises:
            TrainingError: a term or a weight is not finite.
        """
        diverged = self.describe(network)
        if diverged is None:
            return
        untouched = "" if kept is None else f"; what {kept} holds from before is untouched"
        raise TrainingError(
            f"Expected a finite loss, but {diverged} in epoch {epoch}{untouched}: did you mean "
            f"{remedy(config)}?"
        )


def remedy(config: TrainConfig) -> str:
    """The option that helps most."""
    options = config.optimisation
    if options.clip_norm == 0:
        return "--clip-norm 1, which bounds a step whatever the gradient"
    if config.network.depth_bound == "none":
        return "--depth-bound clamp"
    if options.mixed_precision == "fp16":
        return "--mixed-precision bf16, which has the range of float32"
    return f"a lower --lr, such as {options.lr / 10:g}"
