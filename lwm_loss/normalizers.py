"""The divisor n of every mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ._checks import (
    can_read,
    fail,
    require_choice,
    require_depth,
    require_ignore_index,
    require_mask,
    require_tensor,
    shape_of,
)
from ._labels import TASKS, Labels, Task, check_classes
from ._pixels import count_pixels, depth_pixels

__all__ = ["Normalizers", "global_normalizers"]


def divisor(
    normalizer: Tensor | float | None,
    pixels: Tensor,
    dtype: torch.dtype,
    name: str = "normalizer",
) -> Tensor:
    """Compute the divisor n: ``normalizer`` if given, else the number of ``pixels``.

    It is never 0, so that an empty batch gives 0. A tensor, which is not read, becomes NaN if it is
    negative; a number of the host is refused.
    """
    if normalizer is None:
        return count_pixels(pixels, dtype)
    if not isinstance(normalizer, Tensor):
        n = check_normalizer(normalizer, name)
        return torch.full((), n if n > 0 else 1.0, dtype=dtype, device=pixels.device)
    if normalizer.numel() != 1:
        raise fail(f"a `{name}` of one element", f"shape {shape_of(normalizer)}")
    n_tensor = normalizer.detach().to(pixels.device, dtype).reshape(())
    return torch.where(n_tensor > 0, n_tensor, torch.where(n_tensor == 0, 1.0, torch.nan))


def check_normalizer(value: object, name: str) -> float:
    """Refuse a number of the host that cannot divide."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"Expected `{name}` to be a number or a tensor, but got {value!r:.80}.")
    if not math.isfinite(value) or value < 0:
        raise fail(f"`{name}` to be finite and at least 0", f"{float(value):g}")
    return float(value)


def weighted_count(labels: Labels, class_weight: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Compute n of labels: V_y, or with class weights the sum of those of its labels.

    That is how torch averages: over labels weighted by class, but over class probabilities not.
    """
    if class_weight is None or labels.given.is_floating_point():
        return count_pixels(labels.labelled, dtype)
    each = class_weight.detach().to(dtype)[labels.label.masked_fill(~labels.labelled, 0)]
    total = torch.where(labels.labelled, each, 0).sum()
    return torch.where(total == 0, 1, total)


class Normalizers(NamedTuple):
    """The divisors of one step: pass them on by name, ``criterion(..., normalizer=n.normalizer)``.

    Attributes:
        normalizer: n of L_s, L_h and L_hk, a 0-dimensional float64 tensor (float32 on MPS).
        depth_normalizer: n of L_d likewise, or None without depth.
    """

    normalizer: Tensor
    depth_normalizer: Tensor | None


def global_normalizers(
    target: Tensor | Sequence[Tensor],
    target_depth: Tensor | Sequence[Tensor] | None = None,
    *,
    ignore_index: int = -100,
    depth_mask: Tensor | Sequence[Tensor] | None = None,
    class_weight: Tensor | None = None,
    group: Any = None,
    task: Task = "multiclass",
) -> Normalizers:
    r"""Count the pixels of a whole step: of all its micro-batches, on all processes.

    A mean of means is not the mean where void is spread unevenly: two processes, or two micro-batches,
    that each divide by their own labelled pixels give another gradient than one batch of all. Divided
    by these numbers the gradients add up to that of the one batch. The counts are summed over all
    processes, in one collective call, and divided by their number, since
    :class:`~torch.nn.parallel.DistributedDataParallel` averages gradients. Every process must call it.

    Args:
        target: labels of this process' batch, or a list of those of its micro-batches.
        target_depth: true depth (B, \*S) or (B, 1, \*S), or a list likewise; for L_d.
        ignore_index: the label of pixels that do not count.
        depth_mask: bool, the shape of ``target_depth``, or a list likewise.
        class_weight: (C,), those of the criterion, with which n is the sum of the labels' weights.
        group: the process group; all processes by default.
        task: what the labels are, see :class:`lwm_loss.LossWeightModule`.

    Returns:
        :class:`Normalizers` on the device of the target.

    Raises:
        TypeError: an argument is no tensor and no list of tensors, or has the wrong kind of dtype.
        ValueError: lists of different lengths, shapes that do not fit, or (on the CPU) a label that
            has no class weight.

    Example:
        >>> import torch
        >>> parts = [torch.tensor([[[0, 1]]]), torch.tensor([[[255, 1]]])]
        >>> global_normalizers(parts, ignore_index=255).normalizer
        tensor(3., dtype=torch.float64)
    """
    require_choice(task, "task", TASKS)
    require_ignore_index(ignore_index)
    if class_weight is not None:
        require_tensor(class_weight, "class_weight")
        if class_weight.ndim != 1:
            raise fail("`class_weight` of shape (C,)", shape_of(class_weight))
    targets = _listed(target, "target")
    depths = _listed(target_depth, "target_depth", len(targets))
    masks = _listed(depth_mask, "depth_mask", len(targets))
    if masks and not depths:
        raise TypeError("Expected `target_depth` with a `depth_mask`, but got None.")
    device = targets[0].device
    exact = torch.float32 if device.type == "mps" else torch.float64
    counts = torch.zeros(2, dtype=exact, device=device)
    for part in targets:
        counts[0] += _label_sum(part, ignore_index, class_weight, task, exact)
    for place, depth in enumerate(depths):
        _check_depth(depth, masks[place] if masks else None)
        known = depth_pixels(depth)
        if masks:
            known = known & masks[place].reshape(known.shape)
        counts[1] += known.sum()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(counts, group=group)
        counts /= dist.get_world_size(group)
    return Normalizers(counts[0], counts[1] if depths else None)


def _listed(
    tensors: Tensor | Sequence[Tensor] | None, name: str, count: int | None = None
) -> list[Tensor]:
    """Bring one batch and a list of micro-batches to a list; [] for None."""
    if tensors is None:
        return []
    if not isinstance(tensors, (Tensor, list, tuple)):
        raise TypeError(
            f"Expected `{name}` to be a tensor or a list of them, but got {type(tensors).__name__}."
        )
    listed = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    for tensor in listed:
        require_tensor(tensor, name)
    if not listed or (count is not None and len(listed) != count):
        raise fail(f"`{name}` of {count or 'at least one'} batches", f"{len(listed)}")
    return listed


def _check_depth(depth: Tensor, mask: Tensor | None) -> None:
    require_depth(depth, "target_depth")
    if mask is None:
        return
    require_mask(mask, "depth_mask")
    if mask.numel() != depth.numel() or mask.shape[0] != depth.shape[0]:
        raise fail(
            f"`depth_mask` of the shape of `target_depth`, {shape_of(depth)}", shape_of(mask)
        )


def _label_sum(
    target: Tensor, ignore_index: int, class_weight: Tensor | None, task: str, dtype: torch.dtype
) -> Tensor:
    """Count the labelled pixels of a target, or add up their class weights."""
    if task == "multiclass" and target.is_floating_point():
        return (target.sum(1) != 0).sum()
    wide = target if target.is_floating_point() else target.long()
    labelled = wide != ignore_index
    if task == "multilabel":
        labelled = labelled.any(1)
    if task != "multiclass" or class_weight is None:
        return labelled.sum()
    if can_read(wide) and wide.numel():
        check_classes(
            wide, labelled, len(class_weight), ignore_index, ", one for each class weight"
        )
    each = class_weight.to(target.device, dtype)[wide.masked_fill(~labelled, 0)]
    return torch.where(labelled, each, 0).sum()
