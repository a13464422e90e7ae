"""The plain torch form: what every faster one must agree with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .._pixels import labelled_pixels, map_dtype


def resize_logits(logits: Tensor, size: torch.Size) -> Tensor:
    """Scores at the size of the labels, (bi-/tri-)linear with ``align_corners=False``."""
    if logits.shape[2:] == size:
        return logits
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return F.interpolate(logits, size, mode=mode, align_corners=False)


def pixel_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor]:
    r"""Cross-entropy of each pixel, as ``F.cross_entropy(..., reduction="none")``, and Delta.

    Args:
        logits: (B, C, \*S), or of another size and interpolated; narrower than float32 is
            widened first.
        target: int64 (B, \*S), labels in [0, C) or ``ignore_index``.
        ignore_index: the label of pixels whose loss is 0.
        weight: (C,) class weights, or None.
        label_smoothing: in [0, 1].

    Returns:
        The loss (B, \*S), differentiable any number of times, and Delta, bool (B, \*S); both are
        0 at ignored pixels.
    """
    labelled = labelled_pixels(target, ignore_index)
    logits = resize_logits(logits.to(map_dtype(logits)), target.shape[1:])
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
