"""The error of one pixel that Z averages: Delta, or a soft error, under each task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ._checks import fail, require_object, require_tensor, shape_of
from ._labels import Labels
from ._pixels import map_dtype
from .cross_entropy import pixel_cross_entropy
from .cross_entropy.two_classes import LINEAR

ErrorName = Literal["misclassified", "probability", "loss"]
PixelError = ErrorName | Callable[[Tensor, Tensor], Tensor]
ERRORS = ("misclassified", "probability", "loss")


def check_error(error: Any) -> None:
    """Refuse what is neither the name of an error nor a function of (logits, target)."""
    if isinstance(error, str):
        if error not in ERRORS:
            raise fail(f"`error` to be one of {list(ERRORS)} or a callable", repr(error))
    else:
        require_object(error, "error", f"one of {list(ERRORS)} or a callable")


def name_of_error(error: PixelError) -> str:
    """Name an error for a repr; that of a function holds no address, which would differ in a copy."""
    return (
        repr(error) if isinstance(error, str) else getattr(error, "__name__", type(error).__name__)
    )


def pixel_error(
    input: Tensor,
    labels: Labels,
    error: PixelError,
    plain_loss: Tensor | None = None,
) -> Tensor:
    r"""Compute the error (B, \*S) of every pixel; arbitrary where it is ignored.

    Args:
        input: detached scores at the size of the labels, or predicted labels.
        labels: the checked target.
        error: which error.
        plain_loss: cross-entropy of integer classes without weights and smoothing, if at hand.

    Returns:
        bool for Delta of one label a pixel, else floating point: in [0, 1], and at least 0 for
        ``"loss"``.
    """
    if error == "misclassified":
        return misclassified(input, labels)
    if not input.is_floating_point():
        raise TypeError(
            f"Expected scores for error={error!r}, but got predicted labels of dtype {input.dtype}."
        )
    if callable(error):
        return _own_error(error, input, labels)
    if plain_loss is None:
        plain_loss = _entry_losses(input, labels, soft=error == "loss")
    loss = plain_loss if error == "loss" else -torch.expm1(-plain_loss)
    return mean_of_valid(loss, labels) if loss.ndim > labels.labelled.ndim else loss


def misclassified(input: Tensor, labels: Labels) -> Tensor:
    """Compute Delta: whether the predicted label (the first of the highest scores) is wrong.

    Of several labels a pixel it is the share of the valid ones that are wrong.
    """
    if not _has_channels(labels):
        predicted = input.argmax(1) if input.is_floating_point() else input.long()
        return predicted != labels.label
    predicted = input > 0
    if predicted.ndim < labels.label.ndim:
        predicted = predicted.unsqueeze(1)
    wrong = (predicted != labels.label) & labels.valid
    return wrong[:, 0] if wrong.shape[1] == 1 else mean_of_valid(wrong.to(map_dtype(input)), labels)


def mean_of_valid(values: Tensor, labels: Labels) -> Tensor:
    """Average (B, C, *S) over the valid entries of each pixel; 0 where there is none."""
    total = torch.where(labels.valid, values, 0).sum(1)
    return total / labels.valid.sum(1).clamp(min=1)


def _has_channels(labels: Labels) -> bool:
    return labels.label.ndim > labels.labelled.ndim


def _entry_losses(logits: Tensor, labels: Labels, soft: bool) -> Tensor:
    """Compute the cross-entropy of each pixel, or of each entry of several labels a pixel.

    With ``soft`` class probabilities are taken as they are, else by their label.
    """
    if not _has_channels(labels):
        if soft and labels.given.is_floating_point():
            return F.cross_entropy(logits.to(map_dtype(logits)), labels.given, reduction="none")
        label = labels.label.masked_fill(~labels.labelled, -100)
        return pixel_cross_entropy(logits, label, ignore_index=-100)[0]
    # The score against the label. torch's binary cross-entropy subtracts it from its log-sigmoid: of
    # a well-fitted image only the rounding would be left, and of an infinite right score a NaN.
    against = torch.where(labels.label, -logits, logits).to(map_dtype(logits))
    return F.softplus(against, threshold=LINEAR[against.dtype])


def _own_error(error: Callable[[Tensor, Tensor], Any], logits: Tensor, labels: Labels) -> Tensor:
    """Call an error that the user wrote; an ignored label never reaches it as an index."""
    with torch.no_grad():
        value: Any = error(logits.to(map_dtype(logits)), labels.indexable)
    require_tensor(value, "error(...)")
    if value.shape == (labels.labelled.shape[0], 1, *labels.labelled.shape[1:]):
        value = value.squeeze(1)
    if value.shape != labels.labelled.shape:
        raise fail(f"`error` to return a map of shape {shape_of(labels.labelled)}", shape_of(value))
    checked: Tensor = value
    return checked.to(torch.promote_types(checked.dtype, torch.float32)).clamp(0, 1)
