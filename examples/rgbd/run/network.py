"""The network that a run begins with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.utils.data import Subset

from examples.rgbd.data import Sample
from examples.rgbd.model import build_model, load_weights_of
from examples.rgbd.networks import BoundedLogDepth
from examples.rgbd.options.groups import TrainConfig
from examples.rgbd.run.trained import load_weights
from examples.rgbd.splits import Frames, mean_log_depth


def first_network(config: TrainConfig, frames: Frames, *, quiet: bool) -> nn.Module:
    """Build the network of a new run, from the weights that its options name.

    Args:
        config: all options.
        frames: the data; depth starts at their mean.
        quiet: do not say where the weights came from.
    """
    network = build_model(config.network, config.objective, len(frames.classes))
    start_depth_at_its_mean(network, frames.train, frames.limits)
    if config.network.weights_from is not None:
        path, stored = load_weights(config.network.weights_from)
        surplus = load_weights_of(network, stored, path)
        if not quiet:
            left = f", {len(surplus)} of its weights have no place" if surplus else ""
            print(f"weights    from {path}{left}")
    return network


def start_depth_at_its_mean(
    network: nn.Module, frames: Sequence[Sample] | Subset[Any], limits: tuple[float, float]
) -> None:
    """Let the depth output begin at the mean log-depth of the frames, if it is within its bounds.

    A wrong first guess is an error that all pixels share: the steepest way of all.
    """
    outputs = [each for each in network.modules() if isinstance(each, BoundedLogDepth)]
    mean = mean_log_depth(frames, limits) if outputs else None
    for output in outputs:
        if mean is not None and output.log_low < mean < output.log_high:
            output.start_at(mean)
