"""MobileNetV2 (Sandler et al., CVPR 2018) as an encoder of four maps, or of six."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import MobileNetV2Config, MobileNetV2Model

from examples.rgbd.networks.encoder import FourMaps, load_weights
from examples.rgbd.networks.norm import NormEncoder

MOBILENETS = ("mobilenet_v2",)
TAPS = (1, 4, 8, 11, 14, 15)
"""Inverted residuals whose results are the six maps: two at 1/16, two at 1/32."""


class MobileNetV2Encoder(NormEncoder):
    """MobileNetV2 of ``transformers`` without its last 1x1 convolution.

    Args:
        name: ``mobilenet_v2``.
        pretrained: a model name such as ``google/mobilenet_v2_1.0_224``, a folder, or ``None``. The
            padding and the stem are then those of the weights. Without weights they are those of the
            multi-task light-weight RefineNet: symmetric padding, and a first block that has an
            expansion of 1, which the network of the publication has not (1,088 parameters).
        freeze_norm: keep every batch norm at its running statistics, see ``ResNetEncoder``.
        fold_norm: fold every batch norm into the convolution before it.

    Attributes:
        channels: of the four maps that are the last at 1/4, 1/8, 1/16 and 1/32.
        six_channels: of all six.
    """

    channels = (24, 32, 96, 320)
    six_channels = (24, 32, 64, 96, 160, 320)
    output_stride = 32

    def __init__(
        self,
        name: str = "mobilenet_v2",
        *,
        pretrained: str | None = None,
        freeze_norm: bool = False,
        fold_norm: bool = False,
    ) -> None:
        super().__init__()
        if name not in MOBILENETS:
            raise ValueError(
                f"Expected an encoder among {', '.join(MOBILENETS)}, but got {name!r}."
            )
        config = MobileNetV2Config(tf_padding=False, first_layer_is_expansion=False)
        model = (
            MobileNetV2Model(config, add_pooling_layer=False)
            if pretrained is None
            else load_weights(MobileNetV2Model, name, config, pretrained)
        )
        self.stem = model.conv_stem
        self.layers = model.layer
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = (
                    0.1  # 0.997 there is TensorFlow's, which keeps where torch forgets
                )
        self.freeze_or_fold(freeze=freeze_norm, fold=fold_norm)

    def six(self, image: Tensor) -> list[Tensor]:
        """Return all six maps of ``image`` (B, 3, H, W), finest first."""
        self.check_norm_can_learn(image)
        feature, maps = self.stem(image), []
        for index, layer in enumerate(self.layers):
            feature = layer(feature)
            if index in TAPS:
                maps.append(feature)
        return maps

    def forward(self, image: Tensor) -> FourMaps:
        """Return the four maps of ``image`` (B, 3, H, W), finest first."""
        first, second, _, third, _, fourth = self.six(image)
        return first, second, third, fourth
