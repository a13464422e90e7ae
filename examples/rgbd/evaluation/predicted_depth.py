"""Depth that another run predicts, for a network that reads depth: RDFNet PD of Table I."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from examples.rgbd.data.hha import hha
from examples.rgbd.data.intrinsics import Intrinsics
from examples.rgbd.networks import InputKind
from examples.rgbd.networks.layers import upsample
from examples.rgbd.options.groups import OptionError
from examples.rgbd.run.trained import Trained
from lwm_loss import MultiTaskOutput


def log_depth_in_metres(log_depth: Tensor, limits: tuple[float, float]) -> Tensor:
    """Metres between near and far, of predicted log-depth in levels of [1, 256]."""
    near, far = limits
    return (near + (log_depth.exp() - 1) * ((far - near) / 255)).clamp(near, far)


def check_source(source: Trained) -> None:
    """Refuse a run that cannot tell depth in metres from an image alone.

    Raises:
        OptionError: the run predicts no depth in metres, or its network reads depth itself.
    """
    if source.use_of_depth == "none" or not source.metric:
        raise OptionError(
            f"Expected --depth-from a run that predicts depth in metres, but {source.path} "
            f"predicts {'none' if source.metric else 'relative depth'}."
        )
    if source.use_of_depth == "required":
        raise OptionError(
            f"Expected --depth-from a run whose network reads images alone, but that of "
            f"{source.path} reads depth itself."
        )


class PredictedDepth:
    """Predict what a network reads beside an image.

    Args:
        source: a run that predicts depth in metres; it is left on its device.
        kind: what the other network reads.
        intrinsics: of the camera, for ``"rgb-hha"``.

    Raises:
        OptionError: the run predicts no depth in metres, or HHA would need the camera.
    """

    def __init__(
        self, source: Trained, kind: InputKind, intrinsics: Intrinsics | None = None
    ) -> None:
        check_source(source)
        if kind == "rgb-hha" and intrinsics is None:
            raise OptionError(
                "Expected frames of one known camera for --depth-from with a network that reads "
                "rgb-hha, but it is not known: did you mean a run with --input rgbd?"
            )
        self.source = source
        self.kind = kind
        self.intrinsics = intrinsics

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Depth as ``second_input`` has it, (B, 1 or 4, H, W), of images (B, 3, H, W)."""
        size = images.shape[-2:]
        own: Sequence[int] = self.source.config.data.image_size
        shown = images
        if tuple(size) != tuple(own):
            shown = F.interpolate(images, tuple(own), mode="bilinear", antialias=True)
        output = MultiTaskOutput.of(self.source.network(shown))
        assert output.log_depth is not None  # seen to when this was made
        log_depth = upsample(output.log_depth[:, None].float(), size)
        metres = log_depth_in_metres(log_depth, self.source.limits)
        if self.kind != "rgb-hha" or self.intrinsics is None:
            return metres
        camera = self.intrinsics.resized(tuple(size))  # whole frames, at the network's size
        numbers = metres.new_tensor([camera.fx, camera.fy, camera.cx, camera.cy])
        return torch.cat([metres, hha(metres[:, 0], numbers)], dim=1)
