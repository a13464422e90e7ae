"""The plain torch form: what every faster one must agree with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .._checks import same_size
from .._pixels import labelled_pixels, map_dtype
from .settings import Settings


def resize_logits(logits: Tensor, size: torch.Size) -> Tensor:
    """Scores at the size of the labels, (bi-/tri-)linear with ``align_corners=False``."""
    if same_size(logits.shape[2:], size):
        return logits
    if 0 in size:  # which torch does not interpolate to: no pixel, but still a graph
        return logits.flatten(2)[..., :0].reshape(*logits.shape[:2], *size)
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return F.interpolate(logits, size, mode=mode, align_corners=False)


def pixel_cross_entropy(
    logits: Tensor, target: Tensor, settings: Settings
) -> tuple[Tensor, Tensor]:
    r"""Cross-entropy of each pixel, as ``F.cross_entropy(..., reduction="none")``, and Delta.

    Args:
        logits: (B, C, \*S), or of another size and interpolated; narrower than float32 is
            widened first.
        target: int64 (B, \*S), labels in [0, C) or ``ignore_index``.
        settings: class weights, ignored label and label smoothing.

    Returns:
        The loss (B, \*S), differentiable any number of times, and Delta, bool (B, \*S); both are
        0 at ignored pixels.
    """
    weight, ignore_index, label_smoothing = settings
    labelled = labelled_pixels(target, ignore_index)
    logits = resize_logits(logits.to(map_dtype(logits)), target.shape[1:])
    # Ignored scores are replaced as well as their loss: the derivative of a NaN times 0 is NaN.
    logits = torch.where(labelled.unsqueeze(1), logits, 0)
    # An ignored label may lie outside of [0, C): it must never reach gather.
    label = torch.where(labelled, target, 0).unsqueeze(1)
    log_probability = logits.log_softmax(1)
    wrong = labelled & (logits.detach().argmax(1) != target)
    loss = -log_probability.gather(1, label)
    if weight is not None:
        weight = weight.to(loss.dtype)
        loss = loss * weight[label]
    if label_smoothing > 0:
        if weight is not None:
            log_probability = log_probability * weight.reshape(-1, *[1] * (logits.ndim - 2))
        uniform = -log_probability.mean(1, keepdim=True)
        loss = (1 - label_smoothing) * loss + label_smoothing * uniform
    return torch.where(labelled, loss.squeeze(1), 0), wrong
