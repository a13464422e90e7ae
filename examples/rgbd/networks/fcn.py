"""FCN (Long, Shelhamer & Darrell, CVPR 2015; PAMI 2017) on VGG-16, of RGB and depth."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from examples.rgbd.networks.base import DenseNetwork, mean_of_streams, size_of
from examples.rgbd.networks.checks import check_image
from examples.rgbd.networks.head import LOG_DEPTH, DepthOutput, LogDepthHead
from examples.rgbd.networks.inputs import InputKind, check_depth, three_channels
from examples.rgbd.networks.layers import crop
from examples.rgbd.networks.streams import stream
from examples.rgbd.networks.vgg import with_fully_connected
from lwm_loss import MultiTaskOutput

LOG_MILLIMETRES_MEAN = 7.844
"""Mean log-depth of NYUDv2 in log-millimetres, as published."""


class FCN(DenseNetwork):
    """FCN-32s or FCN-16s.

    After the published networks for NYUDv2 (shelhamer/fcn.berkeleyvision.org on GitHub): VGG-16 with
    ``fc6`` and ``fc7`` as convolutions, dropout of 0.5 after both, one 1x1 convolution that scores,
    drawn as zeros. ``"rgb-hha"`` is the late fusion: two whole networks, whose scores are averaged.
    ``"rgbd"`` is the early fusion: a fourth channel of the first convolution reads ln(millimetres) -
    7.844, and begins with the mean of the RGB weights.

    Decisions: ``fc6`` is padded by 3 in place of padding the image by 100, which aligns the scores
    with the image; the fixed bilinear deconvolution is ``F.interpolate``; a missing depth reads as
    the mean depth; images are normalised as the encoder's weights want it, not as Caffe's; HHA is
    divided by 58. The two streams of FCN-16s are fused as those of FCN-32s (it was not released for
    NYUDv2). Both streams are trained at once; as published each comes from its own FCN.

    Args:
        encoder: a ``VGGEncoder`` with ``fully_connected`` layers (of four channels for ``"rgbd"``);
            for ``"rgb-hha"`` a ``MultiStreamEncoder`` of two.
        num_classes: channels of the logits.
        input: what the network reads.
        stride: 32 for FCN-32s, 16 for FCN-16s, which adds scores of the fourth pool.
        depth: a 1x1 convolution of ``fc7`` (Table V) predicts log-depth.
        dropout: share of values dropped after ``fc6`` and ``fc7``.
    """

    inputs: ClassVar[tuple[InputKind, ...]] = ("rgb", "rgbd", "rgb-hha")

    def __init__(
        self,
        encoder: Any,
        num_classes: int,
        *,
        input: InputKind = "rgb",
        stride: Literal[16, 32] = 32,
        depth: DepthOutput = LOG_DEPTH,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(encoder, num_classes, depth, input)
        if stride not in (16, 32):
            raise ValueError(f"Expected `stride` to be 16 or 32, but got {stride}.")
        names = ("rgb", "depth") if input == "rgb-hha" else ("rgb",)
        self.heads = nn.ModuleDict(
            {
                name: FCNHead(stream(encoder, name), num_classes, stride, depth, dropout)
                for name in names
            }
        )

    def forward(self, image: Tensor, depth: Tensor | None = None) -> MultiTaskOutput:
        """Predict labels and log-depth.

        Args:
            image: (B, 3, H, W), any size from 32 x 32.
            depth: see ``check_depth``; not read with ``input="rgb"``.

        Returns:
            ``logits`` (B, num_classes, H, W) and ``log_depth`` (B, H, W) or ``None``.
        """
        check_image(image)
        seen = {"rgb": image}
        if self.input == "rgb-hha":
            seen["depth"] = three_channels(check_depth(depth, image, self.input))
        elif self.input == "rgbd":
            log_depth = centred_log_depth(check_depth(depth, image, self.input))
            seen["rgb"] = torch.cat([image, log_depth], dim=1)
        return mean_of_streams(
            [head(stream(self.encoder, name), seen[name]) for name, head in self.heads.items()],
            size_of(image),
        )


class FCNHead(nn.Module):
    """Score one stream of FCN at the coarsest map, or at the fourth pool."""

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int,
        stride: int,
        depth: DepthOutput,
        dropout: float,
    ) -> None:
        super().__init__()
        encoder = with_fully_connected(encoder)
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Conv2d(encoder.out_channels, num_classes, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)  # type: ignore[arg-type]
        self.score_pool4 = None
        if stride == 16:
            self.score_pool4 = nn.Conv2d(encoder.channels[2], num_classes, 1)
            nn.init.zeros_(self.score_pool4.weight)
            nn.init.zeros_(self.score_pool4.bias)  # type: ignore[arg-type]
            # Learnt, from the weights of bilinear interpolation.
            self.upscore = nn.ConvTranspose2d(num_classes, num_classes, 4, 2, padding=1, bias=False)
            row = torch.tensor([0.25, 0.75, 0.75, 0.25])
            with torch.no_grad():
                self.upscore.weight.zero_()
                self.upscore.weight.diagonal(dim1=0, dim2=1).copy_(
                    torch.outer(row, row)[..., None].expand(4, 4, num_classes)
                )
        self.depth_head = LogDepthHead(encoder.out_channels, depth) if depth.predict_depth else None

    def forward(self, encoder: Any, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return scores at 1/32 or 1/16, and log-depth at 1/32."""
        maps = encoder(image)
        feature = encoder.fully_connected(maps[-1], self.dropout)
        score = self.score(feature)
        if self.score_pool4 is not None:
            score = crop(self.upscore(score), size_of(maps[2])) + self.score_pool4(maps[2])
        return score, None if self.depth_head is None else self.depth_head(feature)


def centred_log_depth(depth: Tensor) -> Tensor:
    """ln(millimetres) - 7.844 of metres (B, 1, H, W); 0, the mean, where depth is missing."""
    known = depth > 0
    millimetres = torch.where(known, depth, 1) * 1000
    return torch.where(known, millimetres.log() - LOG_MILLIMETRES_MEAN, 0)
