"""After CFN (Lin et al., ICCV 2017): branches for near and far, with context of their own size."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.rgbd.networks.base import DenseNetwork, size_of
from examples.rgbd.networks.checks import check_image
from examples.rgbd.networks.encoder import FourScaleEncoder
from examples.rgbd.networks.head import LOG_DEPTH, DepthOutput, LogDepthHead
from examples.rgbd.networks.inputs import InputKind, check_depth
from examples.rgbd.networks.layers import upsample
from examples.rgbd.networks.refinenet import RELEASED_DECODER, DecoderShape, RefineNetDecoder
from examples.rgbd.networks.superpixels import Superpixels, superpixels
from lwm_loss import MultiTaskOutput


class CFN(DenseNetwork):
    """RefineNet, then a cascade of branches; the depth of a pixel says whose scores it gets.

    No code was released, the text was not at hand, and the facts are few: of all networks here this
    one is the furthest from its source. Known: RGB alone goes through the encoder; depth splits the
    image into layers of similar scene resolution, one branch each; a context-aware receptive field
    gathers features by super-pixel and from adjacent super-pixels by learnt weights; a branch passes
    its features on to the next; RefineNet-152 for the published figures.

    Decisions (all else): three branches, of the image's own range of log-depth in equal parts, the
    nearest with the coarsest super-pixels; the cascade from far to near on RefineNet's finest map;
    super-pixels of colour, depth and place made within the network by a few steps of local k-means,
    whose grid makes "adjacent" a 3x3 convolution; a pixel without depth goes to the middle branch.

    Args:
        encoder: any module of the form ``FourScaleEncoder``.
        num_classes: channels of the logits.
        input: ``"rgbd"``.
        decoder: shape of the decoder.
        cells: side lengths of the super-pixels' cells, in pixels of the map at 1/4, from the
            farthest branch to the nearest.
        depth: a 1x1 convolution of the decoder's finest map (Table V) predicts log-depth.
        dropout: share of values dropped from the encoder's two coarsest maps.
    """

    inputs: ClassVar[tuple[InputKind, ...]] = ("rgbd",)

    def __init__(
        self,
        encoder: FourScaleEncoder,
        num_classes: int,
        *,
        input: InputKind = "rgbd",
        decoder: DecoderShape = RELEASED_DECODER,
        cells: tuple[int, ...] = (4, 6, 8),
        depth: DepthOutput = LOG_DEPTH,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(encoder, num_classes, depth, input)
        if not cells or min(cells) < 1:
            raise ValueError(f"Expected `cells` to be sizes of at least 1, but got {cells}.")
        self.cells = tuple(cells)
        self.dropout = nn.Dropout(dropout)
        self.decoder = RefineNetDecoder(encoder.channels, decoder)
        self.contexts = nn.ModuleList(ContextField(decoder.width) for _ in cells)
        self.heads = nn.ModuleList(nn.Conv2d(decoder.width, num_classes, 1) for _ in cells)
        if depth.predict_depth:
            self.depth_head = LogDepthHead(decoder.width, depth)

    def forward(self, image: Tensor, depth: Tensor | None = None) -> MultiTaskOutput:
        """Predict labels and log-depth.

        Args:
            image: (B, 3, H, W), any size from 32 x 32.
            depth: (B, 1, H, W), metres.

        Returns:
            ``logits`` (B, num_classes, H, W) and ``log_depth`` (B, H, W) or ``None``.
        """
        check_image(image)
        depth = check_depth(depth, image, self.input)
        finest, finer, coarser, coarsest = self.encoder(image)
        maps = (finest, finer, self.dropout(coarser), self.dropout(coarsest))
        base = self.decoder(maps)[0]
        size = size_of(image)
        small = size_of(base)
        with torch.no_grad():
            layers = depth_layers(depth, len(self.cells))
            guide = torch.cat(
                [
                    F.interpolate(image, small, mode="area"),
                    F.interpolate(depth, small, mode="area"),
                ],
                dim=1,
            )
        logits, passed = None, base
        for index, (cell, context, head) in enumerate(
            zip(self.cells, self.contexts, self.heads, strict=True)
        ):
            passed = passed + context(base, superpixels(guide, cell))
            part = upsample(head(passed), size) * (layers == index).to(base.dtype)
            logits = part if logits is None else logits + part
        assert logits is not None  # there is at least one branch
        return MultiTaskOutput(logits, self.depth_head(base, size) if self.predict_depth else None)


class ContextField(nn.Module):
    """Context-aware receptive field: mean within a super-pixel, mixed with the adjacent ones'."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.adjacent = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, feature: Tensor, pixels: Superpixels) -> Tensor:
        """Map (B, C, h, w) to (B, C, h, w), the same value throughout a super-pixel."""
        mixed: Tensor = F.relu(self.adjacent(pixels.mean(feature)))
        return pixels.spread(mixed)


def depth_layers(depth: Tensor, count: int) -> Tensor:
    """Divide the range of an image's log-depth into equal layers.

    Args:
        depth: (B, 1, H, W), metres, 0 = missing.
        count: number of layers.

    Returns:
        int64 (B, 1, H, W): 0 for the farthest, count - 1 for the nearest, count // 2 where depth is
        missing.
    """
    known = depth > 0
    logs = torch.where(known, depth, 1).log()
    low = torch.where(known, logs, torch.inf).amin((1, 2, 3), keepdim=True)
    high = torch.where(known, logs, -torch.inf).amax((1, 2, 3), keepdim=True)
    nearness = (high - logs) / (high - low).clamp(min=1e-6)
    nearness = torch.where(known, nearness, 0.5)
    return (nearness * count).long().clamp(0, count - 1)
