"""Light-weight RefineNet (Nekrasov et al., BMVC 2018) as a multi-task network."""

from __future__ import annotations

from typing import Any

from examples.rgbd.networks.encoder import FourScaleEncoder
from examples.rgbd.networks.multitask import MultiTaskRefineNet


class MultiTaskLightRefineNet(MultiTaskRefineNet):
    """``MultiTaskRefineNet`` with 1x1 convolutions in place of 3x3 and without residual units.

    Only the decoders are light: the heads, the side outputs and the sum of features are the same,
    so that what differs between the two networks is the decoder and nothing else. (The original
    predicts from the finest block alone.)

    Args:
        encoder: any module of the form ``FourScaleEncoder``.
        num_classes: channels of the logits.
        **options: the other options of ``MultiTaskRefineNet``. ``initialisation`` is ``"scaled"``
            by default, for N(0, 0.01) is meant for 3x3 kernels.
    """

    def __init__(self, encoder: FourScaleEncoder, num_classes: int, **options: Any) -> None:
        options.setdefault("initialisation", "scaled")
        super().__init__(
            encoder, num_classes, kernel_size=1, adapt_units=0, output_units=0, **options
        )
