"""The second input of an RGB-D network: depth in metres, or depth and HHA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

InputKind = Literal["rgb", "rgbd", "rgb-hha"]
"""What a network reads: the image alone, with it depth in metres, or depth and HHA."""

HHA_MEAN = (132.431, 94.076, 118.477)
"""Means of disparity, height and angle over NYUDv2, as published with FCN and RDFNet."""
HHA_SCALE = 58.0
"""Divides HHA. ImageNet's mean standard deviation in 8-bit levels: the published networks are fine-
tuned from Caffe weights, which want raw levels; those of torch want unit variance."""


def check_depth(depth: Tensor | None, image: Tensor, kind: InputKind) -> Tensor:
    """Return ``depth`` as (B, 1, H, W) metres, or (B, 4, H, W) metres and HHA.

    Args:
        depth: (B, H, W) or (B, 1, H, W) for ``"rgbd"``; (B, 4, H, W), metres in front of the three
            channels of HHA, for ``"rgb-hha"``. Missing depth is 0.
        image: (B, 3, H, W).
        kind: what the network reads.

    Raises:
        ValueError: no depth, or another shape.
        TypeError: depth that is not floating point.
    """
    channels = 4 if kind == "rgb-hha" else 1
    batch, _, height, width = image.shape
    wanted = f"({batch}, {channels}, {height}, {width})"
    what = "metres and the three channels of HHA" if channels == 4 else "metres"
    if depth is None:
        raise ValueError(
            f"Expected `depth` as {wanted}, {what}, for a network that reads {kind}, but got none: "
            "did you mean network(image, depth)?"
        )
    if depth.ndim == 3 and channels == 1:
        depth = depth.unsqueeze(1)
    if tuple(depth.shape) != (batch, channels, height, width):
        raise ValueError(
            f"Expected `depth` as {wanted}, {what}, for a network that reads {kind}, but got "
            f"{tuple(depth.shape)}."
        )
    if not depth.is_floating_point():
        raise TypeError(f"Expected `depth` in floating-point metres, but got {depth.dtype}.")
    return depth.to(image.dtype)


def normalise_hha(depth: Tensor) -> Tensor:
    """Take the normalised HHA (B, 3, H, W) from metres and HHA (B, 4, H, W); 0 where missing."""
    mean = depth.new_tensor(HHA_MEAN).view(3, 1, 1)
    return torch.where(depth[:, :1] > 0, (depth[:, 1:] - mean) / HHA_SCALE, 0)


def inverse_depth(depth: Tensor) -> Tensor:
    """(150 / metres - 66.38) / 58 of (B, 1, H, W), three times; 0 where depth is missing."""
    known = depth > 0
    value = (150 / torch.where(known, depth, 1) - 66.38) / HHA_SCALE
    return torch.where(known, value, 0).expand(-1, 3, -1, -1)


def three_channels(depth: Tensor) -> Tensor:
    """What an encoder of three channels reads of the second input, (B, 3, H, W).

    Args:
        depth: (B, 1, H, W) metres, read as inverse depth; or (B, 4, H, W) metres and HHA, read as HHA.
    """
    return normalise_hha(depth) if depth.shape[1] == 4 else inverse_depth(depth)


def second_input(
    network: nn.Module, metres: Tensor, geometry: Mapping[str, Tensor]
) -> Tensor | None:
    """Put together what a network reads beside the image.

    Args:
        network: of this package, or any that reads images alone.
        metres: depth (B, H, W), 0 = missing.
        geometry: maps of the depth by kind; ``"hha"`` (B, 3, H, W) for a network that reads it.

    Returns:
        ``None``, (B, 1, H, W) metres, or (B, 4, H, W) metres and HHA.

    Raises:
        ValueError: the network reads HHA, and there is none.
    """
    if not reads_depth(network):
        return None
    if network.input != "rgb-hha":
        return metres[:, None]
    if "hha" not in geometry:
        raise ValueError(
            "Expected HHA beside depth for a network that reads rgb-hha, but the frames have none: "
            "were they opened without it?"
        )
    return torch.cat([metres[:, None], geometry["hha"].to(metres)], dim=1)


def reads_depth(network: nn.Module) -> bool:
    """Whether a network has depth as a second input."""
    return getattr(network, "input", "rgb") != "rgb"


def run_network(network: nn.Module, image: Tensor, depth: Tensor | None = None) -> Any:
    """Run a network on what it reads.

    Args:
        network: of this package, or any that reads images alone.
        image: (B, 3, H, W).
        depth: see ``second_input``; not read by a network of images.
    """
    if depth is None or not reads_depth(network):
        return network(image)
    return network(image, depth)


class DepthFromImage(nn.Module):
    """Adapt an RGB-D network to callers that have images alone, such as ``check_backbone``.

    The depth that the network reads is made from the image: a plausible scene of 1 to 5 metres,
    further away where the image is darker, missing nowhere. It serves the checks of a network's
    contract (shapes, independence of the batch, gradients, copies), not predictions.

    Args:
        network: a network with an attribute ``input``.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Any:
        """Run the network on ``image`` (B, 3, H, W) and the depth made from it."""
        with torch.no_grad():
            depth = 1 + 4 * torch.sigmoid(-image.mean(1, keepdim=True))
            if self.network.input == "rgb-hha":
                mean = image.new_tensor(HHA_MEAN).view(3, 1, 1)
                depth = torch.cat([depth, mean + HHA_SCALE * image], dim=1)
        return self.network(image, depth)
