"""PSPNet (Zhao et al., CVPR 2017) with depth as a second task (Section IV-G, Table V)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from examples.rgbd.networks.checks import (
    check_encoder,
    check_image,
    check_norm_can_learn,
    check_positive,
)
from examples.rgbd.networks.encoder import FourScaleEncoder
from examples.rgbd.networks.head import BoundedLogDepth, DepthBound
from examples.rgbd.networks.layers import conv_norm_relu, upsample
from lwm_loss import MultiTaskOutput


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


class MultiTaskPSPNet(nn.Module):
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
        predict_depth: ``False`` leaves depth out; ``log_depth`` is then ``None``.
        depth_range, depth_bound: see ``BoundedLogDepth``.
        dropout: share of values dropped before the classifier.
    """

    num_sides = 0

    def __init__(
        self,
        encoder: FourScaleEncoder,
        num_classes: int,
        *,
        width: int = 512,
        bins: Sequence[int] = (1, 2, 3, 6),
        predict_depth: bool = True,
        depth_range: tuple[float, float] = (1.0, 256.0),
        depth_bound: DepthBound = "clamp",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        check_encoder(encoder)
        check_positive(num_classes=num_classes, width=width)
        self.num_classes = num_classes
        self.predict_depth = predict_depth
        self.encoder = encoder
        self.pyramid = PyramidPooling(encoder.channels[-1], bins)
        self.segmentation_head = nn.Sequential(
            conv_norm_relu(self.pyramid.out_channels, width, 3),
            nn.Dropout(dropout),
            nn.Conv2d(width, num_classes, kernel_size=1),
        )
        if predict_depth:
            self.depth_head = nn.Conv2d(self.pyramid.out_channels, 1, kernel_size=1)
            self.bound_log_depth = BoundedLogDepth(depth_range, depth_bound)

    def forward(self, image: Tensor) -> MultiTaskOutput:
        """Predict labels and log-depth from the image alone.

        Args:
            image: (B, 3, H, W), any size from 32 x 32.

        Returns:
            ``logits`` (B, num_classes, H, W), ``log_depth`` (B, H, W) or ``None``, and no
            ``side_logits``.
        """
        check_image(image)
        coarsest = self.encoder(image)[-1]
        if self.training:
            check_norm_can_learn(coarsest)
        feature = self.pyramid(coarsest)
        size = (image.shape[-2], image.shape[-1])
        return MultiTaskOutput(
            logits=upsample(self.segmentation_head(feature), size),
            log_depth=self.bound_log_depth(upsample(self.depth_head(feature), size))
            if self.predict_depth
            else None,
        )
