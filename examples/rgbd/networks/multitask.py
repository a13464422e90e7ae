"""The paper's network: one encoder, a RefineNet decoder for labels and one for depth (Fig. 3)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from examples.rgbd.networks.checks import check_encoder, check_image, check_positive
from examples.rgbd.networks.encoder import FourScaleEncoder
from examples.rgbd.networks.head import LOG_DEPTH, DepthOutput, MultiScaleHead
from examples.rgbd.networks.refinenet import (
    RELEASED_DECODER,
    DecoderShape,
    RefineNetDecoder,
    initialise_convolutions,
)
from lwm_loss import MultiTaskOutput

SumFeatures = Literal["onward", "output"]


class MultiTaskRefineNet(nn.Module):
    """Segmentation with depth as a second task, after Section III-A and Fig. 3.

    The depth decoder runs first. The output of each of its blocks is added to the output of the
    segmentation block of the same level. The four sums make the logits, the four depth maps the
    log-depth, each by a ``MultiScaleHead``; a 1x1 convolution on each sum makes a side output.

    Depth is only predicted, never read: the network needs the image alone, in training and after.
    The depth decoder runs after training too, because its features take part in the segmentation.

    Args:
        encoder: any module of the form ``FourScaleEncoder``.
        num_classes: channels of the logits.
        decoder: shape of both decoders. The last layers are always drawn from N(0, 0.01).
        depth: without ``predict_depth`` the whole depth branch is left out: the RefineNet of the
            row "L_s" of Table II.
        num_sides: number of side outputs, from the finest level down: 4 in the paper, 0 for none.
        sum_features: where the sum with the depth features goes. The paper adds to "the output
            feature maps of segmentation decoder blocks". ``"onward"`` (default) takes this by the
            letter: the sum is the output, for the heads and for the next finer block. ``"output"``
            gives the sum to the heads alone, and each decoder feeds itself.
        dropout: share of values dropped from the encoder's two coarsest maps. The paper names
            none, so the default is 0; the released RefineNet has 0.5.

    Raises:
        TypeError: an encoder that does not fit the protocol.
        ValueError: a number out of range or an unknown option.
    """

    def __init__(
        self,
        encoder: FourScaleEncoder,
        num_classes: int,
        *,
        decoder: DecoderShape = RELEASED_DECODER,
        depth: DepthOutput = LOG_DEPTH,
        num_sides: int = 4,
        sum_features: SumFeatures = "onward",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_encoder(encoder)
        check_positive(num_classes=num_classes)
        if not 0 <= num_sides <= 4:
            raise ValueError(f"Expected `num_sides` to be 0 to 4, but got {num_sides}.")
        if sum_features not in ("onward", "output"):
            raise ValueError(
                f"Expected `sum_features` to be 'onward' or 'output', but got {sum_features!r}."
            )
        channels = decoder.channels
        self.num_classes = num_classes
        self.num_sides = num_sides
        self.predict_depth = depth.predict_depth
        self.sum_features = sum_features
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.segmentation_decoder = RefineNetDecoder(encoder.channels, decoder)
        self.segmentation_head = MultiScaleHead(channels, num_classes)
        self.side_heads = nn.ModuleList(
            nn.Conv2d(count, num_classes, kernel_size=1) for count in channels[:num_sides]
        )
        initialise_convolutions(self.side_heads, "normal")
        if depth.predict_depth:
            self.depth_decoder = RefineNetDecoder(encoder.channels, decoder)
            self.depth_head = MultiScaleHead(channels, 1)
            self.bound_log_depth = depth.bound()

    def forward(self, image: Tensor, *, side_outputs: bool | None = None) -> MultiTaskOutput:
        """Predict labels and log-depth from the image alone.

        Args:
            image: (B, 3, H, W), normalised as the encoder wants it; any size from 32 x 32.
            side_outputs: whether to compute the side outputs; ``None`` means in training only,
                for they serve the loss and not the prediction.

        Returns:
            ``logits`` (B, num_classes, H, W); ``log_depth`` (B, H, W), or ``None`` without a depth
            branch; ``side_logits``, one map for each side output, finest (1/4) first, each at the
            resolution of its level, or empty.
        """
        check_image(image)
        size = (image.shape[-2], image.shape[-1])
        finest, finer, coarser, coarsest = self.encoder(image)
        features = (finest, finer, self.dropout(coarser), self.dropout(coarsest))

        log_depth = None
        depth_maps = None
        if self.predict_depth:
            depth_maps = self.depth_decoder(features)
            log_depth = self.bound_log_depth(self.depth_head(depth_maps, size))
        maps = self.segmentation_decoder(
            features, depth_maps, feed_onward=self.sum_features == "onward"
        )
        side_outputs = self.training if side_outputs is None else side_outputs
        return MultiTaskOutput(
            logits=self.segmentation_head(maps, size),
            log_depth=log_depth,
            side_logits=tuple(
                # Zipped from the left: the sides are those of the finest levels.
                head(feature)
                for head, feature in zip(self.side_heads, maps, strict=False)
            )
            if side_outputs
            else (),
        )
