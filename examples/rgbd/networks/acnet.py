"""ACNet (Hu, Yang, Fei & Wang, ICIP 2019): attention picks what a third encoder gets of two."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from examples.rgbd.networks.base import DenseNetwork, size_of
from examples.rgbd.networks.checks import check_image, check_positive
from examples.rgbd.networks.head import LOG_DEPTH, DepthOutput, LogDepthHead
from examples.rgbd.networks.inputs import InputKind, check_depth
from examples.rgbd.networks.layers import conv_norm_relu, crop
from examples.rgbd.networks.streams import MultiStreamEncoder, stream
from lwm_loss import MultiTaskOutput

DEPTH_MEAN, DEPTH_STD = 2.84245, 0.99328
"""Of NYUDv2 in metres, as published. None were published for SUN RGB-D; these serve there too."""
BLOCKS = (6, 4, 3, 3)
"""Blocks of the decoder's stages, coarsest first."""


class ACNet(DenseNetwork):
    """Three ResNets (RGB, depth and their merge) and a decoder of transposed blocks.

    After the released code (anheidelonghu/ACNet on GitHub). The merge has no stem: it begins with the
    sum of what the attention complementary modules let through of the two stems, and gets as much at
    each stage. The other two never see it. Its 1x1 skips are added after each stage of the decoder.
    Side outputs are 1x1 convolutions of the decoder's stages before the skip, at 1/2, 1/4, 1/8 and
    1/16. The depth stem reads metres, centred by NYUDv2's mean and deviation, with the mean of the RGB
    weights.

    Decisions: maps of odd size are cropped where they meet, so that any size works (the published
    network takes multiples of 32); images are normalised as ImageNet's, not by NYUDv2's own mean; a
    missing depth stays 0 metres; blocks of the decoder begin as their shortcut alone; the side outputs
    have the loss of the paper at hand, not the publication's sum over five scales.

    Args:
        encoder: a ``MultiStreamEncoder`` of three ``ResNetEncoder``, ``rgb``, ``depth`` (of one
            channel) and ``merge`` (without ``embedder``).
        num_classes: channels of the logits.
        input: ``"rgbd"``.
        width: channels at 1/2 and 1/4; 2, 4 and 8 times as many at the coarser levels.
        num_sides: side outputs, from the finest down.
        depth: a 1x1 convolution of the last block (Table V) predicts log-depth.
    """

    inputs: ClassVar[tuple[InputKind, ...]] = ("rgbd",)

    def __init__(
        self,
        encoder: MultiStreamEncoder,
        num_classes: int,
        *,
        input: InputKind = "rgbd",
        width: int = 64,
        num_sides: int = 4,
        depth: DepthOutput = LOG_DEPTH,
    ) -> None:
        super().__init__(encoder, num_classes, depth, input)
        check_positive(width=width)
        if not 0 <= num_sides <= 4:
            raise ValueError(f"Expected `num_sides` to be 0 to 4, but got {num_sides}.")
        self.num_sides = num_sides
        for name in ("rgb", "depth", "merge"):
            if not hasattr(stream(encoder, name), "stages"):
                raise TypeError(f"Expected the stream `{name}` to be a ResNetEncoder.")
        rgb: Any = stream(encoder, "rgb")
        stem = rgb.embedder.embedder.convolution.out_channels
        channels = (stem, *rgb.channels)
        widths = (width, width, 2 * width, 4 * width, 8 * width)  # at 1/2 to 1/32
        self.rgb_attention = nn.ModuleList(ChannelAttention(count) for count in channels)
        self.depth_attention = nn.ModuleList(ChannelAttention(count) for count in channels)
        self.skips = nn.ModuleList(
            conv_norm_relu(*pair, 1) for pair in zip(channels, widths, strict=True)
        )
        self.stages = nn.ModuleList(
            _transposed_stage(coarse, fine, blocks)
            for coarse, fine, blocks in zip(widths[:0:-1], widths[-2::-1], BLOCKS, strict=True)
        )
        self.last = nn.Sequential(*(TransposedBlock(width, width) for _ in range(3)))
        self.segmentation_head = nn.ConvTranspose2d(width, num_classes, 2, 2)
        self.side_heads = nn.ModuleList(
            nn.Conv2d(count, num_classes, 1) for count in widths[:-1][:num_sides]
        )
        if depth.predict_depth:
            self.depth_head = LogDepthHead(width, depth)
        for name, module in self.named_children():
            # By its one output, He's fan would draw the depth head from N(0, sqrt(2)): the
            # prediction would begin several nats off.
            if name not in ("encoder", "depth_head"):
                initialise(module)

    def forward(
        self, image: Tensor, depth: Tensor | None = None, *, side_outputs: bool | None = None
    ) -> MultiTaskOutput:
        """Predict labels and log-depth.

        Args:
            image: (B, 3, H, W), any size from 32 x 32.
            depth: (B, 1, H, W), metres.
            side_outputs: whether to compute the side outputs; ``None`` means in training only.

        Returns:
            ``logits`` (B, num_classes, H, W), ``log_depth`` (B, H, W) or ``None``, and
            ``side_logits``, finest first.
        """
        check_image(image)
        depth = check_depth(depth, image, self.input)
        skips = self._merge(image, (depth - DEPTH_MEAN) / DEPTH_STD)
        feature, stages = skips[-1], []
        for stage, skip in zip(self.stages, skips[-2::-1], strict=True):
            feature = crop(stage(feature), size_of(skip))
            stages.append(feature)
            feature = feature + skip
        feature = self.last(feature)
        sides: tuple[Tensor, ...] = ()
        if self.training if side_outputs is None else side_outputs:
            sides = tuple(
                head(stage) for head, stage in zip(self.side_heads, reversed(stages), strict=False)
            )
        return MultiTaskOutput(
            crop(self.segmentation_head(feature), size_of(image)),
            self.depth_head(feature, size_of(image)) if self.predict_depth else None,
            sides,
        )

    def _merge(self, image: Tensor, depth: Tensor) -> list[Tensor]:
        """Run the three encoders; return the five reduced maps, finest (1/2) first."""
        rgb_encoder: Any = stream(self.encoder, "rgb")
        depth_encoder: Any = stream(self.encoder, "depth")
        merge_encoder: Any = stream(self.encoder, "merge")
        pool = rgb_encoder.embedder.pooler
        rgb = rgb_encoder.embedder.embedder(image)
        depth = depth_encoder.embedder.embedder(depth)
        merged = self.rgb_attention[0](rgb) + self.depth_attention[0](depth)
        skips = [self.skips[0](merged)]
        rgb, depth, merged = pool(rgb), pool(depth), pool(merged)
        for level in range(4):
            rgb = rgb_encoder.stages[level](rgb)
            depth = depth_encoder.stages[level](depth)
            merged = (
                merge_encoder.stages[level](merged)
                + self.rgb_attention[level + 1](rgb)
                + self.depth_attention[level + 1](depth)
            )
            skips.append(self.skips[level + 1](merged))
        return skips


class ChannelAttention(nn.Module):
    """Attention complementary module: weigh each channel by a sigmoid of all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, 1)

    def forward(self, feature: Tensor) -> Tensor:
        weight: Tensor = self.convolution(feature.mean((2, 3), keepdim=True)).sigmoid()
        return feature * weight


class TransposedBlock(nn.Module):
    """3x3, batch norm, ReLU, 3x3, batch norm, added to the input, ReLU.

    Args:
        in_channels: channels in.
        out_channels: channels out.
        upsample: the second convolution and the shortcut are transposed ones of stride 2.
    """

    def __init__(self, in_channels: int, out_channels: int, *, upsample: bool = False) -> None:
        super().__init__()
        second: nn.Module
        shortcut: nn.Module = nn.Identity()
        if upsample:
            second = nn.ConvTranspose2d(
                in_channels, out_channels, 3, 2, padding=1, output_padding=1, bias=False
            )
            shortcut = nn.Sequential(
                nn.ConvTranspose2d(in_channels, out_channels, 2, 2, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        else:
            second = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        last = nn.BatchNorm2d(out_channels)
        nn.init.zeros_(last.weight)  # the block begins as its shortcut alone
        self.residual = nn.Sequential(conv_norm_relu(in_channels, in_channels, 3), second, last)
        self.shortcut = shortcut

    def forward(self, feature: Tensor) -> Tensor:
        return F.relu(self.residual(feature) + self.shortcut(feature))


def _transposed_stage(coarse: int, fine: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(
        *(TransposedBlock(coarse, coarse) for _ in range(blocks - 1)),
        TransposedBlock(coarse, fine, upsample=True),
    )


def initialise(module: nn.Module) -> None:
    """Draw convolutions from N(0, sqrt(2 / (k * k * outputs))), with biases of zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            fan = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels
            nn.init.normal_(layer.weight, std=(2 / fan) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
