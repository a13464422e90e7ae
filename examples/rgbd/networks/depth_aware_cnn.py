"""Depth-aware CNN (Wang & Neumann, ECCV 2018): DeepLab whose windows respect depth."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.rgbd.networks.base import DenseNetwork, mean_of_streams, size_of
from examples.rgbd.networks.checks import check_image
from examples.rgbd.networks.depth_aware import ALPHA, depth_aware_avg_pool2d, depth_aware_conv2d
from examples.rgbd.networks.encoder import ResNetEncoder
from examples.rgbd.networks.head import LOG_DEPTH, DepthOutput, LogDepthHead
from examples.rgbd.networks.inputs import InputKind, check_depth, three_channels
from examples.rgbd.networks.streams import stream
from examples.rgbd.networks.vgg import VGGEncoder, with_fully_connected
from lwm_loss import MultiTaskOutput


class DepthAwareCNN(DenseNetwork):
    """DeepLab at an output stride of 8, guided by depth.

    On VGG-16, after the released code (laughtervv/DepthAwareCNN on GitHub): pools of 3x3, the last two
    of stride 1; depth-aware are the first convolution of each block, ``fc6`` (3x3, dilation 12, 1024)
    and the average pooling after the last pool; depth follows by 3x3 average pooling of stride 2. The
    head concatenates ``fc7`` with its global mean. ``"rgb-hha"`` is two such networks whose scores are
    averaged, both guided by the same depth. ``alpha`` is for depth in metres.

    Decisions: no padded pixel enters the pooled depth; a missing depth stays 0, as published. On a
    ResNet (no such network was released): depth-aware are the first 3x3 convolution of each stage
    and the average pooling after the last, and the head is the same without ``fc6`` and ``fc7``.

    Args:
        encoder: a ``VGGEncoder`` of output stride 8 and pool size 3 with ``LARGE_FOV`` layers, or a
            ``ResNetEncoder`` of output stride 8; for ``"rgb-hha"`` a ``MultiStreamEncoder`` of two.
        num_classes: channels of the logits.
        input: what the network reads.
        alpha: how fast the weight fades, in 1 / metre.
        depth: a 1x1 convolution of the map before the classifier (Table V) predicts log-depth.
        dropout: share of values dropped after ``fc6`` and ``fc7``; the global mean has 0.3.
    """

    inputs: ClassVar[tuple[InputKind, ...]] = ("rgbd", "rgb-hha")

    def __init__(
        self,
        encoder: Any,
        num_classes: int,
        *,
        input: InputKind = "rgbd",
        alpha: float = ALPHA,
        depth: DepthOutput = LOG_DEPTH,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(encoder, num_classes, depth, input)
        if not alpha >= 0:
            raise ValueError(f"Expected `alpha` to be at least 0, but got {alpha}.")
        self.alpha = alpha
        names = ("rgb", "depth") if input == "rgb-hha" else ("rgb",)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict(
            {
                name: ContextHead(_channels(stream(encoder, name)), num_classes, depth)
                for name in names
            }
        )

    def forward(self, image: Tensor, depth: Tensor | None = None) -> MultiTaskOutput:
        """Predict labels and log-depth.

        Args:
            image: (B, 3, H, W), any size from 32 x 32.
            depth: (B, 1, H, W) metres, or (B, 4, H, W) metres and HHA.

        Returns:
            ``logits`` (B, num_classes, H, W) and ``log_depth`` (B, H, W) or ``None``.
        """
        check_image(image)
        depth = check_depth(depth, image, self.input)
        seen = {"rgb": image}
        if "depth" in self.heads:
            seen["depth"] = three_channels(depth)
        metres = depth[:, :1]
        outputs = []
        for name, head in self.heads.items():
            encoder = stream(self.encoder, name)
            features = self._vgg if isinstance(encoder, VGGEncoder) else self._resnet
            outputs.append(head(features(encoder, seen[name], metres)))
        return mean_of_streams(outputs, size_of(image))

    def _conv(self, layer: nn.Conv2d, feature: Tensor, depth: Tensor) -> Tensor:
        """Run a convolution of the encoder as a depth-aware one."""
        return depth_aware_conv2d(
            feature,
            depth,
            layer.weight,
            layer.bias,
            stride=layer.stride[0],
            padding=int(layer.padding[0]),
            dilation=layer.dilation[0],
            alpha=self.alpha,
        )

    def _vgg(self, encoder: Any, image: Tensor, depth: Tensor) -> Tensor:
        feature = image
        for index, (first, *others) in enumerate(encoder.blocks):
            feature = self._conv(first, feature, depth).relu()
            for layer in others:
                feature = layer(feature).relu()
            feature = encoder.pool(feature, index)
            if index < 3:
                depth = halve(depth)
        feature = depth_aware_avg_pool2d(feature, depth, alpha=self.alpha)
        feature = self.dropout(self._conv(encoder.fc6, feature, depth).relu())
        dropped: Tensor = self.dropout(encoder.fc7(feature).relu())
        return dropped

    def _resnet(self, encoder: Any, image: Tensor, depth: Tensor) -> Tensor:
        feature = encoder.embedder(image)
        depth = halve(halve(depth))
        for stage in encoder.stages:
            first, *others = stage.layers
            residual = first.shortcut(feature)
            guided = False
            for layer in first.layer:
                kernel = layer.convolution
                if kernel.kernel_size == (3, 3) and not guided:
                    feature = self._conv(kernel, feature, depth)
                    guided = True
                else:
                    feature = kernel(feature)
                feature = layer.activation(layer.normalization(feature))
            feature = first.activation(feature + residual)
            for block in others:
                feature = block(feature)
            if feature.shape[-2:] != depth.shape[-2:]:
                depth = halve(depth)
        return depth_aware_avg_pool2d(feature, depth, alpha=self.alpha)


class ContextHead(nn.Module):
    """Concatenate a map with its global mean; one 1x1 convolution for each task."""

    def __init__(self, channels: int, num_classes: int, depth: DepthOutput) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.3)
        self.score = nn.Conv2d(2 * channels, num_classes, 1)
        self.depth_head = LogDepthHead(2 * channels, depth) if depth.predict_depth else None

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map (B, channels, h, w) to scores (B, num_classes, h, w) and log-depth (B, h, w)."""
        whole = self.dropout(feature.mean((2, 3), keepdim=True)).expand_as(feature)
        feature = torch.cat([feature, whole], dim=1)
        return self.score(feature), None if self.depth_head is None else self.depth_head(feature)


def halve(depth: Tensor) -> Tensor:
    """Average-pool depth (B, 1, H, W) by 3x3 at a stride of 2, within the map; sizes round up."""
    return F.avg_pool2d(depth, 3, 2, padding=1, count_include_pad=False)


def _channels(encoder: nn.Module) -> int:
    if isinstance(encoder, ResNetEncoder):
        return encoder.channels[-1]
    return with_fully_connected(encoder, "a ResNetEncoder or ").out_channels
