"""One value per pixel from any criterion, and what that criterion ignores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._bits import keep
from ._checks import fail, require_finite, require_ignore_index, require_object, shape_of
from ._labels import Labels

Criterion = Callable[[Tensor, Tensor], Tensor]
NOT_SET = -100  # torch's own default, which no data set uses by choice
# The functions whose mean torch divides by the sum of the labels' weights.
WEIGHTED_MEANS = (F.cross_entropy, F.nll_loss)
# Of the scores that a criterion sees at ignored pixels. exp(-60) is far from 0 in float32, and a
# probability that near to 0 or 1 hardly differs from one behind the bound.
BOUND = 30.0


def name_of(criterion: Any) -> str:
    """Find the name by which a message calls a criterion."""
    wrapped = getattr(criterion, "func", criterion)  # functools.partial
    return getattr(wrapped, "__name__", None) or type(wrapped).__name__


def declared(criterion: Any, option: str) -> Any:
    """Read an option of a loss module, or of a functools.partial of a loss function; else None."""
    keywords = getattr(criterion, "keywords", {})
    return keywords.get(option, getattr(criterion, option, None))


def resolve_ignore_index(criterion: Any, *others: int | None) -> int:
    """Find the one label to ignore, from the criterion, the caller and the weighting.

    -100 counts as not set; two different labels that were set cannot both be right.
    """
    own = declared(criterion, "ignore_index")
    chosen = {index for index in (own, *others) if index is not None and index != NOT_SET}
    if len(chosen) > 1:
        raise fail(
            "one `ignore_index` for the criterion, the weighting and the loss",
            f"{sorted(chosen)}",
            "set the same one everywhere",
        )
    index = chosen.pop() if chosen else NOT_SET
    if own is not None and own != index:
        raise fail(
            f"a criterion that ignores {index}, as the rest of the loss",
            f"{name_of(criterion)} with ignore_index={own}",
            f"did you mean {name_of(criterion)}(ignore_index={index})?",
        )
    return require_ignore_index(index)


def default_criterion(task: str, ignore_index: int) -> nn.Module:
    """The criterion of a task: cross-entropy of classes, or of the one or more flags of a pixel."""
    if task == "multiclass":
        return nn.CrossEntropyLoss(ignore_index=ignore_index, reduction="none")
    return nn.BCEWithLogitsLoss(reduction="none")


def check_criterion(criterion: Any, task: str) -> None:
    """Raise at construction if the criterion is known to reduce.

    What it really returns is checked on the first call.
    """
    require_object(criterion, "criterion", "callable")
    reduction = declared(criterion, "reduction")
    if isinstance(reduction, str) and reduction != "none":
        raise fail(
            '`criterion` to give one value per pixel, reduction="none"',
            f"{name_of(criterion)} with reduction={reduction!r}",
        )
    if isinstance(criterion, nn.CrossEntropyLoss):
        if task != "multiclass":
            raise fail(
                f'a criterion for task="{task}" of the weighting',
                name_of(criterion),
                'did you mean BCEWithLogitsLoss(reduction="none")?',
            )
        smoothing = require_finite(criterion.label_smoothing, "label_smoothing")
        if smoothing > 1:
            raise fail("`label_smoothing` to be at most 1", f"{smoothing:g}")


def class_weights(criterion: Any) -> Tensor | None:
    """The class weights by whose sum torch divides the mean of this criterion; else None."""
    function = getattr(criterion, "func", None)  # functools.partial
    if isinstance(criterion, (nn.CrossEntropyLoss, nn.NLLLoss)) or function in WEIGHTED_MEANS:
        weight: Tensor | None = declared(criterion, "weight")
        return weight
    return None


def shield(logits: Tensor, labels: Labels) -> Tensor:
    """Cut the scores of ignored pixels off from their gradient, and bound them.

    A NaN, an infinity or a saturated score can make a criterion's derivative infinite, and 0 times
    that is NaN: replacing its value alone would not do. Pixels around still see scores up to the
    bound as they are, so that a criterion that looks at neighbours gives what it gave.
    """
    seen = logits.detach().clamp(-BOUND, BOUND).nan_to_num(0.0)
    return torch.where(labels.by_channel, logits, seen)


def pixel_loss(
    criterion: Criterion, logits: Tensor, labels: Labels, ignore_index: int, entries: str
) -> Tensor:
    r"""Compute the criterion's value at each pixel, 0 where ignored.

    A criterion that knows nothing of ignored labels gets 0 in their place, so that they never
    reach an index.

    Args:
        criterion: any criterion but the one-pass cross-entropy.
        logits: scores at the size of the labels, of :func:`shield`.
        labels: the checked target.
        ignore_index: the label of the loss.
        entries: what happens to one value per class: ``"refuse"``, ``"sum"`` or ``"mean"`` (over
            the valid ones).

    Raises:
        TypeError: the criterion does not return a tensor.
        ValueError: it does not return one value per pixel.
    """
    value: Any
    if type(criterion) is nn.CrossEntropyLoss:  # of class probabilities, which ignore no label
        value = F.cross_entropy(
            logits,
            labels.given.to(logits.dtype),
            weight=None if criterion.weight is None else criterion.weight.to(logits.dtype),
            label_smoothing=criterion.label_smoothing,
            reduction="none",
        )
    elif type(criterion) is nn.BCEWithLogitsLoss and labels.valid.shape == logits.shape:
        # It insists on a float target of the shape of the scores.
        value = criterion(logits, labels.indexable.reshape(logits.shape).to(logits.dtype))
    else:
        knows_ignored = declared(criterion, "ignore_index") is not None
        value = criterion(logits, labels.given if knows_ignored else labels.indexable)
    loss = _one_per_pixel(criterion, value, logits, labels, entries)
    # Replaced, not multiplied by 0: a criterion may well be NaN where there is nothing to learn.
    return keep(loss, labels.labelled)


def _one_per_pixel(
    criterion: Criterion, loss: Any, logits: Tensor, labels: Labels, entries: str
) -> Tensor:
    name = name_of(criterion)
    if not isinstance(loss, Tensor):
        raise TypeError(
            f"Expected `criterion` to return a torch.Tensor, "
            f"but got {type(loss).__name__} from {name}."
        )
    value: Tensor = loss
    shape = labels.labelled.shape
    # Of equal rank first: a traced size that is compared with a number of classes is bound to it.
    per_class = value.ndim == logits.ndim and value.shape == logits.shape
    if per_class and entries != "refuse":
        valid = labels.by_channel
        total = torch.where(valid, value, 0).sum(1)
        value = total if entries == "sum" else total / valid.sum(1).clamp(min=1)
    if value.ndim == logits.ndim and value.shape == (shape[0], 1, *shape[1:]):
        value = value.squeeze(1)
    if value.ndim == len(shape) and value.shape == shape:
        return value.to(torch.promote_types(value.dtype, torch.float32))
    hint = None
    if per_class:
        hint = "that is one value per class, to add them up pass sum_classes=True"
    elif value.ndim == 0 or value.shape == (1,):
        hint = 'that is already reduced, was it built with reduction="none" and does it heed that?'
    raise fail(
        f"`criterion` to return one value per pixel, shape {tuple(shape)}",
        f"{'a scalar' if value.ndim == 0 else 'shape ' + shape_of(value)} from {name}",
        hint,
    )
