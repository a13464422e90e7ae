"""RefineNet's decoder (Lin et al., CVPR 2017), block by block, after the released network.

No batch norm anywhere. Convolutions have no bias but the first of each residual unit, as released.
The light-weight RefineNet is the same network with 1x1 kernels and no residual units, so the kernel
size and the numbers of units are part of the shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from examples.rgbd.networks.checks import check_positive

RELEASED_STD = 0.01
RELEASED_INPUTS = 256 * 3 * 3

Initialisation = Literal["normal", "scaled"]


@dataclass(frozen=True)
class DecoderShape:
    """Describe a RefineNet decoder. The defaults are those of the released networks.

    Attributes:
        width: channels of the blocks at 1/4, 1/8 and 1/16. A small run can be narrow.
        top_width: channels of the block at 1/32; ``None`` means twice the width, as released.
        kernel_size: of all convolutions outside the residual units.
        adapt_units: residual units of a block after the reduction.
        output_units: residual units at the end of a block.
        pooling_links: length of the pooling chain: 2 in the RefineNet paper, 4 as released.
        pool_first: pool before the convolution (the paper), or after it (the "improved" order of
            the released training code).
        resize: how a coarse map is brought to the size of the finer one; RDFNet has "bicubic".
        initialisation: see ``initialise_convolutions``: ``"normal"`` as released, ``"scaled"`` for
            a narrow decoder.

    Raises:
        ValueError: a width below 1.
    """

    width: int = 256
    top_width: int | None = None
    kernel_size: int = 3
    adapt_units: int = 2
    output_units: int = 3
    pooling_links: int = 4
    pool_first: bool = True
    resize: Literal["bilinear", "bicubic"] = "bilinear"
    initialisation: Initialisation = "normal"

    def __post_init__(self) -> None:
        check_positive(width=self.width, top_width=self.channels[-1])

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of the four blocks, finest first."""
        top_width = 2 * self.width if self.top_width is None else self.top_width
        return (self.width, self.width, self.width, top_width)


RELEASED_DECODER = DecoderShape()
"""The decoder of the released RefineNet."""


def convolution(
    in_channels: int, out_channels: int, kernel_size: int = 3, *, bias: bool = False
) -> nn.Conv2d:
    """A convolution of odd kernel size that keeps the spatial size."""
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, bias=bias)


class ResidualConvUnit(nn.Module):
    """ReLU, 3x3, ReLU, 3x3, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels, bias=True)
        self.second = convolution(channels, channels)

    def forward(self, feature: Tensor) -> Tensor:
        residual: Tensor = self.second(F.relu(self.first(F.relu(feature))))
        return feature + residual


class ChainedResidualPooling(nn.Module):
    """ReLU, then a chain of 5x5 max-pooling (stride 1) and convolution; all links are summed.

    Args:
        channels: channels in and out.
        shape: its ``pooling_links``, ``pool_first`` and ``kernel_size`` are used.
    """

    def __init__(self, channels: int, shape: DecoderShape) -> None:
        super().__init__()
        self.pool_first = shape.pool_first
        self.convolutions = nn.ModuleList(
            convolution(channels, channels, shape.kernel_size) for _ in range(shape.pooling_links)
        )

    def forward(self, feature: Tensor) -> Tensor:
        link = total = F.relu(feature)
        for conv in self.convolutions:
            link = conv(max_pool(link)) if self.pool_first else max_pool(conv(link))
            total = total + link
        return total


def max_pool(feature: Tensor) -> Tensor:
    """Max-pool over 5x5 at a stride of 1."""
    return F.max_pool2d(feature, kernel_size=5, stride=1, padding=2)


class MultiResolutionFusion(nn.Module):
    """One convolution a path, upsampling to the finest path, sum."""

    def __init__(self, channels: int, coarse_channels: int, shape: DecoderShape) -> None:
        super().__init__()
        self.resize = shape.resize
        self.fine = convolution(channels, channels, shape.kernel_size)
        self.coarse = convolution(coarse_channels, channels, shape.kernel_size)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        upsampled = F.interpolate(
            self.coarse(coarse), size=fine.shape[-2:], mode=self.resize, align_corners=False
        )
        fused: Tensor = self.fine(fine) + upsampled
        return fused


class RefineNetBlock(nn.Module):
    """Reduce, adapt, fuse with the coarser block, chained residual pooling, output units.

    Args:
        in_channels: channels of the encoder's map; ``None`` for a map that has the block's width
            already and is not reduced.
        channels: width of the block.
        coarser_channels: width of the coarser block, or ``None`` for the coarsest, which fuses
            nothing.
        shape: kernel sizes, units and pooling.
    """

    def __init__(
        self,
        in_channels: int | None,
        channels: int,
        coarser_channels: int | None,
        shape: DecoderShape,
    ) -> None:
        super().__init__()
        self.reduce = (
            nn.Identity()
            if in_channels is None
            else convolution(in_channels, channels, shape.kernel_size)
        )
        self.adapt = residual_units(channels, shape.adapt_units)
        self.fuse = (
            None
            if coarser_channels is None
            else MultiResolutionFusion(channels, coarser_channels, shape)
        )
        self.pool = ChainedResidualPooling(channels, shape)
        self.output = residual_units(channels, shape.output_units)

    def forward(self, feature: Tensor, coarser: Tensor | None = None) -> Tensor:
        """Refine the encoder's map (B, in_channels, h, w) to (B, channels, h, w)."""
        feature = self.adapt(self.reduce(feature))
        if self.fuse is not None:
            feature = self.fuse(feature, coarser)
        refined: Tensor = self.output(self.pool(feature))
        return refined


def residual_units(channels: int, count: int) -> nn.Sequential:
    """``count`` residual units, one after the other."""
    return nn.Sequential(*(ResidualConvUnit(channels) for _ in range(count)))


class RefineNetDecoder(nn.Module):
    """Four RefineNet blocks, from the coarsest map to the finest.

    Args:
        in_channels: channels of the encoder's maps, finest first; ``None`` for a map that has its
            block's width already.
        shape: of the blocks.
    """

    def __init__(self, in_channels: Sequence[int | None], shape: DecoderShape) -> None:
        super().__init__()
        self.channels = shape.channels
        coarser_channels = (*self.channels[1:], None)
        self.blocks = nn.ModuleList(
            RefineNetBlock(*block_channels, shape)
            for block_channels in zip(in_channels, self.channels, coarser_channels, strict=True)
        )
        initialise_convolutions(self, shape.initialisation)

    def forward(
        self,
        features: Sequence[Tensor],
        added: Sequence[Tensor] | None = None,
        *,
        feed_onward: bool = True,
    ) -> list[Tensor]:
        """Return the outputs of the four blocks, finest first.

        Args:
            features: the encoder's maps, finest first.
            added: one map for each block, of its output's shape, to be added to its output.
            feed_onward: the next finer block is fed the sum; otherwise its own branch's output
                alone. Without ``added`` there is no difference.
        """
        outputs: list[Tensor] = []
        coarser = None
        for level in reversed(range(len(self.blocks))):
            output = self.blocks[level](features[level], coarser)
            total = output if added is None else output + added[level]
            coarser = total if feed_onward else output
            outputs.append(total)
        return outputs[::-1]


def initialise_convolutions(module: nn.Module, initialisation: Initialisation) -> None:
    """Draw the weights of all convolutions in ``module`` anew; biases become zero.

    Args:
        module: its convolutions are changed in place.
        initialisation: ``"normal"`` draws from N(0, 0.01), as RefineNet does, whose 3x3
            convolutions of 256 channels have 2,304 inputs. In a narrow decoder the same numbers
            let the signal fade; ``"scaled"`` gives a convolution with n inputs the standard
            deviation 0.01 * sqrt(2304 / n), which has the effect of RefineNet's at any width.
            (He's sqrt(2 / n) is too much: without batch norm the chained pooling blows it up.)

    Raises:
        ValueError: an unknown initialisation.
    """
    if initialisation not in ("normal", "scaled"):
        raise ValueError(
            f"Expected `initialisation` to be 'normal' or 'scaled', but got {initialisation!r}."
        )
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            inputs = layer.weight[0].numel()
            scale = 1.0 if initialisation == "normal" else math.sqrt(RELEASED_INPUTS / inputs)
            nn.init.normal_(layer.weight, std=RELEASED_STD * scale)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
