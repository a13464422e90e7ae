"""One value per pixel from any criterion, and what that criterion ignores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ._checks import fail, require_int, shape_of
from ._pixels import labelled_pixels, map_dtype
from .cross_entropy import pixel_cross_entropy
from .segmentation_error import misclassified

Criterion = Callable[[Tensor, Tensor], Tensor]
NOT_SET = -100  # torch's own default, which no data set uses by choice


def name_of(criterion: Any) -> str:
    """The name by which a message calls a criterion."""
    wrapped = getattr(criterion, "func", criterion)  # functools.partial
    return getattr(wrapped, "__name__", None) or type(wrapped).__name__


def declared(criterion: Any, option: str) -> Any:
    """An option of a loss module, or of a functools.partial of a loss function; else None."""
    keywords = getattr(criterion, "keywords", {})
    return keywords.get(option, getattr(criterion, option, None))


def resolve_ignore_index(criterion: Any, *others: int | None) -> int:
    """The one label to ignore, from all who have a say: the criterion, the caller, the weighting.

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
    """Refuses what cannot give one value per pixel as soon as that can be told."""
    if not callable(criterion):
        raise TypeError(f"Expected `criterion` to be callable, but got {type(criterion).__name__}.")
    reduction = declared(criterion, "reduction")
    if isinstance(reduction, str) and reduction != "none":
        raise fail(
            '`criterion` to give one value per pixel, reduction="none"',
            f"{name_of(criterion)} with reduction={reduction!r}",
        )


def is_cross_entropy(criterion: Any) -> bool:
    """Whether the one-pass cross-entropy computes just what this criterion does."""
    return type(criterion) is nn.CrossEntropyLoss


def pixel_loss(
    criterion: Criterion,
    logits: Tensor,
    target: Tensor,
    ignore_index: int,
    sum_classes: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""The criterion's value at each pixel (0 where ignored), and Delta.

    Logits narrower than float32 are widened first. A criterion that knows nothing of ignored
    labels gets class 0 in their place, so that they never reach an index.

    Raises:
        TypeError: the criterion does not return a tensor.
        ValueError: it does not return one value per pixel.
    """
    if isinstance(criterion, nn.CrossEntropyLoss) and is_cross_entropy(criterion):
        return pixel_cross_entropy(
            logits,
            target,
            ignore_index=ignore_index,
            weight=criterion.weight,
            label_smoothing=criterion.label_smoothing,
        )
    labelled = labelled_pixels(target, ignore_index)
    knows_ignored = declared(criterion, "ignore_index") is not None
    label = target if knows_ignored else torch.where(labelled, target, 0)
    wide = logits.to(map_dtype(logits))
    loss = _one_per_pixel(criterion, criterion(wide, label), wide, target, sum_classes)
    # Replaced, not multiplied by 0: a criterion may well be NaN where there is nothing to learn.
    return torch.where(labelled, loss, 0), labelled & misclassified(logits.detach(), target)


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
