"""The small network of the study: two decoders on four levels, the paper's Fig. 3 in little."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lwm_loss as lwm

NUM_LEVELS = 4
LOG_RANGE = math.log(256.0)
_SHUFFLE = 2


def arrange(maps: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Four maps of an encoder, 1/4 to 1/32, on two grids, without losing what lies in them.

    Returns:
        The map at 1/16, with blocks of 2x2 of the map at 1/8 (and of the one at 1/4, averaged
        to it) as further channels; and the map at 1/32.
    """
    quarter, eighth, sixteenth, last = maps
    fine = torch.cat(
        [F.adaptive_avg_pool2d(quarter, (eighth.shape[2], eighth.shape[3])), eighth], 1
    )
    return torch.cat([F.pixel_unshuffle(fine, _SHUFFLE), sixteenth], 1), last


class Block(nn.Module):
    """x + pointwise(ReLU(depthwise 3x3(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.pointwise = nn.Conv2d(width, width, 1)

    def forward(self, feature: Tensor) -> Tensor:
        mixed: Tensor = self.pointwise(F.relu(self.depthwise(feature)))
        return feature + mixed


class Head(nn.Module):
    """A 1x1 convolution to each of the 2x2 points within a pixel of the finest level.

    What the four have in common is learnt in each step, whatever point it learns from; what sets
    a point apart starts at 0.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.common = nn.Conv2d(width, channels, 1)
        self.apart = nn.Parameter(torch.zeros(channels, _SHUFFLE**2, width))

    def forward(self, feature: Tensor, part: tuple[int, int] | None) -> Tensor:
        """All points (B, channels, 2h, 2w), or those of one part, (B, channels, h, w)."""
        weight, bias = self.common.weight[:, None, :, 0, 0] + self.apart, self.common.bias
        if part is not None:
            chosen = weight[:, part[0] * _SHUFFLE + part[1], :, None, None]
            return F.conv2d(feature, chosen, bias).contiguous()
        bias = None if bias is None else bias.repeat_interleave(_SHUFFLE**2)
        points = F.conv2d(feature, weight.flatten(0, 1)[..., None, None], bias)
        # Made contiguous first: the backward of the shuffle is twice as fast as from channels last.
        return F.pixel_shuffle(points.contiguous(), _SHUFFLE)


class Decoders(nn.Module):
    """A segmentation and a depth decoder, four levels each, coarsest first.

    A 1x1 adapter for each level is shared by both decoders. A level of a decoder is the adapted
    map plus the coarser level, upsampled, then ReLU and a `Block`. Each level of the depth decoder
    is added to the same level of the segmentation decoder and fed onward (section III-A). Scores
    and log-depth have twice the size of the finest level. Each level has a side output, a 1x1
    convolution.

    Args:
        channels: of the finest map (1/16), and of the last one (1/32), which is pooled twice for
            the two coarsest levels.
        num_classes: C.
        width: channels of the decoders.
        dropout: probability that a channel of a level is dropped, in training.
    """

    def __init__(
        self, channels: tuple[int, int], num_classes: int, width: int = 48, dropout: float = 0.1
    ) -> None:
        super().__init__()
        fine, coarse = channels
        self.width = width
        self.dropout = dropout
        self.adapters = nn.ModuleList(
            nn.Conv2d(each, width, 1) for each in (coarse, coarse, coarse, fine)
        )
        self.segmentation = nn.ModuleList(Block(width) for _ in range(NUM_LEVELS))
        self.depth = nn.ModuleList(Block(width) for _ in range(NUM_LEVELS))
        self.scores = Head(width, num_classes)
        self.log_depth = Head(width, 1)
        self.sides = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for _ in range(NUM_LEVELS))

    def draw_masks(self, frames: int, generator: torch.Generator) -> Tensor:
        """Dropout's factors for a batch, (levels, B, width, 1, 1): arms of a seed share them."""
        shape = (NUM_LEVELS, frames, self.width, 1, 1)
        kept = torch.rand(shape, generator=generator) >= self.dropout
        return kept.float() / (1 - self.dropout)

    def forward(
        self,
        fine: Tensor,
        coarse: Tensor,
        masks: Tensor | None = None,
        *,
        with_depth: bool = True,
        detach_depth: bool = False,
        with_sides: bool = False,
        part: tuple[int, int] | None = None,
    ) -> lwm.MultiTaskOutput:
        """Predict.

        Args:
            fine: (B, channels[0], h, w).
            coarse: (B, channels[1], about h/2, about w/2).
            masks: of `draw_masks`; None drops nothing.
            with_depth: whether there is a depth decoder at all.
            detach_depth: the depth decoder learns from L_d alone and L_d teaches nothing else.
            with_sides: whether to give the side outputs.
            part: (row, column) of the one point of each block of 2x2 points that is predicted, for
                a step that learns from these alone: (B, C, h, w); None predicts all.

        Returns:
            Scores (B, C, 2h, 2w), log-depth (B, 2h, 2w) in [0, log 256] or None, and the side
            outputs, finest first.
        """
        half = F.avg_pool2d(coarse, 2, ceil_mode=True)
        maps = (F.avg_pool2d(half, 2, ceil_mode=True), half, coarse, fine)
        adapted = [adapter(each) for adapter, each in zip(self.adapters, maps)]
        if masks is not None:
            adapted = [each * mask for each, mask in zip(adapted, masks)]
        log_depth, added = None, None
        if with_depth:
            seen = [each.detach() for each in adapted] if detach_depth else adapted
            levels = _decode(self.depth, seen, None)
            log_depth = self.log_depth(levels[-1], part)[:, 0]
            log_depth = torch.sigmoid(log_depth) * LOG_RANGE
            added = [each.detach() for each in levels] if detach_depth else levels
        levels = _decode(self.segmentation, adapted, added)
        logits = self.scores(levels[-1], part)
        sides: tuple[Tensor, ...] = ()
        if with_sides:
            sides = tuple(side(level) for side, level in zip(self.sides, levels))[::-1]
        return lwm.MultiTaskOutput(logits, log_depth, sides)


def _decode(blocks: nn.ModuleList, maps: list[Tensor], added: list[Tensor] | None) -> list[Tensor]:
    """The levels of a decoder, coarsest first."""
    levels: list[Tensor] = []
    for level, (block, feature) in enumerate(zip(blocks, maps)):
        if levels:
            feature = feature + F.interpolate(levels[-1], size=feature.shape[2:], mode="bilinear")
        feature = block(F.relu(feature))
        levels.append(feature if added is None else feature + added[level])
    return levels
