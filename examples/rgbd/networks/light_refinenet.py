"""Light-weight RefineNet (Nekrasov et al., BMVC 2018) as a multi-task network."""

from __future__ import annotations

from typing import Any

from examples.rgbd.networks.encoder import FourScaleEncoder
from examples.rgbd.networks.multitask import MultiTaskRefineNet
from examples.rgbd.networks.refinenet import DecoderShape

LIGHT_DECODER = DecoderShape(kernel_size=1, adapt_units=0, output_units=0, initialisation="scaled")
"""1x1 convolutions and no residual units. N(0, 0.01) is meant for 3x3 kernels, hence "scaled"."""


class MultiTaskLightRefineNet(MultiTaskRefineNet):
    """``MultiTaskRefineNet`` with 1x1 convolutions in place of 3x3 and without residual units.

    Only the decoders are light: the heads, the side outputs and the sum of features are the same,
    so that what differs between the two networks is the decoder and nothing else. (The original
    predicts from the finest block alone.)

    Args:
        encoder: any module of the form ``FourScaleEncoder``.
        num_classes: channels of the logits.
        decoder: shape of both decoders.
        **options: the other options of ``MultiTaskRefineNet``.
    """

    def __init__(
        self,
        encoder: FourScaleEncoder,
        num_classes: int,
        *,
        decoder: DecoderShape = LIGHT_DECODER,
        **options: Any,
    ) -> None:
        super().__init__(encoder, num_classes, decoder=decoder, **options)
