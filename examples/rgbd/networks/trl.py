"""After TRL (Zhang et al., ECCV 2018): segmentation and depth take turns from coarse to fine."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.rgbd.networks.base import DenseNetwork, size_of
from examples.rgbd.networks.checks import check_image, check_norm_can_learn, check_positive
from examples.rgbd.networks.encoder import FourScaleEncoder
from examples.rgbd.networks.head import LOG_DEPTH, DepthOutput, LogDepthHead
from examples.rgbd.networks.layers import Bottleneck, ceil_div, conv_norm_relu, crop, upsample
from lwm_loss import MultiTaskOutput


class TRL(DenseNetwork):
    r"""Task-recursive learning: at each scale first depth, then segmentation, each from both.

    No code was released. What follows the publication: a ResNet; states of both tasks at 1/16, 1/8, 1/4
    and 1/2, depth first at each; a task-attentional module between the two; an upsampling block of
    parallel convolutions and pixel shuffle; residual blocks; every state predicts. From a reader's
    re-implementation (EEEGUI/SPNet on GitHub) and from memory: the widths (1024 to 128), kernels 1, 3,
    5 and 7 of the upsampling block, two bottlenecks a residual block, the two poolings in the attention
    module.

    Decisions: batch norm everywhere; no dilation of the 3x3 kernel (the re-implementation has 2), and
    one residual block more before the mask of the attention module; bottlenecks begin as their
    shortcut alone; the balance of the attention module is B f_D + (1 - B) f_S (the
    re-implementation multiplies B (1 - B)); only the finest depth is predicted, since the paper at
    hand supervises one. Its side outputs are the segmentation states, so ``num_sides`` is up to 4.
    The published width makes 340 M parameters and needs memory to match; ``width`` scales it.

    Args:
        encoder: any module of the form ``FourScaleEncoder``; the publication has a ResNet-50.
        num_classes: channels of the logits.
        width: channels of the states at 1/16; a half as many at each finer scale. A multiple of 32.
        num_sides: side outputs, from the finest (1/2) down.
        depth: the predicted log-depth. Without ``predict_depth`` the depth states stay, as features.
    """

    def __init__(
        self,
        encoder: FourScaleEncoder,
        num_classes: int,
        *,
        width: int = 1024,
        num_sides: int = 4,
        depth: DepthOutput = LOG_DEPTH,
    ) -> None:
        super().__init__(encoder, num_classes, depth)
        check_positive(width=width)
        if width % 32:
            raise ValueError(f"Expected `width` to be a multiple of 32, but got {width}.")
        if not 0 <= num_sides <= 4:
            raise ValueError(f"Expected `num_sides` to be 0 to 4, but got {num_sides}.")
        self.num_sides = num_sides
        widths = [width, width // 2, width // 4, width // 8]  # at 1/16 to 1/2
        skips = [*encoder.channels[2::-1], 0]
        self.top = ShuffleUp(encoder.channels[3], width)
        self.first_depth = residual_block(width + skips[0], width)
        self.first_segmentation = residual_block(2 * width + skips[0], width)
        self.scales = nn.ModuleList(
            RecursiveScale(*shape) for shape in zip(widths[:-1], widths[1:], skips[1:], strict=True)
        )
        self.segmentation_head = nn.Conv2d(widths[-1], num_classes, 1)
        self.side_heads = nn.ModuleList(
            nn.Conv2d(count, num_classes, 1) for count in widths[::-1][1:num_sides]
        )
        if depth.predict_depth:
            self.depth_head = LogDepthHead(widths[-1], depth)

    def forward(self, image: Tensor, *, side_outputs: bool | None = None) -> MultiTaskOutput:
        """Predict labels and log-depth from the image alone.

        Args:
            image: (B, 3, H, W), any size from 32 x 32.
            side_outputs: whether to compute the side outputs; ``None`` means in training only.

        Returns:
            ``logits`` (B, num_classes, H, W), ``log_depth`` (B, H, W) or ``None``, and
            ``side_logits``, finest (1/2) first; the first are the logits before they are upsampled.
        """
        check_image(image)
        maps = self.encoder(image)
        if self.training:
            check_norm_can_learn(maps[-1])
        skip = maps[2]
        top = self.top(maps[3], size_of(skip))
        depth = self.first_depth(torch.cat([top, skip], 1))
        segmentation = self.first_segmentation(torch.cat([top, depth, skip], 1))
        states = [segmentation]
        height, width = size_of(image)
        for scale, skip in zip(self.scales, (maps[1], maps[0], None), strict=True):
            size = (ceil_div(height, 2), ceil_div(width, 2)) if skip is None else size_of(skip)
            segmentation, depth = scale(segmentation, depth, skip, size)
            states.append(segmentation)
        logits = self.segmentation_head(segmentation)
        sides: tuple[Tensor, ...] = ()
        if (self.training if side_outputs is None else side_outputs) and self.num_sides:
            coarser = zip(self.side_heads, states[-2::-1], strict=False)
            sides = (logits, *(head(state) for head, state in coarser))
        size = size_of(image)
        return MultiTaskOutput(
            upsample(logits, size),
            self.depth_head(depth, size) if self.predict_depth else None,
            sides,
        )


class RecursiveScale(nn.Module):
    """Bring both states to the next finer scale, then update depth, then segmentation.

    Args:
        in_channels: channels of the coarser states.
        channels: channels of the states here.
        skip_channels: channels of the encoder's map at this scale, 0 for none.
    """

    def __init__(self, in_channels: int, channels: int, skip_channels: int) -> None:
        super().__init__()
        self.up_segmentation = ShuffleUp(in_channels, channels)
        self.up_depth = ShuffleUp(in_channels, channels)
        self.attend_depth = TaskAttention(channels)
        self.attend_segmentation = TaskAttention(channels)
        self.depth = residual_block(channels + skip_channels, channels)
        self.segmentation = residual_block(channels + skip_channels, channels)

    def forward(
        self, segmentation: Tensor, depth: Tensor, skip: Tensor | None, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return the states of segmentation and depth, (B, channels, *size)."""
        segmentation = self.up_segmentation(segmentation, size)
        depth = self.up_depth(depth, size)
        skips = [] if skip is None else [skip]
        attended = self.attend_depth(segmentation, depth)
        depth = self.depth(torch.cat([attended, *skips], 1))
        attended = self.attend_segmentation(segmentation, depth)
        return self.segmentation(torch.cat([attended, *skips], 1)), depth


class TaskAttention(nn.Module):
    r"""Task-attentional module: balance two tasks, and attend to both by what they agree on.

    :math:`B = \sigma(W [f_S, f_D])`, :math:`f_B = W [B f_D, (1 - B) f_S]`,
    :math:`M = \sigma(h(f_B))` with h two poolings and back, the result
    :math:`W [(1 + M) f_D, (1 + M) f_S]`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.balance = nn.Conv2d(2 * channels, channels, 1)
        self.balanced = nn.Conv2d(2 * channels, channels, 1)
        self.down = nn.ModuleList(residual_block(channels, channels) for _ in range(2))
        self.up = nn.ModuleList(residual_block(channels, channels) for _ in range(2))
        self.mask = residual_block(channels, channels)
        self.project = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, segmentation: Tensor, depth: Tensor) -> Tensor:
        """Map two states (B, channels, h, w) to one of that shape."""
        balance = self.balance(torch.cat([segmentation, depth], 1)).sigmoid()
        feature = self.balanced(torch.cat([balance * depth, (1 - balance) * segmentation], 1))
        sizes = []
        for block in self.down:
            sizes.append(size_of(feature))
            feature = block(F.max_pool2d(feature, 3, 2, padding=1))
        for block, size in zip(self.up, reversed(sizes), strict=True):
            feature = upsample(block(feature), size)
        mask = 1 + self.mask(feature).sigmoid()
        projected: Tensor = self.project(torch.cat([mask * depth, mask * segmentation], 1))
        return projected


class ShuffleUp(nn.Module):
    """Double the size: convolutions of 1, 3, 5 and 7 side by side, then a pixel shuffle."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            conv_norm_relu(in_channels, channels, size) for size in (1, 3, 5, 7)
        )

    def forward(self, feature: Tensor, size: tuple[int, int]) -> Tensor:
        """Map (B, in_channels, h, w) to (B, channels, *size), cropped from twice the size."""
        stacked = torch.cat([branch(feature) for branch in self.branches], 1)
        doubled = F.pixel_shuffle(stacked, 2)
        if doubled.shape[-2] < size[0] or doubled.shape[-1] < size[1]:
            return upsample(doubled, size)  # of an encoder whose sizes are rounded down
        return crop(doubled, size)


def residual_block(in_channels: int, channels: int) -> nn.Sequential:
    """Two bottlenecks."""
    return nn.Sequential(Bottleneck(in_channels, channels), Bottleneck(channels, channels))
