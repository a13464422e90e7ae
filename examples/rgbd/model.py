"""The network that an objective needs, and the learning rates of its parts."""

from __future__ import annotations

from typing import Any

from torch import nn

from examples.rgbd.config import NetworkOptions, ObjectiveOptions, OptimisationOptions, OptionError
from examples.rgbd.networks.encoder import ResNetEncoder
from examples.rgbd.networks.multitask import MultiTaskRefineNet
from examples.rgbd.objective import ARMS, NUM_SIDES


def build_model(
    options: NetworkOptions, objective: ObjectiveOptions, num_classes: int
) -> nn.Module:
    """The network, with depth branch and side outputs only where the objective has such terms.

    Raises:
        OptionError: an unknown name, or weights that cannot be loaded.
    """
    arm = ARMS[objective.objective]
    frozen = options.pretrained is not None if options.freeze_norm is None else options.freeze_norm
    try:
        return MultiTaskRefineNet(
            ResNetEncoder(options.backbone, pretrained=options.pretrained, freeze_norm=frozen),
            num_classes,
            width=options.width,
            num_sides=NUM_SIDES if arm.sides else 0,
            predict_depth=arm.depth,
            dropout=options.dropout,
            initialisation=options.initialisation,
            sum_features=options.sum_features,
        )
    except ValueError as error:
        raise OptionError(str(error)) from error


def parameter_groups(network: nn.Module, options: OptimisationOptions) -> list[dict[str, Any]]:
    """The encoder's parameters and all others, each with its learning rate; frozen ones left out."""
    encoder = [p for p in network.encoder.parameters() if p.requires_grad]
    known = {id(parameter) for parameter in encoder}
    others = [p for p in network.parameters() if p.requires_grad and id(p) not in known]
    return [
        {"params": encoder, "lr": options.lr * options.encoder_lr_factor},
        {"params": others, "lr": options.lr},
    ]
