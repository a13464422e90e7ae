"""A criterion weighted pixel by pixel by M: L_h (Eq. 4)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ._checks import Batch, check_batch, fail, require_scores, require_tensor, shape_of
from ._pixels import count_pixels, map_dtype
from .criterion import (
    Criterion,
    check_criterion,
    is_cross_entropy,
    pixel_loss,
    resolve_ignore_index,
)
from .cross_entropy import resize_logits
from .curriculum import SelfPacedCurriculum
from .weighting import LossWeightModule, PreparedBatch

__all__ = ["HardPixelLoss"]


def divisor(normalizer: Tensor | float | None, pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """n: the pixels of the set, or what the caller says; never 0."""
    if normalizer is None:
        return count_pixels(pixels, dtype)
    n = torch.as_tensor(normalizer, device=pixels.device).to(dtype)
    if n.numel() != 1:
        raise fail("a normalizer of one element", f"shape {shape_of(n)}")
    n = n.reshape(())
    return torch.where(n > 0, n, 1)


class Weighed(nn.Module):
    """What both losses do with a weighting and a curriculum."""

    criterion: Criterion
    weighting: nn.Module
    curriculum: SelfPacedCurriculum | None
    ignore_index: int
    sum_classes: bool
    upsample_logits: bool

    def _prepare(self, batch: Batch, gap: Tensor | None = None) -> PreparedBatch | None:
        """What the Loss Weight Module can share between outputs; None for any other weighting."""
        weighting = self.weighting
        overridden = type(weighting).forward is not LossWeightModule.forward
        if overridden or not isinstance(weighting, LossWeightModule):
            return None
        return weighting.prepare(batch, gap)

    def _check(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor | None,
        target_depth: Tensor | None,
        depth_mask: Tensor | None,
    ) -> Batch:
        require_scores(logits)
        return check_batch(
            logits,
            target,
            pred_depth,
            target_depth,
            depth_mask,
            ignore_index=self.ignore_index,
            log_input=getattr(self.weighting, "log_input", True),
            any_size=self.upsample_logits,
        )

    def _loss_and_weight(
        self, logits: Tensor, batch: Batch, prepared: PreparedBatch | None
    ) -> tuple[Tensor, Tensor]:
        """The criterion's value and M (with a curriculum its kept part) at every pixel.

        Scores at another size than the labels are brought to it: within the pass where the
        one-pass cross-entropy is all that reads them, else before.
        """
        if prepared is None or not is_cross_entropy(self.criterion):
            logits = resize_logits(logits.to(map_dtype(logits)), batch.target.shape[1:])
        loss, wrong = pixel_loss(
            self.criterion, logits, batch.target, self.ignore_index, self.sum_classes
        )
        return loss, self._weight(logits, wrong, batch, prepared)

    def _weight(
        self, logits: Tensor, wrong: Tensor, batch: Batch, prepared: PreparedBatch | None
    ) -> Tensor:
        weighting = self.weighting
        if isinstance(weighting, LossWeightModule) and prepared is not None:
            weight = weighting.weigh(wrong, prepared, map_dtype(logits)).weight
        else:
            # The weighting may go by another label than the loss for what is ignored.
            ignored = getattr(weighting, "ignore_index", self.ignore_index)
            target = torch.where(batch.labelled, batch.target, ignored)
            weight = weighting(logits, target, batch.pred_depth, batch.target_depth)
            weight = torch.where(batch.labelled, self._checked(weight, target), 0)
        return weight if self.curriculum is None else self.curriculum(weight, batch.labelled)

    def _checked(self, weight: Any, target: Tensor) -> Tensor:
        require_tensor(weight, "weighting(...)")
        if weight.shape != target.shape:
            raise fail(
                f"`weighting` to return one weight per pixel, shape {shape_of(target)}",
                f"shape {shape_of(weight)} from {type(self.weighting).__name__}",
            )
        checked: Tensor = weight
        return checked


class HardPixelLoss(Weighed):
    r"""Weights any segmentation loss that yields one value per pixel (Eq. 4).

    .. math:: L_h = \frac{1}{n} \sum_{i \in V_y} M_i \, \ell_i

    with :math:`\ell` the criterion and n the labelled pixels of the batch. Add it to the loss
    you have: where M is 0 it teaches nothing. With a uniform weight of 1 it is that loss.

    Ignored pixels give exactly 0 and no gradient, whatever the criterion does with them; a
    batch without labelled pixels gives 0 with a gradient graph. Logits narrower than float32
    are widened before the criterion sees them.

    Args:
        criterion: called as ``criterion(logits, target)``; must return (B, \*S) or (B, 1, \*S):
            built with ``reduction="none"``, say. Any callable will do.
        weighting: gives M from (logits, target, pred_depth, target_depth): a
            :class:`LossWeightModule`, one of its rivals, or your own module.
        curriculum: filters M by the epoch (Eq. 8), or None.
        ignore_index: needed only if neither the criterion nor the weighting has one.
        sum_classes: adds up a criterion that returns one value per class, (B, C, \*S).
        upsample_logits: takes scores at any resolution and brings them to the target's (bilinear,
            ``align_corners=False``); with cross-entropy they never exist at full size.

    Raises:
        TypeError: the criterion is not callable.
        ValueError: the criterion is built to reduce, or two different labels are ignored.

    Example:
        >>> weighting = LossWeightModule()
        >>> cross_entropy = nn.CrossEntropyLoss(ignore_index=255, reduction="none")
        >>> criterion = HardPixelLoss(cross_entropy, weighting)
        >>> logits = torch.zeros(2, 3, 4, 5, requires_grad=True)
        >>> target = torch.full((2, 4, 5), 1)
        >>> target[:, 0] = 255
        >>> depth = torch.full((2, 4, 5), 9.0)
        >>> criterion(logits, target, depth.log(), depth)            # all wrong: M = Z = 1
        tensor(1.0986, grad_fn=<DivBackward0>)
    """

    def __init__(
        self,
        criterion: Criterion,
        weighting: nn.Module,
        curriculum: SelfPacedCurriculum | None = None,
        *,
        ignore_index: int | None = None,
        sum_classes: bool = False,
        upsample_logits: bool = False,
    ) -> None:
        super().__init__()
        check_criterion(criterion)
        self.criterion = criterion
        self.weighting = weighting
        self.curriculum = curriculum
        self.ignore_index = resolve_ignore_index(
            criterion, ignore_index, getattr(weighting, "ignore_index", None)
        )
        self.sum_classes = sum_classes
        self.upsample_logits = upsample_logits

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor | None = None,
        target_depth: Tensor | None = None,
        *,
        depth_mask: Tensor | None = None,
        normalizer: Tensor | float | None = None,
    ) -> Tensor:
        r"""L_h.

        Args:
            logits: scores (B, C, \*S).
            target: integer labels (B, \*S).
            pred_depth: predicted log-depth (B, \*S) or (B, 1, \*S), if the weighting needs it.
            target_depth: true depth, same shapes, if the weighting needs it.
            depth_mask: bool, same shapes; ``False`` marks more pixels as missing.
            normalizer: n, if it is not the labelled pixels of this batch. Under gradient
                accumulation it is the labelled pixels of all that makes one step; under DDP,
                which averages gradients, those divided by the number of processes.

        Returns:
            A scalar; float32, or float64 for float64 logits.

        Raises:
            TypeError: an argument has the wrong type or kind of dtype.
            ValueError: shapes or devices do not fit, the criterion does not return one value
                per pixel, or (on the CPU) a label is out of range.
        """
        batch = self._check(logits, target, pred_depth, target_depth, depth_mask)
        loss, weight = self._loss_and_weight(logits, batch, self._prepare(batch))
        return (weight * loss).sum() / divisor(normalizer, batch.labelled, loss.dtype)

    def extra_repr(self) -> str:
        return f"ignore_index={self.ignore_index}, sum_classes={self.sum_classes}"
