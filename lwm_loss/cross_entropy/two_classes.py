"""The CPU form for two classes: everything follows from how far one score is ahead of the other.

With so few scores a pixel the general form spends its time on indexing. Here one map holds
z = (score of the other class) - (score of the label); the loss is log(1 + exp(z)), the gradient
sigmoid(z), and no label is an index.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .._bits import as_bool, narrow_labels, zero_where_ignored
from .._checks import same_size
from .._pixels import map_dtype
from .interpolation import is_finite
from .settings import Settings

# From here on log(1 + exp(z)) is z in all digits of the dtype, and exp(z) may overflow.
LINEAR = {torch.float32: 20.0, torch.float64: 40.0}


def fits(logits: Tensor, target: Tensor, settings: Settings) -> bool:
    """Whether this form is the cross-entropy of these scores, if they are finite."""
    if logits.shape[1] != 2 or settings.label_smoothing > 0:
        return False
    return same_size(logits.shape[2:], target.shape[1:])


def forward(
    logits: Tensor, target: Tensor, settings: Settings
) -> tuple[Tensor, Tensor, Tensor] | None:
    r"""Loss, Delta, and the derivative of the loss by the second score, (1, B, \*S).

    That by the first is its negative.

    None if the scores, or their differences, are not finite: those are left to the general form.
    """
    dtype = map_dtype(logits)
    ahead = torch.empty(target.shape, dtype=dtype)
    torch.sub(logits[:, 1].to(dtype), logits[:, 0].to(dtype), out=ahead)
    if not is_finite(ahead):
        return None
    label, labelled = narrow_labels(target, settings.ignore_index, dtype)
    # Of two equal scores the first class is predicted.
    predicted = torch.gt(ahead, 0, out=torch.empty_like(ahead)).to(label.dtype)
    wrong = as_bool(predicted.bitwise_xor_(label).bitwise_and_(labelled))
    mask = labelled.neg_()
    # The sign of z in the score of class 1, as a bit: that of label 1 alone is set.
    sign = torch.bitwise_left_shift(label, 8 * label.itemsize - 1, out=predicted)
    ahead.view(sign.dtype).bitwise_xor_(sign)
    loss = F.softplus(ahead, threshold=LINEAR[dtype])
    derivative = ahead.sigmoid_()
    derivative.view(sign.dtype).bitwise_xor_(sign)
    if settings.weight is not None:
        index = label.bitwise_and(mask).flatten()
        weight = settings.weight.to(dtype).index_select(0, index).view_as(loss)
        loss.mul_(weight)
        derivative.mul_(weight)
    zero_where_ignored(derivative, mask)
    return zero_where_ignored(loss, mask), wrong, derivative.unsqueeze(0)


def backward(
    grad: Tensor, logits: Tensor, target: Tensor, derivative: Tensor, settings: Settings
) -> Tensor:
    """Gradient of the logits from that of the loss."""
    dtype = derivative.dtype
    grad = grad.to(dtype)
    if not is_finite(grad):
        # At ignored pixels the derivative is 0, and 0 * NaN is NaN.
        _, labelled = narrow_labels(target, settings.ignore_index, dtype)
        grad = zero_where_ignored(
            grad.clone(memory_format=torch.contiguous_format), labelled.neg_()
        )
    result = torch.empty_like(logits)
    torch.mul(grad, derivative[0], out=result[:, 1])
    torch.neg(result[:, 1], out=result[:, 0])
    return result
