"""The base of networks that predict from one map of the encoder: DeepLabv3 and PSPNet."""

from __future__ import annotations

from torch import Tensor, nn

from examples.rgbd.networks.checks import (
    check_image,
    check_norm_can_learn,
)
from examples.rgbd.networks.encoder import FourScaleEncoder
from examples.rgbd.networks.head import DepthOutput, LogDepthHead
from examples.rgbd.networks.layers import upsample
from lwm_loss import MultiTaskOutput


class OneMapNetwork(nn.Module):
    """An encoder, a pyramid on its last map, and a head for each task.

    Log-depth is one 1x1 convolution "after the last pooling layer", which is the pyramid
    (Section IV-G). There are no side outputs, as in Table V.

    Args:
        encoder: any module of the form ``FourScaleEncoder``; only its last map is used.
        num_classes: channels of the logits.
        pyramid: from the encoder's last map to the map that both heads read.
        channels: channels of the pyramid's result.
        segmentation_head: from the pyramid's result to the logits.
        depth: the predicted log-depth.
        dropout: share of values dropped from the pyramid's result.
    """

    num_sides = 0

    def __init__(
        self,
        encoder: FourScaleEncoder,
        num_classes: int,
        *,
        pyramid: nn.Module,
        channels: int,
        segmentation_head: nn.Module,
        depth: DepthOutput,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.predict_depth = depth.predict_depth
        self.encoder = encoder
        self.pyramid = pyramid
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.segmentation_head = segmentation_head
        if depth.predict_depth:
            self.depth_head = LogDepthHead(channels, depth)

    def forward(self, image: Tensor) -> MultiTaskOutput:
        """Predict labels and log-depth from the image alone.

        Args:
            image: (B, 3, H, W), any size from 32 x 32.

        Returns:
            ``logits`` (B, num_classes, H, W), ``log_depth`` (B, H, W) or ``None``, and no
            ``side_logits``.
        """
        check_image(image)
        coarsest = self.encoder(image)[-1]
        if self.training:
            check_norm_can_learn(coarsest)
        feature = self.dropout(self.pyramid(coarsest))
        size = (image.shape[-2], image.shape[-1])
        return MultiTaskOutput(
            logits=upsample(self.segmentation_head(feature), size),
            log_depth=self.depth_head(feature, size) if self.predict_depth else None,
        )
