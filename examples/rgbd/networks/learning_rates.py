"""Learning rates for the encoder and for what is built upon it."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameter_groups(
    network: nn.Module, learning_rate: float, *, encoder_factor: float = 1.0
) -> list[dict[str, Any]]:
    """Split the trainable parameters of a network into an encoder and a decoder group.

    Args:
        network: a module with an attribute ``encoder``, such as every network of this package.
        learning_rate: of the decoder group.
        encoder_factor: the encoder's learning rate is this times ``learning_rate``. The paper has
            one rate for all, hence 1; RefineNet was trained with 0.1.

    Returns:
        Two groups for a torch optimizer, each with ``name``, ``lr`` and ``params``; parameters
        without gradient, such as those of a frozen batch norm, are left out.

    Raises:
        TypeError: the network has no module ``encoder``.
        ValueError: a factor below 0.
    """
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise TypeError(
            f"Expected a network with a module `encoder`, but got {type(network).__name__} without "
            "one: is it wrapped, as in `network.module`?"
        )
    if encoder_factor < 0:
        raise ValueError(f"Expected `encoder_factor` to be at least 0, but got {encoder_factor}.")
    in_encoder = {id(parameter) for parameter in encoder.parameters()}
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return [
        {
            "name": "encoder",
            "lr": learning_rate * encoder_factor,
            "params": [parameter for parameter in trainable if id(parameter) in in_encoder],
        },
        {
            "name": "decoder",
            "lr": learning_rate,
            "params": [parameter for parameter in trainable if id(parameter) not in in_encoder],
        },
    ]
