"""A checked batch: its labels, its depths, and the pixels V_y and V_d that have them.

Shapes, dtypes and devices are checked always. Values are read only where reading is free of
cost: on a CPU tensor outside of compilation and of function transforms. On CUDA a read would
stall the device, so there they are read only by :func:`lwm_loss.validate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ._checks import (
    can_read,
    fail,
    require_depth,
    require_mask,
    require_same_device,
    require_tensor,
    same_size,
    shape_of,
)
from ._labels import Labels, Task, check_target
from ._pixels import depth_pixels, map_dtype
from .cross_entropy import resize_logits


class Batch(NamedTuple):
    r"""What one call of a loss or a weighting computes from, checked once.

    Attributes:
        labels: the labels of the task, with V_y.
        pred_depth: predicted (log-)depth (B, \*S), or None.
        target_depth: true depth (B, \*S), 0 where a mask takes it away, or None.
        known: bool (B, \*S), V_d, or None without a true depth.
    """

    labels: Labels
    pred_depth: Tensor | None
    target_depth: Tensor | None
    known: Tensor | None

    @property
    def labelled(self) -> Tensor:
        r"""V_y, bool (B, \*S)."""
        return self.labels.labelled

    def require_target_depth(self) -> tuple[Tensor, Tensor]:
        """The true depth and V_d. Raises TypeError if no depth was passed."""
        if self.target_depth is None or self.known is None:
            raise TypeError("Expected `target_depth` to be a torch.Tensor, but got None.")
        return self.target_depth, self.known

    def require_depths(self) -> tuple[Tensor, Tensor, Tensor]:
        """The predicted depth, the true depth and V_d. Raises TypeError if one was not passed."""
        if self.pred_depth is None:
            raise TypeError(
                "Expected `pred_depth` to be a torch.Tensor, but got None: "
                'only LossWeightModule(fusion="dse") does without it.'
            )
        return self.pred_depth, *self.require_target_depth()

    def nearest(self, size: torch.Size) -> Batch:
        """The batch at another size: label and depth at floor(position * full / size)."""

        def pick(values: Tensor | None) -> Tensor | None:
            return None if values is None else _nearest(values, size)

        return Batch(
            Labels(*(_nearest(values, size) for values in self.labels)),
            pick(self.pred_depth),
            pick(self.target_depth),
            pick(self.known),
        )


class BatchRules(NamedTuple):
    """By which options a batch is checked.

    Attributes:
        ignore_index: the label of pixels that do not count.
        log_input: whether the predicted depth is in logs.
        any_size: whether scores and predicted depth may have another resolution than the labels.
        task: what the labels are.
        name: what a message calls the scores.
    """

    ignore_index: int
    log_input: bool = True
    any_size: bool = False
    task: Task = "multiclass"
    name: str = "logits"

    def check(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor | None = None,
        target_depth: Tensor | None = None,
        depth_mask: Tensor | None = None,
        *,
        scores_only: bool = False,
        read: bool = False,
    ) -> Batch:
        """Check everything that is passed in one call, and bring it to the shapes of a Batch.

        Args:
            logits: scores (B, C, *S), or a map of predicted labels.
            target: labels of the task.
            pred_depth: (B, *S) or (B, 1, *S), or None.
            target_depth: same shapes, or None.
            depth_mask: bool, same shapes, or None.
            scores_only: refuse predicted labels, as a loss must.
            read: read the values wherever the tensors are.
        """
        if scores_only:
            require_scores(logits)
        labels = check_target(
            logits,
            target,
            task=self.task,
            ignore_index=self.ignore_index,
            name=self.name,
            any_size=self.any_size,
            read=read,
        )
        shape = labels.labelled.shape
        depths = {"pred_depth": pred_depth, "target_depth": target_depth}
        given = {name: depth for name, depth in depths.items() if depth is not None}
        if depth_mask is not None and target_depth is None:
            raise TypeError("Expected `target_depth` with a `depth_mask`, but got None.")
        if given:
            require_same_device(logits, self.name, **given)
            if self.any_size and pred_depth is not None:
                given["pred_depth"] = resize_depth(pred_depth, shape)
            given.update(zip(given, check_depths(dict(given), depth_mask, tuple(shape))))
        if len(given) == 2 and not self.log_input and (read or can_read(given["pred_depth"])):
            check_positive(given["pred_depth"], given["target_depth"])
        true = given.get("target_depth")
        known = None if true is None else depth_pixels(true)
        return Batch(labels, given.get("pred_depth"), true, known)


def _nearest(values: Tensor, size: torch.Size) -> Tensor:
    """Pick values of a (..., *S) map at floor(position * full / size) along each spatial axis."""
    for axis, length in enumerate(size, values.ndim - len(size)):
        full = values.shape[axis]
        index = torch.arange(length, device=values.device) * full // length
        values = values.index_select(axis, index)
    return values


def require_scores(logits: Tensor, name: str = "logits") -> None:
    """Refuse predicted labels, which a measurement takes and a loss does not."""
    require_tensor(logits, name)
    if not logits.is_floating_point():
        raise TypeError(
            f"Expected `{name}` to be floating point scores, but got dtype {logits.dtype}."
        )


def resize_depth(depth: Tensor, shape: torch.Size) -> Tensor:
    """Bring a predicted depth to the size of labels (B, *S): bilinear, ``align_corners=False``."""
    size = shape[1:]
    if not depth.is_floating_point() or depth.ndim not in (len(shape), len(shape) + 1):
        return depth  # which check_depths refuses
    if depth.ndim == len(shape):
        depth = depth.unsqueeze(1)
    if depth.shape[:2] != (shape[0], 1) or 0 in depth.shape[2:]:
        return depth
    return at_size(depth, size)


def at_size(scores: Tensor, size: torch.Size) -> Tensor:
    """Bring (B, C, *s) to (B, C, *S); narrower than float32 is widened if it is interpolated."""
    if same_size(scores.shape[2:], size):
        return scores
    return resize_logits(scores.to(map_dtype(scores)), size)


def check_sides(
    side_logits: Sequence[Tensor] | None, logits: Tensor, num_sides: int, size: torch.Size
) -> Sequence[Tensor]:
    """Check the scores of the side outputs against those of the output and the size of the labels."""
    sides = () if side_logits is None else side_logits
    if not isinstance(sides, (list, tuple)):
        raise TypeError(
            f"Expected `side_logits` to be a list of tensors, but got {type(sides).__name__}."
        )
    if len(sides) != num_sides:
        raise fail(
            f"{num_sides} `side_logits`",
            f"{len(sides)}",
            f"did you mean HardPixelMiningLoss(num_sides={len(sides)})?",
        )
    for side in sides:
        require_scores(side, "side_logits")
        require_same_device(logits, "logits", side_logits=side)
        fits = side.ndim == logits.ndim and side.shape[:2] == logits.shape[:2]
        if not fits or (0 in side.shape[2:] and 0 not in size):
            raise fail(
                f"`side_logits` of shape {tuple(logits.shape[:2])} + any size of at least 1",
                shape_of(side),
            )
    return sides


def check_depths(
    depths: dict[str, Tensor | None],
    depth_mask: Tensor | None = None,
    shape: tuple[int, ...] | None = None,
) -> list[Tensor]:
    """Bring depths to (B, *S): that of a target if there is one, else the shape they agree on.

    Returns the depths in order. A mask is applied to ``target_depth`` here, so that behind the
    checks a masked pixel is just one more pixel without depth.
    """
    given: dict[str, Tensor] = {}
    for name, depth in depths.items():
        if depth is None:
            raise TypeError(f"Expected `{name}` to be a torch.Tensor, but got None.")
        given[name] = require_depth(depth, name)
    if depth_mask is not None:
        given["depth_mask"] = require_mask(depth_mask, "depth_mask")
    first = next(iter(given))
    require_same_device(given[first], first, **given)
    if shape is None:
        shape = _common_shape(given)
    maps = {name: _drop_channel(depth, name, shape) for name, depth in given.items()}
    if depth_mask is not None:
        maps["target_depth"] = torch.where(maps.pop("depth_mask"), maps["target_depth"], 0)
    return list(maps.values())


def _common_shape(given: dict[str, Tensor]) -> tuple[int, ...]:
    """(B, *S) of maps without a target to go by; (B, 1, H, W) wins over (B, D, H, W)."""
    name, lowest = next(iter(given.items()))
    for other, depth in given.items():
        if depth.ndim < lowest.ndim:
            name, lowest = other, depth
    if not 3 <= lowest.ndim <= 5:
        raise fail(
            f"`{name}` of shape (B, H, W), (B, 1, H, W), (B, D, H, W) or (B, 1, D, H, W)",
            shape_of(lowest),
            "is the batch dimension there?" if lowest.ndim < 3 else None,
        )
    has_channel = lowest.ndim >= 4 and all(
        depth.ndim == lowest.ndim and depth.shape[1] == 1 for depth in given.values()
    )
    if lowest.ndim == 5 and not has_channel:
        raise fail(f"`{name}` to have one channel", shape_of(lowest))
    return (lowest.shape[0], *lowest.shape[2 if has_channel else 1 :])


def _drop_channel(depth: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
    if tuple(depth.shape) == shape:
        return depth
    if tuple(depth.shape) == (shape[0], 1, *shape[1:]):
        return depth.squeeze(1)
    same_rank = depth.ndim in (len(shape), len(shape) + 1)
    raise fail(
        f"`{name}` of shape {shape} or {(shape[0], 1, *shape[1:])}",
        shape_of(depth),
        "is it at another resolution than the labels?" if same_rank else None,
    )


def check_positive(input: Tensor, target_depth: Tensor, name: str = "pred_depth") -> None:
    """Refuse a depth that is not positive where its log will be taken. Reads the tensor.

    NaN passes: a NaN in a prediction has to stay visible in the loss, as in every torch loss.
    """
    bad = depth_pixels(target_depth) & (input <= 0)
    if bool(bad.any()):
        smallest = float(torch.where(bad, input, 0).min())
        raise fail(
            f"`{name}` to be positive with log_input=False",
            f"{smallest:g}",
            "did you mean log_input=True?",
        )
