"""RDFNet (Park, Hong & Lee, ICCV 2017): RefineNet on RGB and depth features, fused level by level."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from examples.rgbd.networks.base import DenseNetwork, size_of
from examples.rgbd.networks.checks import check_image
from examples.rgbd.networks.head import LOG_DEPTH, DepthOutput, LogDepthHead
from examples.rgbd.networks.inputs import InputKind, check_depth, three_channels
from examples.rgbd.networks.layers import upsample
from examples.rgbd.networks.refinenet import (
    DecoderShape,
    RefineNetDecoder,
    convolution,
    initialise_convolutions,
    max_pool,
    residual_units,
)
from examples.rgbd.networks.streams import stream
from lwm_loss import MultiTaskOutput

RDFNET_DECODER = DecoderShape(pooling_links=2, resize="bicubic")
"""Blocks of two pooling links; the coarse map is resized bicubically."""


class RDFNet(DenseNetwork):
    """Two encoders, a multi-modal fusion block for each of four levels, a RefineNet decoder.

    After the released networks (SeongjinPark/RDFNet on GitHub): fusion blocks of dropout 0.5, 1x1
    convolution, two residual units and a 3x3 convolution for each modality, then one link of residual
    pooling; blocks whose input is not reduced; at the end dropout 0.5 and one 1x1 convolution at 1/4.
    With ``"rgb-hha"`` the second encoder reads HHA. With ``"rgbd"`` it reads the published depth-only
    variant, 150 / metres - 66.38 on three channels (a missing depth reads as its mean, 0).

    RDFNet P of the paper's Table I, "remove its depth input": ``forward(image)`` without depth runs
    the RGB half of each fusion block; ``input="rgb"`` builds that half alone. RDFNet PD is fed with
    a predicted depth in place of a measured one.

    Decisions: ResNet v1.5 in place of Caffe's; images normalised as its weights want it, HHA and
    inverse depth divided by 58; logits are upsampled to the image (the published loss is at 1/4).

    Args:
        encoder: any module of the form ``FourScaleEncoder``; a ``MultiStreamEncoder`` of two unless
            the input is ``"rgb"``.
        num_classes: channels of the logits.
        input: what the network reads.
        decoder: shape of the blocks; its widths are also those of the fusion blocks.
        depth: a 1x1 convolution of the finest block (Table V) predicts log-depth.
        dropout: share of values dropped before each fusion block and before the classifier.
    """

    inputs: ClassVar[tuple[InputKind, ...]] = ("rgb", "rgbd", "rgb-hha")

    def __init__(
        self,
        encoder: Any,
        num_classes: int,
        *,
        input: InputKind = "rgb-hha",
        decoder: DecoderShape = RDFNET_DECODER,
        depth: DepthOutput = LOG_DEPTH,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(encoder, num_classes, depth, input)
        if input != "rgb":
            stream(encoder, "depth")
        self.fusions = nn.ModuleList(
            MultiModalFusion(inputs, width, dropout, with_depth=input != "rgb")
            for inputs, width in zip(encoder.channels, decoder.channels, strict=True)
        )
        initialise_convolutions(self.fusions, decoder.initialisation)
        self.decoder = RefineNetDecoder([None] * 4, decoder)
        self.dropout = nn.Dropout(dropout)
        self.segmentation_head = nn.Conv2d(decoder.width, num_classes, 1)
        initialise_convolutions(self.segmentation_head, "normal")
        if depth.predict_depth:
            self.depth_head = LogDepthHead(decoder.width, depth)

    def forward(self, image: Tensor, depth: Tensor | None = None) -> MultiTaskOutput:
        """Predict labels and log-depth.

        Args:
            image: (B, 3, H, W), any size from 32 x 32.
            depth: (B, 1, H, W) metres, or (B, 4, H, W) metres and HHA; ``None`` runs the RGB half.

        Returns:
            ``logits`` (B, num_classes, H, W) and ``log_depth`` (B, H, W) or ``None``.
        """
        check_image(image)
        maps = stream(self.encoder, "rgb")(image)
        depth_maps = [None] * len(maps)
        if depth is not None and self.input != "rgb":
            depth = check_depth(depth, image, self.input)
            depth_maps = stream(self.encoder, "depth")(three_channels(depth))
        fused = [
            fusion(*pair) for fusion, *pair in zip(self.fusions, maps, depth_maps, strict=True)
        ]
        finest = self.dropout(self.decoder(fused)[0])
        size = size_of(image)
        return MultiTaskOutput(
            upsample(self.segmentation_head(finest), size),
            self.depth_head(finest, size) if self.predict_depth else None,
        )


class MultiModalFusion(nn.Module):
    """Adapt each modality, sum, and add one link of residual pooling.

    Args:
        in_channels: channels of both encoders' maps.
        channels: channels of the result.
        dropout: share of values dropped from each map.
        with_depth: False builds the RGB path alone.
    """

    def __init__(
        self, in_channels: int, channels: int, dropout: float, *, with_depth: bool = True
    ) -> None:
        super().__init__()

        def path() -> nn.Sequential:
            return nn.Sequential(
                nn.Dropout(dropout),
                convolution(in_channels, channels, 1),
                residual_units(channels, 2),
                convolution(channels, channels),
            )

        self.rgb = path()
        self.depth = path() if with_depth else None
        self.pooled = convolution(channels, channels)

    def forward(self, rgb: Tensor, depth: Tensor | None = None) -> Tensor:
        """Fuse (B, in_channels, h, w), and as much of depth, to (B, channels, h, w)."""
        total = self.rgb(rgb)
        if depth is not None and self.depth is not None:
            total = total + self.depth(depth)
        total = F.relu(total)
        fused: Tensor = total + self.pooled(max_pool(total))
        return fused
