"""After LS-DeconvNet (Cheng et al., CVPR 2017): upsampling that keeps to the edges of RGB-D."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.rgbd.networks.base import DenseNetwork, size_of
from examples.rgbd.networks.checks import check_image
from examples.rgbd.networks.head import LOG_DEPTH, DepthOutput, LogDepthHead
from examples.rgbd.networks.inputs import InputKind, check_depth, three_channels
from examples.rgbd.networks.layers import ceil_div, crop, upsample
from examples.rgbd.networks.streams import stream
from examples.rgbd.networks.vgg import with_fully_connected
from lwm_loss import MultiTaskOutput

STAGES = 3


class LSDeconvNet(DenseNetwork):
    r"""Two FCNs (RGB, and HHA or depth) whose scores are refined by the affinity of raw RGB-D pixels.

    No code was released and the text was not at hand. Known: two VGG-16 streams; locality-sensitive
    unpooling, deconvolution and average pooling by affinities of raw RGB-D pixels; a gated fusion of
    the two prediction maps, :math:`G = \sigma(W [P, P'])`, :math:`G P + (1 - G) P'`.

    Decisions (all else): DeepLab-LargeFOV at an output stride of 8; three stages of doubling; the
    affinity of a pixel and its window's centre, :math:`\exp(-|c_i - c_j|^2 / \sigma_c - (z_i -
    z_j)^2 / \sigma_z)` of the normalised colours c and metres z; windows of 2 x 2 for unpooling,
    whose centre is their mean, and of 5 x 5 for pooling; 3x3 deconvolutions with as many channels as
    classes, a ReLU between stages.

    Args:
        encoder: a ``MultiStreamEncoder`` of two ``VGGEncoder`` of output stride 8 with ``LARGE_FOV``
            layers.
        num_classes: channels of the logits.
        input: what the second stream reads, HHA or inverse depth.
        colour_scale: sigma_c, in squared standard deviations.
        depth_scale: sigma_z, in square metres.
        depth: a 1x1 convolution of the RGB stream (Table V) predicts log-depth.
        dropout: share of values dropped after ``fc6`` and ``fc7``.
    """

    inputs: ClassVar[tuple[InputKind, ...]] = ("rgbd", "rgb-hha")

    def __init__(
        self,
        encoder: Any,
        num_classes: int,
        *,
        input: InputKind = "rgb-hha",
        colour_scale: float = 1.0,
        depth_scale: float = 0.1,
        depth: DepthOutput = LOG_DEPTH,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(encoder, num_classes, depth, input)
        self.colour_scale = colour_scale
        self.depth_scale = depth_scale
        self.dropout = nn.Dropout(dropout)
        channels = with_fully_connected(stream(encoder, "rgb")).out_channels
        self.scores = nn.ModuleDict(
            {name: nn.Conv2d(channels, num_classes, 1) for name in ("rgb", "depth")}
        )
        self.deconvolutions = nn.ModuleDict(
            {
                name: nn.ModuleList(
                    nn.ConvTranspose2d(num_classes, num_classes, 3, padding=1)
                    for _ in range(STAGES)
                )
                for name in ("rgb", "depth")
            }
        )
        self.gate = nn.Conv2d(2 * num_classes, num_classes, 1)
        if depth.predict_depth:
            self.depth_head = LogDepthHead(channels, depth)

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
        seen = {"rgb": image, "depth": three_channels(depth)}
        guides = self._guides(image, depth[:, :1])
        maps, log_depth = [], None
        for name, score in self.scores.items():
            encoder = with_fully_connected(stream(self.encoder, name))
            feature = encoder.fully_connected(encoder(seen[name])[-1], self.dropout)
            if name == "rgb" and self.predict_depth:
                log_depth = self.depth_head(feature, size_of(image))
            maps.append(score(feature))
        maps = self._refine(maps, guides)
        gate = self.gate(torch.cat(maps, 1)).sigmoid()
        return MultiTaskOutput(gate * maps[0] + (1 - gate) * maps[1], log_depth)

    def _guides(self, image: Tensor, depth: Tensor) -> list[Tensor]:
        """Colours and depth, scaled, at 1/4, 1/2 and the full size: (B, 4, h, w)."""
        with torch.no_grad():
            scaled = [image / self.colour_scale**0.5, depth / self.depth_scale**0.5]
            guide = torch.cat(scaled, 1)
            guides = [guide]
            for _ in range(STAGES - 1):
                guides.append(F.avg_pool2d(guides[-1], 2, ceil_mode=True))
        return guides[::-1]

    def _refine(self, scores: list[Tensor], guides: list[Tensor]) -> list[Tensor]:
        """Bring the scores of both streams from 1/8 to the full size."""
        streams: list[Any] = list(self.deconvolutions.values())
        for index, guide in enumerate(guides):
            weights = affinities(guide)
            scores = [
                layers[index](unpool(score, guide))
                for layers, score in zip(streams, scores, strict=True)
            ]
            if index < STAGES - 1:
                scores = [score.relu() for score in scores]
            scores = list(average_pool(torch.cat(scores, 1), weights).chunk(2, 1))
        return scores


def unpool(score: Tensor, guide: Tensor) -> Tensor:
    """Locality-sensitive unpooling: give each pixel of a 2x2 window its share of the window's score.

    Args:
        score: (B, C, h, w).
        guide: (B, G, H, W), twice the size, or one less.

    Returns:
        (B, C, H, W), the score of the window times the affinity with the window's mean.
    """
    height, width = size_of(guide)
    if 2 * score.shape[-2] < height or 2 * score.shape[-1] < width:
        score = upsample(score, (ceil_div(height, 2), ceil_div(width, 2)))
    centre = F.avg_pool2d(guide, 2, ceil_mode=True)

    def spread(coarse: Tensor) -> Tensor:
        return crop(coarse.repeat_interleave(2, -2).repeat_interleave(2, -1), (height, width))

    similarity = (guide - spread(centre)).square().sum(1, keepdim=True).neg().exp()
    return spread(score) * similarity


def affinities(guide: Tensor, size: int = 5) -> Tensor:
    """Affinity of each pixel with those of the window around it, A_i(j) = exp(-|g_i - g_j|^2).

    Args:
        guide: (B, G, H, W).
        size: side length of the window.

    Returns:
        (B, size^2, H, W), row by row; 0 for a pixel outside the map.
    """
    reach = size // 2
    height, width = size_of(guide)
    shown = F.pad(guide, (reach,) * 4)
    inside = F.pad(torch.ones_like(guide[:, :1]), (reach,) * 4)
    gaps, known = [], []
    for tap in range(size**2):
        y, x = divmod(tap, size)
        window = (..., slice(y, y + height), slice(x, x + width))
        gaps.append((shown[window] - guide).square().sum(1, keepdim=True))
        known.append(inside[window])
    return torch.cat(gaps, 1).neg().exp() * torch.cat(known, 1)


def average_pool(score: Tensor, weights: Tensor) -> Tensor:
    """Locality-sensitive average pooling: sum_j A_i(j) x(j) / sum_j A_i(j) over a window.

    Args:
        score: (B, C, H, W).
        weights: affinities (B, size^2, H, W).
    """
    size = math.isqrt(weights.shape[1])
    height, width = size_of(score)
    padded = F.pad(score, (size // 2,) * 4)
    total = torch.zeros((), dtype=score.dtype, device=score.device)
    for tap in range(size**2):
        y, x = divmod(tap, size)
        total = total + padded[..., y : y + height, x : x + width] * weights[:, tap, None]
    return total / weights.sum(1, keepdim=True)
