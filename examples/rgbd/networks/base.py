"""What every network beside the paper's own has in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from examples.rgbd.networks.checks import check_encoder, check_positive
from examples.rgbd.networks.head import DepthOutput
from examples.rgbd.networks.inputs import InputKind
from examples.rgbd.networks.layers import upsample
from lwm_loss import MultiTaskOutput


class DenseNetwork(nn.Module):
    """An encoder, the number of classes, and what the network reads.

    Args:
        encoder: any module of the form ``FourScaleEncoder``, unless the network says otherwise.
        num_classes: channels of the logits.
        depth: the predicted log-depth.
        input: what the network reads, one of ``inputs``.

    Raises:
        TypeError: an encoder that does not fit.
        ValueError: no classes, or an input that the network cannot read.
    """

    inputs: ClassVar[tuple[InputKind, ...]] = ("rgb",)
    num_sides = 0

    def __init__(
        self,
        encoder: Any,
        num_classes: int,
        depth: DepthOutput,
        input: InputKind = "rgb",
    ) -> None:
        super().__init__()
        check_encoder(encoder)
        check_positive(num_classes=num_classes)
        if input not in self.inputs:
            raise ValueError(
                f"Expected `input` to be one of {', '.join(self.inputs)} for a "
                f"{type(self).__name__}, but got {input!r}."
            )
        self.input = input
        self.num_classes = num_classes
        self.predict_depth = depth.predict_depth
        self.encoder: Any = encoder


def size_of(image: Tensor) -> tuple[int, int]:
    """Height and width of (..., H, W)."""
    return image.shape[-2], image.shape[-1]


def mean_of_streams(
    outputs: Sequence[tuple[Tensor, Tensor | None]], size: tuple[int, int]
) -> MultiTaskOutput:
    """Average the scores and the log-depth of networks fused late, and upsample the means.

    Args:
        outputs: of each network, scores (B, C, h, w), and log-depth (B, h, w) or ``None``. The mean
            of log-depths within a range is within that range.
        size: (H, W).
    """
    scores, log_depths = zip(*outputs, strict=True)
    log_depth = None
    if log_depths[0] is not None:
        log_depth = upsample(torch.stack(log_depths).mean(0)[:, None], size)[:, 0]
    return MultiTaskOutput(upsample(torch.stack(scores).mean(0), size), log_depth)
