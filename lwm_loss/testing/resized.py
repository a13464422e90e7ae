"""Networks that return logits at another size than the image's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lwm_loss import MultiTaskOutput

RESIZES = ("nearest", "bilinear", "bicubic")


class Resized(nn.Module):
    """A network whose logits and log-depth are brought to the size of the image.

    What many networks return as logits is at a quarter of the image's size; losses here want them
    at the size of the labels.

    Args:
        network: a backbone; whatever it returns is read by :class:`lwm_loss.MultiTaskOutput`.
        mode: ``"bilinear"``, ``"bicubic"`` or ``"nearest"``, see
            :func:`torch.nn.functional.interpolate`.

    Example:
        >>> Resized(nn.Conv2d(3, 5, 1, stride=4))(torch.zeros(1, 3, 9, 9)).logits.shape
        torch.Size([1, 5, 9, 9])
    """

    def __init__(self, network: nn.Module, mode: str = "bilinear") -> None:
        super().__init__()
        if mode not in RESIZES:
            raise ValueError(f"Expected `resize` to be one of {RESIZES}, but got {mode!r}.")
        self.network = network
        self.mode = mode

    def forward(self, image: Tensor) -> MultiTaskOutput:
        """Logits (B, C, H, W), log-depth (B, 1, H, W) or None, and side outputs as they are."""
        output = MultiTaskOutput.of(self.network(image))
        size = image.shape[2:]
        log_depth = output.log_depth
        if log_depth is not None:
            log_depth = self._to(log_depth if log_depth.ndim == 4 else log_depth.unsqueeze(1), size)
        return MultiTaskOutput(self._to(output.logits, size), log_depth, output.side_logits)

    def _to(self, scores: Tensor, size: torch.Size) -> Tensor:
        align_corners = None if self.mode == "nearest" else False
        return F.interpolate(scores, size, mode=self.mode, align_corners=align_corners)
