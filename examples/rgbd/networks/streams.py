"""Encoders of several inputs in one module, so that all of them learn at the encoder's rate."""

from __future__ import annotations

import torch
from torch import nn


class MultiStreamEncoder(nn.Module):
    """Encoders that read different inputs, by name.

    Args:
        **streams: ``rgb`` reads the image and ``depth`` reads depth or HHA; a network may have more.
            All have the same channels.

    Raises:
        TypeError: no stream ``rgb``, or streams of different channels.
    """

    channels: tuple[int, int, int, int]

    def __init__(self, **streams: nn.Module) -> None:
        super().__init__()
        channels = {name: getattr(each, "channels", None) for name, each in streams.items()}
        if "rgb" not in streams or len(set(channels.values())) != 1:
            raise TypeError(
                f"Expected a stream `rgb` and others of the same channels, but got {channels}."
            )
        for name, each in streams.items():
            self.add_module(name, each)
        self.channels = channels["rgb"]  # type: ignore[assignment]


def stream(encoder: nn.Module, name: str) -> nn.Module:
    """The stream ``name`` of an encoder; an encoder of one input is its own stream ``rgb``.

    Raises:
        TypeError: there is none.
    """
    if name == "rgb" and not isinstance(encoder, MultiStreamEncoder):
        return encoder
    found = dict(encoder.named_children()).get(name)
    if not isinstance(encoder, MultiStreamEncoder) or found is None:
        raise TypeError(
            f"Expected `encoder` to be a MultiStreamEncoder with a stream `{name}` for a network "
            f"that reads depth, but got {type(encoder).__name__}."
        )
    return found


def change_stem(encoder: nn.Module, channels: int) -> None:
    """Make an encoder of RGB images read ``channels`` channels, in place.

    Each channel beyond the three of RGB, or the only one, gets the mean of the RGB weights, as in
    ACNet and in the early fusion of FCN.

    Args:
        encoder: its first convolution is the stem.
        channels: 1, 3, or more than 3.
    """
    if channels == 3:
        return
    stem = next(module for module in encoder.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        mean = stem.weight.mean(1, keepdim=True)
        kept = [stem.weight] if channels > 3 else []
        weight = torch.cat([*kept, *[mean] * (channels - 3 if kept else channels)], dim=1)
    stem.weight = nn.Parameter(weight.contiguous())
    stem.in_channels = channels
    for module in encoder.modules():
        if getattr(module, "num_channels", None) == 3:  # the check of transformers' encoders
            module.num_channels = channels  # type: ignore[assignment]
