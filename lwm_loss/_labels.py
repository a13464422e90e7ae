"""The labels of a batch under each task, and the check of a target against the scores."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from ._bits import array_of
from ._checks import can_read, fail, require_same_device, require_tensor, shape_of
from ._pixels import labelled_pixels

Task = Literal["multiclass", "binary", "multilabel"]
TASKS: tuple[str, ...] = get_args(Task)


class Labels(NamedTuple):
    r"""A checked target.

    Attributes:
        given: the target in the form in which it came; integer classes as int64.
        label: of ``"multiclass"`` int64 (B, \*S), ``ignore_index`` where ignored; of the other
            tasks bool (B, C, \*S), arbitrary where ignored.
        valid: bool, which entries of ``label`` count; of its shape.
        labelled: bool (B, \*S), V_y: the pixels with a valid entry.
    """

    given: Tensor
    label: Tensor
    valid: Tensor
    labelled: Tensor

    @property
    def indexable(self) -> Tensor:
        """The given target with 0 in place of ignored labels, which must never reach an index."""
        if self.given.ndim > self.labelled.ndim and self.valid.ndim == self.labelled.ndim:
            return self.given  # class probabilities
        return self.given.masked_fill(~self.valid.reshape(self.given.shape), 0)

    @property
    def by_channel(self) -> Tensor:
        r"""Which scores count, (B, C, \*S) or (B, 1, \*S)."""
        return self.valid if self.valid.ndim > self.labelled.ndim else self.valid.unsqueeze(1)


def check_target(
    input: Tensor,
    target: Tensor,
    *,
    task: str,
    ignore_index: int,
    name: str,
    any_size: bool,
    read: bool,
) -> Labels:
    """Check scores, or a map of predicted labels, against a target.

    Args:
        input: scores (B, C, *S), or predicted labels: integers (B, *S), of ``"multilabel"``
            (B, C, *S).
        target: as the task has it, see :class:`lwm_loss.LossWeightModule`.
        task: one of ``TASKS``.
        ignore_index: the label that does not count.
        name: what a message calls ``input``.
        any_size: whether scores may have another resolution than the target.
        read: read values wherever the tensors are, and not only on the CPU.
    """
    require_tensor(input, name)
    require_tensor(target, "target")
    require_same_device(input, name, target=target)
    if input.is_complex() or target.is_complex():
        what, tensor = (name, input) if input.is_complex() else ("target", target)
        raise TypeError(f"Expected `{what}` to be real, but got dtype {tensor.dtype}.")
    _check_input(input, task, name)
    if any_size and 0 in input.shape[2:] and 0 not in target.shape[1:]:
        raise fail(
            f"`{name}` with pixels for `target` of shape {shape_of(target)}", shape_of(input)
        )
    if task == "multiclass":
        labels = _classes(input, target, ignore_index, name, any_size)
    else:
        labels = _flags(input, target, task, ignore_index, name, any_size)
    if (read or can_read(target)) and target.numel() > 0:
        num_classes = input.shape[1] if input.is_floating_point() else None
        _check_values(labels, task, num_classes, ignore_index)
    return labels


def _check_input(input: Tensor, task: str, name: str) -> None:
    """Check the rank of scores or of predicted labels, and the number of channels of scores."""
    scores = input.is_floating_point()
    if input.dtype == torch.bool and task == "multiclass":
        raise TypeError(
            f"Expected `{name}` to be floating point scores or integer labels, "
            f"but got dtype {input.dtype}."
        )
    with_channel = scores or task == "multilabel"
    if input.ndim not in ((4, 5) if with_channel else (3, 4)):
        shape = "(B, C, H, W) or (B, C, D, H, W)" if with_channel else "(B, H, W) or (B, D, H, W)"
        raise fail(f"`{name}` of shape {shape}", shape_of(input), "is the batch dimension there?")
    if not scores:
        return
    channels = input.shape[1]
    if task == "binary" and channels != 1:
        hint = 'did you mean task="multiclass"?' if channels == 2 else 'or task="multilabel"?'
        raise fail(f'`{name}` with one channel for task="binary"', shape_of(input), hint)
    if task == "multiclass" and channels < 2:
        raise fail(
            f"`{name}` with a channel for each of at least two classes",
            shape_of(input),
            'for one channel of scores use LossWeightModule(task="binary")' if channels else None,
        )
    if channels == 0:
        raise fail(f"`{name}` with at least one channel", shape_of(input))


def require_classes(target: Tensor) -> None:
    """Refuse a target whose dtype cannot hold class indices."""
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        raise TypeError(
            f"Expected `target` to hold integer class indices, but got dtype {target.dtype}: "
            "did you mean target.long(), or target.argmax(1) for one-hot labels?"
        )


def _classes(input: Tensor, target: Tensor, ignore_index: int, name: str, any_size: bool) -> Labels:
    """Read a target of ``"multiclass"``: integer classes, or the probabilities of classes."""
    scores = input.is_floating_point()
    size = input.shape[2 if scores else 1 :]
    if target.is_floating_point() and target.ndim == len(size) + 2 and target.shape[1] > 1:
        classes = input.shape[1] if scores else target.shape[1]
        expected = (input.shape[0], classes, *(target.shape[2:] if any_size else size))
        if tuple(target.shape) != expected:
            raise fail(
                f"class probabilities `target` of shape {expected} for `{name}` of shape "
                f"{shape_of(input)}",
                shape_of(target),
            )
        labelled = target.sum(1) != 0
        label = torch.where(labelled, target.argmax(1), ignore_index)
        return Labels(target, label, labelled, labelled)
    require_classes(target)
    expected = (input.shape[0], *size)
    if any_size and target.ndim == len(expected):
        expected = (input.shape[0], *target.shape[1:])
    if tuple(target.shape) != expected:
        squeezable = target.ndim == len(expected) + 1 and target.shape[1] == 1
        hint = None
        if squeezable:
            hint = "did you forget target.squeeze(1)?"
        elif scores and target.shape == input.shape:
            hint = "is it one-hot (then use target.argmax(1))?"
        elif target.ndim == len(expected):
            hint = "were the scores upsampled to the size of the labels?"
        raise fail(
            f"`target` of shape {expected} for `{name}` of shape {shape_of(input)}",
            shape_of(target),
            hint,
        )
    target = target.long()
    labelled = labelled_pixels(target, ignore_index)
    return Labels(target, target, labelled, labelled)


def _flags(
    input: Tensor, target: Tensor, task: str, ignore_index: int, name: str, any_size: bool
) -> Labels:
    """Read a target of ``"binary"`` or ``"multilabel"``: 0, 1 or ``ignore_index`` an entry."""
    flags = target
    if task == "binary" and target.ndim == input.ndim - int(input.is_floating_point()):
        flags = target.unsqueeze(1)
    channels = 1 if task == "binary" else input.shape[1]
    with_channel = input.is_floating_point() or task == "multilabel"
    size = tuple(input.shape[2 if with_channel else 1 :])
    fits = flags.ndim == len(size) + 2 and flags.shape[:2] == (input.shape[0], channels)
    if not fits or not (any_size or tuple(flags.shape[2:]) == size):
        shapes = f"{(input.shape[0], channels, *size)}"
        if task == "binary":
            shapes = f"{(input.shape[0], *size)} or {shapes}"
        raise fail(
            f'`target` of shape {shapes} for task="{task}" and `{name}` of shape {shape_of(input)}',
            shape_of(target),
            'one label a pixel is task="multiclass"' if task == "multilabel" else None,
        )
    # Of unsigned bytes an ignored label of -100 would wrap.
    wide = flags if flags.is_floating_point() else flags.long()
    valid = wide != ignore_index
    return Labels(target, wide > 0.5, valid, valid.any(1) if channels > 1 else valid[:, 0])


def _check_values(labels: Labels, task: str, num_classes: int | None, ignore_index: int) -> None:
    """Refuse values that are no labels of the task. Reads the tensor."""
    given = labels.given
    if task != "multiclass":
        if given.dtype == torch.bool:
            return
        flags = given.reshape(labels.valid.shape)
        wrong = labels.valid & (flags != 0) & (flags != 1)
        if bool(wrong.any()):
            value = flags[wrong][0].item()
            likely = value in (-100, -1, 255)
            raise fail(
                f'`target` to hold 0, 1 or ignore_index={ignore_index} for task="{task}"',
                f"{value:g}",
                f"did you mean ignore_index={value:g}?" if likely else None,
            )
    elif given.is_floating_point():
        low, total = float(given.amin()), float(given.sum(1).amax())
        if not low >= 0 or not total <= 1.01:
            raise fail(
                "a floating point `target` to hold class probabilities, at least 0 and at most 1 "
                "together",
                f"a smallest entry of {low:g} and a largest sum of {total:g}",
                "are these scores in place of labels?",
            )
    else:
        check_classes(labels.label, labels.labelled, num_classes, ignore_index)


def check_classes(
    label: Tensor,
    labelled: Tensor,
    num_classes: int | None,
    ignore_index: int,
    counted_by: str = "",
) -> None:
    """Refuse labels outside of [0, num_classes) other than ``ignore_index``. Reads the tensor.

    Args:
        label: int64, any shape with an element.
        labelled: bool, the labels that count.
        num_classes: the number of classes, or None for any.
        ignore_index: the label that does not count.
        counted_by: what a message says of the number of classes.
    """
    bound = 1 << 63 if num_classes is None else num_classes
    values = array_of(label)
    if values is not None:
        # Of unsigned integers the negative ones are the highest.
        outside = values.view(np.uint64) >= bound
        if not (outside & labelled.numpy()).any():
            return
    low, high = (int(bound) for bound in torch.aminmax(torch.where(labelled, label, 0)))
    if low >= 0 and high < bound:
        return
    wrong = low if low < 0 else high
    top = "" if num_classes is None else f"{num_classes - 1}"
    likely = wrong in (-100, -1, 255) or (num_classes is not None and wrong > num_classes)
    raise fail(
        f"`target` to hold labels in [0, {top}] or ignore_index={ignore_index}{counted_by}",
        str(wrong),
        f"did you mean ignore_index={wrong}?" if likely else "do the labels start at 1?",
    )
