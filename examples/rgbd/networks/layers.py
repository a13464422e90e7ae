"""Layers that several networks share."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm_relu(
    in_channels: int, out_channels: int, kernel_size: int, *, dilation: int = 1
) -> nn.Sequential:
    """Convolution without bias that keeps the spatial size, batch norm, ReLU."""
    padding = dilation * (kernel_size // 2)
    return nn.Sequential(
        nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=padding, dilation=dilation, bias=False
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


def upsample(feature: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate (B, C, h, w) bilinearly to (B, C, H, W), corners not aligned."""
    return F.interpolate(feature, tuple(size), mode="bilinear", align_corners=False)


def ceil_div(count: int, size: int) -> int:
    """Divide and round up. Not by -(-count // size): ONNX rounds what is below 0 towards 0."""
    return (count + size - 1) // size


def crop(feature: Tensor, size: Sequence[int]) -> Tensor:
    """Cut (B, C, h, w) at its bottom and right to (B, C, H, W); H <= h and W <= w.

    By a padding below 0: torch.export would hold a slice to the sizes of its example where they meet.
    """
    height, width = size
    return F.pad(feature, (0, width - feature.shape[-1], 0, height - feature.shape[-2]))


class Bottleneck(nn.Module):
    """1x1 to a quarter of the channels, 3x3, 1x1, batch norm after each, added to the input.

    It begins as its shortcut alone: the weight of the last batch norm is 0 (Goyal et al., 2017). A long
    chain of them, as in TRL, otherwise begins with a gradient a thousand times as long as it need be.

    Args:
        in_channels: channels in; projected by a 1x1 convolution if they are not those out.
        channels: channels out.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        inner = max(channels // 4, 1)
        self.residual = nn.Sequential(
            conv_norm_relu(in_channels, inner, 1),
            conv_norm_relu(inner, inner, 3),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = (
            nn.Identity()
            if in_channels == channels
            else nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels)
            )
        )

        nn.init.zeros_(self.residual[-1].weight)  # type: ignore[arg-type]

    def forward(self, feature: Tensor) -> Tensor:
        return F.relu(self.residual(feature) + self.shortcut(feature))
