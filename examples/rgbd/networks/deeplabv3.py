"""DeepLabv3 (Chen et al., 2017) with depth as a second task (Section IV-G, Table V)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from examples.rgbd.networks.checks import check_encoder, check_positive
from examples.rgbd.networks.encoder import FourScaleEncoder
from examples.rgbd.networks.head import LOG_DEPTH, DepthOutput
from examples.rgbd.networks.layers import conv_norm_relu
from examples.rgbd.networks.one_map import OneMapNetwork

RATES_OF_STRIDE = {8: (12, 24, 36), 16: (6, 12, 18)}


class AtrousSpatialPyramidPooling(nn.Module):
    """A 1x1, three dilated 3x3 and one image-level branch, concatenated and projected.

    Args:
        in_channels: channels of the map that comes in.
        width: channels of each branch and of the result.
        rates: dilation of the 3x3 convolutions.
    """

    def __init__(self, in_channels: int, width: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.local = nn.ModuleList(
            [
                conv_norm_relu(in_channels, width, 1),
                *(conv_norm_relu(in_channels, width, 3, dilation=rate) for rate in rates),
            ]
        )
        # One value per channel and image: batch norm would see nothing but the batch, and fail
        # for a batch of one. It is left out here, as in detectron2.
        self.image_level = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, width, 1), nn.ReLU()
        )
        self.project = conv_norm_relu((len(self.local) + 1) * width, width, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) to (B, width, h, w)."""
        branches = [branch(feature) for branch in self.local]
        whole = self.image_level(feature).expand(-1, -1, *feature.shape[-2:])
        projected: Tensor = self.project(torch.cat([*branches, whole], dim=1))
        return projected


class MultiTaskDeepLabV3(OneMapNetwork):
    """DeepLabv3 and a 1x1 convolution that predicts log-depth "after the last pooling layer".

    The last pooling layer is the pyramid (ASPP) with its projection: labels and depth are each one
    1x1 convolution of its result, upsampled to the image. No side outputs, as in Table V.

    Args:
        encoder: any module of the form ``FourScaleEncoder``; only its last map is used. As
            published it has an output stride of 16 (or 8), see ``ResNetEncoder``.
        num_classes: channels of the logits.
        width: channels of the pyramid.
        rates: dilation in the pyramid; ``None`` takes the published rates of the encoder's
            ``output_stride``: (12, 24, 36) at 8, (6, 12, 18) at 16 and above.
        depth: the predicted log-depth.
        dropout: share of values dropped before the last layers.
    """

    def __init__(
        self,
        encoder: FourScaleEncoder,
        num_classes: int,
        *,
        width: int = 256,
        rates: Sequence[int] | None = None,
        depth: DepthOutput = LOG_DEPTH,
        dropout: float = 0.1,
    ) -> None:
        check_encoder(encoder)
        check_positive(num_classes=num_classes, width=width)
        if rates is None:
            rates = RATES_OF_STRIDE.get(getattr(encoder, "output_stride", 16), (6, 12, 18))
        super().__init__(
            encoder,
            num_classes,
            pyramid=AtrousSpatialPyramidPooling(encoder.channels[-1], width, rates),
            channels=width,
            segmentation_head=nn.Conv2d(width, num_classes, kernel_size=1),
            depth=depth,
            dropout=dropout,
        )
