"""Multi-task light-weight RefineNet (Nekrasov et al., ICRA 2019): one decoder for both tasks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from examples.rgbd.networks.base import DenseNetwork, size_of
from examples.rgbd.networks.checks import check_image, check_positive
from examples.rgbd.networks.head import LOG_DEPTH, DepthOutput
from examples.rgbd.networks.layers import upsample
from examples.rgbd.networks.mobilenet import MobileNetV2Encoder
from examples.rgbd.networks.refinenet import (
    Initialisation,
    convolution,
    initialise_convolutions,
    max_pool,
)
from lwm_loss import MultiTaskOutput

LINKS = 4


class SharedLightRefineNet(DenseNetwork):
    """Light-weight RefineNet on the six maps of MobileNetV2, with one decoder and two heads.

    After the released network (DrSleep/multi-task-refinenet on GitHub): a 1x1 convolution for each map,
    the two maps of 1/32 and those of 1/16 summed; ReLU6, four links of residual pooling, a 1x1
    convolution, bilinear upsampling; the last chain of pooling is depthwise. A head is a depthwise 1x1
    convolution, ReLU6 and a 3x3 convolution, at 1/4. It has 3,070,057 parameters for 40 classes and
    depth.

    Decisions: log-depth in the place of metres; the initialisation is ``"scaled"`` by default, for
    the released N(0, 0.01) lets the signal of 1x1 kernels fade (``"normal"`` gives it).

    Args:
        encoder: a ``MobileNetV2Encoder``.
        num_classes: channels of the logits.
        width: channels of the decoder.
        depth: the predicted log-depth.
        initialisation: of the decoder, see ``initialise_convolutions``.
    """

    def __init__(
        self,
        encoder: MobileNetV2Encoder,
        num_classes: int,
        *,
        width: int = 256,
        depth: DepthOutput = LOG_DEPTH,
        initialisation: Initialisation = "scaled",
    ) -> None:
        super().__init__(encoder, num_classes, depth)
        check_positive(width=width)
        if not isinstance(encoder, MobileNetV2Encoder):
            raise TypeError(
                "Expected `encoder` to be a MobileNetV2Encoder, but got "
                f"{type(encoder).__name__}: did you mean MultiTaskLightRefineNet?"
            )
        self.reduce = nn.ModuleList(convolution(count, width, 1) for count in encoder.six_channels)
        self.pools = nn.ModuleList(
            nn.ModuleList(
                nn.Conv2d(width, width, 1, groups=width if level == 0 else 1, bias=False)
                for _ in range(LINKS)
            )
            for level in range(4)
        )
        self.adapt = nn.ModuleList(convolution(width, width, 1) for _ in range(3))
        self.segmentation_head = _head(width, num_classes)
        if depth.predict_depth:
            self.depth_head = _head(width, 1)
            self.bound_log_depth = depth.bound()
        for name, module in self.named_children():
            if name != "encoder":
                initialise_convolutions(module, initialisation)

    def forward(self, image: Tensor) -> MultiTaskOutput:
        """Predict labels and log-depth from the image alone.

        Args:
            image: (B, 3, H, W), any size from 32 x 32.

        Returns:
            ``logits`` (B, num_classes, H, W) and ``log_depth`` (B, H, W) or ``None``.
        """
        check_image(image)
        maps = [
            reduce(feature)
            for reduce, feature in zip(self.reduce, self.encoder.six(image), strict=True)
        ]
        levels = [maps[0], maps[1], maps[2] + maps[3], maps[4] + maps[5]]
        feature = self._pooled(levels[3], 3)
        for level in (2, 1, 0):
            coarse = upsample(self.adapt[level](feature), size_of(levels[level]))
            feature = self._pooled(levels[level] + coarse, level)
        size = size_of(image)
        log_depth = None
        if self.predict_depth:
            log_depth = self.bound_log_depth(upsample(self.depth_head(feature), size))
        return MultiTaskOutput(upsample(self.segmentation_head(feature), size), log_depth)

    def _pooled(self, feature: Tensor, level: int) -> Tensor:
        link = total = F.relu6(feature)
        for conv in self.pools[level].children():
            link = conv(max_pool(link))
            total = total + link
        return total


def _head(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 1, groups=width, bias=False),
        nn.ReLU6(),
        convolution(width, outputs, bias=True),
    )
