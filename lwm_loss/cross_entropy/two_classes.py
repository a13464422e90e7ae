"""The CPU form for two classes: everything follows from how far one score is ahead of the other.

With so few scores a pixel the general form spends its time on indexing. Here one map holds
z = (score of the other class) - (score of the label); the loss is log(1 + exp(z)), the gradient
sigmoid(z), and no label is an index.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .._pixels import labelled_pixels, map_dtype
from .bits import zero_where_ignored
from .interpolation import is_finite
from .settings import Settings

# From here on log(1 + exp(z)) is z in all digits of the dtype, and exp(z) may overflow.
LINEAR = {torch.float32: 20.0, torch.float64: 40.0}


def fits(logits: Tensor, target: Tensor, settings: Settings) -> bool:
    """Whether this form is the cross-entropy of these scores, if they are finite."""
    same_size = logits.shape[2:] == target.shape[1:]
    return logits.shape[1] == 2 and same_size and settings.label_smoothing == 0


def ahead_of_label(
    logits: Tensor, target: Tensor, settings: Settings
) -> tuple[Tensor, Tensor, Tensor] | None:
    """z, which labels are 1, and the sign of z in the score of class 1; None if it is another's work.

    The general form does what this one does not fit, and scores whose z is not finite.
    """
    if not fits(logits, target, settings):
        return None
    dtype = map_dtype(logits)
    ahead = logits[:, 1].to(dtype) - logits[:, 0].to(dtype)
    if not is_finite(ahead):
        return None
    second = target == 1
    sign = second.to(dtype).mul_(-2).add_(1)
    return ahead.mul_(sign), second, sign


def forward(
    logits: Tensor, target: Tensor, settings: Settings
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Loss, Delta, and zeros in the place of what the general form keeps; or None."""
    found = ahead_of_label(logits, target, settings)
    if found is None:
        return None
    ahead, second, _ = found
    labelled = labelled_pixels(target, settings.ignore_index)
    wrong = ahead > 0
    if ahead.count_nonzero() < ahead.numel():
        wrong |= (ahead == 0) & second  # of two equal scores the first class is predicted
    loss = F.softplus(ahead, threshold=LINEAR[ahead.dtype])
    if settings.weight is not None:
        loss.mul_(settings.weight.to(loss.dtype)[second.long()])
    unused = loss.new_zeros(2, *loss.shape)
    return zero_where_ignored(loss, labelled), wrong.logical_and_(labelled), unused


def backward(grad: Tensor, logits: Tensor, target: Tensor, settings: Settings) -> Tensor | None:
    """Gradient of the logits from that of the loss; or None."""
    found = ahead_of_label(logits, target, settings)
    if found is None:
        return None
    ahead, second, sign = found
    labelled = labelled_pixels(target, settings.ignore_index)
    scale = grad.to(ahead.dtype, copy=True, memory_format=torch.contiguous_format)
    zero_where_ignored(scale, labelled).mul_(sign).mul_(ahead.sigmoid_())
    if settings.weight is not None:
        scale.mul_(settings.weight.to(scale.dtype)[second.long()])
    result = torch.empty_like(logits)
    result[:, 1] = scale
    torch.neg(scale, out=scale)
    result[:, 0] = scale
    return result
