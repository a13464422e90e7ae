"""PSPNet (Zhao et al., CVPR 2017) with depth as a second task (Section IV-G, Table V)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from examples.rgbd.networks.checks import check_encoder, check_positive
from examples.rgbd.networks.encoder import FourScaleEncoder
from examples.rgbd.networks.head import LOG_DEPTH, DepthOutput
from examples.rgbd.networks.layers import conv_norm_relu, upsample
from examples.rgbd.networks.one_map import OneMapNetwork


class PyramidPooling(nn.Module):
    """Average the map over grids of several sizes, reduce, upsample, concatenate with the map.

    Args:
        in_channels: channels of the map that comes in.
        bins: side lengths of the grids. Each adds in_channels // len(bins) channels.
    """

    def __init__(self, in_channels: int, bins: Sequence[int]) -> None:
        super().__init__()
        reduced = in_channels // len(bins)
        self.out_channels = in_channels + reduced * len(bins)
        self.levels = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), _reduce(in_channels, reduced, side))
            for side in bins
        )

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) to (B, out_channels, h, w)."""
        size = (feature.shape[-2], feature.shape[-1])
        return torch.cat([feature, *(upsample(level(feature), size) for level in self.levels)], 1)


def _reduce(in_channels: int, out_channels: int, side: int) -> nn.Module:
    if side > 1:
        return conv_norm_relu(in_channels, out_channels, 1)
    # One value per channel and image: batch norm would see nothing but the batch, and fail for a
    # batch of one.
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.ReLU())


class MultiTaskPSPNet(OneMapNetwork):
    """PSPNet and a 1x1 convolution that predicts log-depth "after the last pooling layer".

    Depth is one 1x1 convolution of what the pyramid pooling returns; the labels have PSPNet's own
    3x3 convolution and classifier. No side outputs, as in Table V, and no auxiliary classifier on
    the third stage, which the paper does not mention.

    Args:
        encoder: any module of the form ``FourScaleEncoder``; only its last map is used. As
            published it has an output stride of 8, see ``ResNetEncoder``.
        num_classes: channels of the logits.
        width: channels of the 3x3 convolution.
        bins: grids of the pyramid.
        depth: the predicted log-depth.
        dropout: share of values dropped before the classifier.
    """

    def __init__(
        self,
        encoder: FourScaleEncoder,
        num_classes: int,
        *,
        width: int = 512,
        bins: Sequence[int] = (1, 2, 3, 6),
        depth: DepthOutput = LOG_DEPTH,
        dropout: float = 0.1,
    ) -> None:
        check_encoder(encoder)
        check_positive(num_classes=num_classes, width=width)
        pyramid = PyramidPooling(encoder.channels[-1], bins)
        super().__init__(
            encoder,
            num_classes,
            pyramid=pyramid,
            channels=pyramid.out_channels,
            segmentation_head=nn.Sequential(
                conv_norm_relu(pyramid.out_channels, width, 3),
                nn.Dropout(dropout),
                nn.Conv2d(width, num_classes, kernel_size=1),
            ),
            depth=depth,
        )
