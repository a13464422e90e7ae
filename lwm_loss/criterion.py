"""One value per pixel from any criterion, and what that criterion ignores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._batch import Batch
from ._checks import fail, require_int, require_object, shape_of

Criterion = Callable[[Tensor, Tensor], Tensor]
NOT_SET = -100  # torch's own default, which no data set uses by choice


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
    return require_int(index, "ignore_index")


def check_criterion(criterion: Any) -> None:
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


def pixel_loss(
    criterion: Criterion, logits: Tensor, batch: Batch, ignore_index: int, sum_classes: bool
) -> Tensor:
    r"""Compute the criterion's value at each pixel, 0 where ignored.

    A criterion that knows nothing of ignored labels gets class 0 in their place, so that they
    never reach an index.

    Raises:
        TypeError: the criterion does not return a tensor.
        ValueError: it does not return one value per pixel.
    """
    knows_ignored = declared(criterion, "ignore_index") is not None
    label = batch.target if knows_ignored else torch.where(batch.labelled, batch.target, 0)
    loss = _one_per_pixel(criterion, criterion(logits, label), logits, batch.target, sum_classes)
    # Replaced, not multiplied by 0: a criterion may well be NaN where there is nothing to learn.
    return torch.where(batch.labelled, loss, 0)


def _one_per_pixel(
    criterion: Criterion, loss: Any, logits: Tensor, target: Tensor, sum_classes: bool
) -> Tensor:
    name = name_of(criterion)
    if not isinstance(loss, Tensor):
        raise TypeError(
            f"Expected `criterion` to return a torch.Tensor, "
            f"but got {type(loss).__name__} from {name}."
        )
    value: Tensor = loss
    if sum_classes and value.shape == logits.shape:
        value = value.sum(1)
    if value.shape == (target.shape[0], 1, *target.shape[1:]):
        value = value.squeeze(1)
    if value.shape == target.shape:
        return value.to(torch.promote_types(value.dtype, torch.float32))
    hint = None
    if value.shape == logits.shape:
        hint = "that is one value per class, to add them up pass sum_classes=True"
    elif value.ndim == 0 or value.shape == (1,):
        hint = 'that is already reduced, was it built with reduction="none" and does it heed that?'
    raise fail(
        f"`criterion` to return one value per pixel, shape {shape_of(target)}",
        f"{'a scalar' if value.ndim == 0 else 'shape ' + shape_of(value)} from {name}",
        hint,
    )
