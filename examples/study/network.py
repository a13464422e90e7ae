"""The network of a run: decoders on frozen features, or with their encoder; and what it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import lwm_loss as lwm
from examples.rgbd.data import normalise
from examples.study.decoders import Decoders, arrange
from examples.study.features import Material
from examples.study.recipe import Recipe

_AT_ONCE = 4
"""Images that the encoder sees at once: their maps stay in a processor's cache, which makes a step
a quarter cheaper than 16 at once. Without batch norm the gradient is the same."""


class FineTuned(nn.Module):
    """The same decoders with their encoder, end to end.

    Args:
        encoder: four maps of an image; batch norm folded or frozen.
        decoders: `Decoders` for its channels.
        statistics: mean and deviation of the channels of the two arranged maps, as they are at the
            start.
    """

    fine_mean: Tensor
    fine_deviation: Tensor
    coarse_mean: Tensor
    coarse_deviation: Tensor

    def __init__(
        self, encoder: nn.Module, decoders: Decoders, statistics: list[tuple[Tensor, Tensor]]
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoders = decoders
        for name, (mean, deviation) in zip(("fine", "coarse"), statistics):
            self.register_buffer(f"{name}_mean", mean[:, None, None])
            self.register_buffer(f"{name}_deviation", deviation[:, None, None])

    def draw_masks(self, frames: int, generator: torch.Generator) -> Tensor:
        """See `Decoders.draw_masks`."""
        return self.decoders.draw_masks(frames, generator)

    def forward(
        self, image: Tensor, masks: Tensor | None = None, **options: Any
    ) -> lwm.MultiTaskOutput:
        """Predict from images (B, 3, H, W); see `Decoders.forward`."""
        parts = [arrange(self.encoder(each)) for each in image.split(_AT_ONCE)]
        fine, coarse = (torch.cat(maps) for maps in zip(*parts))
        fine = (fine - self.fine_mean) / self.fine_deviation
        coarse = (coarse - self.coarse_mean) / self.coarse_deviation
        output: lwm.MultiTaskOutput = self.decoders(fine, coarse, masks, **options)
        return output


def build_network(
    material: Material, recipe: Recipe, seed: int, encoder: Callable[[], nn.Module] | None
) -> nn.Module:
    """The network of a run; its initial weights depend on the seed alone."""
    classes = len(material.classes)
    if material.images is None:
        if material.fine is None or material.coarse is None:
            raise ValueError("Expected features or images, but got neither.")
        channels = (material.fine.shape[3], material.coarse.shape[3])
        torch.manual_seed(seed)
        return Decoders(channels, classes, recipe.width, recipe.dropout)
    if encoder is None:
        raise ValueError("Expected an encoder for stage 'finetune', but got none.")
    body = encoder().train()
    with torch.no_grad():
        first = arrange(body(images_of(material.images, np.arange(min(64, len(material.images))))))
    statistics = [(each.mean((0, 2, 3)), each.std((0, 2, 3)) + 1e-6) for each in first]
    torch.manual_seed(seed)
    channels = (first[0].shape[1], first[1].shape[1])
    return FineTuned(body, Decoders(channels, classes, recipe.width, recipe.dropout), statistics)


def images_of(images: np.ndarray[Any, Any], rows: np.ndarray[Any, Any]) -> Tensor:
    """Normalised images (B, 3, H, W), channels last in memory."""
    batch = torch.stack([normalise(image) for image in images[rows]])
    return batch.contiguous(memory_format=torch.channels_last)


def inputs_of(material: Material, rows: np.ndarray[Any, Any]) -> tuple[Tensor, ...]:
    """What the network reads of some rows."""
    if material.images is not None:
        return (images_of(material.images, rows),)
    maps = (material.fine, material.coarse)
    return tuple(
        torch.from_numpy(each[rows]).float().permute(0, 3, 1, 2)
        for each in maps
        if each is not None
    )
