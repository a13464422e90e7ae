"""The paper's whole objective: every term of Eqs. 5 and 9."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ._batch import Batch, check_sides
from ._checks import require_choice, require_finite, require_ignore_index, require_int
from ._typing import typed_as
from ._weighted_loss import PixelWeightedLoss
from .criterion import Criterion
from .curriculum import SelfPacedCurriculum
from .depth_error import depth_loss
from .weighting import SharedMaps, Weighting

__all__ = ["HardPixelMiningLoss", "LossTerms"]

Resize = Literal["logits", "target"]
RESIZES: tuple[str, ...] = get_args(Resize)


class LossTerms(NamedTuple):
    r"""The terms of the objective; all but ``total`` are detached.

    Attributes:
        total: L_HPM (Eq. 5), or with a curriculum L_T (Eq. 9); the one to call backward on.
        segmentation: L_s (Eq. 1).
        depth: L_d (Eq. 2).
        hard: L_h (Eq. 4), or with a curriculum its kept part (Eq. 8); before alpha.
        sides: L_hk of each side output, (num_sides,); before beta.
        weight: the weight map (B, \*S) that made ``hard``: M, with a curriculum its kept part.
    """

    total: Tensor
    segmentation: Tensor
    depth: Tensor
    hard: Tensor
    sides: Tensor
    weight: Tensor

    def scalars(self) -> dict[str, Tensor]:
        """Collect what can be logged: each term but ``weight``, detached and 0-dimensional.

        ``sides`` is the sum of the side outputs' terms, before beta.

        Example:
            >>> import torch
            >>> one = torch.ones(())
            >>> LossTerms(one, one, one, one, torch.ones(4), torch.ones(1, 2, 2)).scalars()["sides"]
            tensor(4.)
        """
        return {
            "total": self.total.detach(),
            "segmentation": self.segmentation,
            "depth": self.depth,
            "hard": self.hard,
            "sides": self.sides.sum(),
        }


class HardPixelMiningLoss(PixelWeightedLoss):
    r"""The paper's whole objective: Eq. 5, and with a curriculum Eq. 9.

    .. math:: L = L_s + L_d + \alpha L_h + \beta \sum_{k} L_{hk}

    R and the regions are computed once for the output and all side outputs; Z, M and the
    threshold of the curriculum are each output's own. L_s and L_h share one pass over the
    logits, forward and backward.

    Args:
        num_sides: the number of side outputs.
        alpha: the weight of L_h.
        beta: the weight of each L_hk.
        weighting: gives M; a :class:`LossWeightModule` by default.
        curriculum: filters every M by the epoch, or None for Eq. 5.
        criterion: one value per pixel from (logits, target), as in :class:`HardPixelLoss`;
            cross-entropy by default. It takes the place of cross-entropy in L_s as well.
        ignore_index: the label of pixels that do not count.
        resize: how side outputs meet the labels: ``"logits"`` brings them to the target's size
            (bilinear, ``align_corners=False``), ``"target"`` takes the nearest label and depth
            at theirs.
        sum_classes: adds up a criterion that returns one value per class, (B, C, \*S).
        upsample_logits: takes scores at any resolution and brings them to the target's (bilinear,
            ``align_corners=False``); with cross-entropy they never exist at full size.

    Raises:
        TypeError: an option has the wrong type.
        ValueError: an option is out of its range, the criterion is built to reduce, or two
            different labels are ignored.

    Example:
        >>> objective = HardPixelMiningLoss(num_sides=1)
        >>> logits = torch.zeros(2, 3, 8, 8, requires_grad=True)
        >>> side = torch.zeros(2, 3, 4, 4, requires_grad=True)
        >>> log_depth = torch.ones(2, 8, 8, requires_grad=True)
        >>> target, depth = torch.ones(2, 8, 8, dtype=torch.long), torch.ones(2, 8, 8)
        >>> terms = objective(logits, target, log_depth, depth, side_logits=[side])
        >>> terms.total.backward()
        >>> print(f"{terms.segmentation:.3f} {terms.depth:.3f} {terms.hard:.3f}")
        1.099 1.000 2.197
        >>> terms.weight.shape
        torch.Size([2, 8, 8])
    """

    def __init__(
        self,
        num_sides: int = 4,
        alpha: float = 1.0,
        beta: float = 0.1,
        weighting: Weighting | None = None,
        curriculum: SelfPacedCurriculum | None = None,
        criterion: Criterion | None = None,
        ignore_index: int = -100,
        *,
        resize: Resize = "logits",
        sum_classes: bool = False,
        upsample_logits: bool = False,
    ) -> None:
        super().__init__(
            criterion,
            weighting,
            curriculum,
            ignore_index=require_ignore_index(ignore_index),
            sum_classes=sum_classes,
            upsample_logits=upsample_logits,
            defaults=True,
        )
        self.num_sides = require_int(num_sides, "num_sides", minimum=0)
        self.alpha = require_finite(alpha, "alpha")
        self.beta = require_finite(beta, "beta")
        require_choice(resize, "resize", RESIZES)
        self.resize = resize

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor,
        target_depth: Tensor,
        side_logits: Sequence[Tensor] | None = None,
        *,
        depth_mask: Tensor | None = None,
        normalizer: Tensor | float | None = None,
        depth_normalizer: Tensor | float | None = None,
    ) -> LossTerms:
        r"""Compute all terms of the objective.

        Args:
            logits: scores (B, C, \*S).
            target: integer labels (B, \*S).
            pred_depth: predicted log-depth (B, \*S) or (B, 1, \*S); depth if the weighting has
                ``log_input=False``.
            target_depth: true depth, same shapes; zero, negative, NaN and infinite are missing.
            side_logits: ``num_sides`` scores (B, C, \*S_k), at any resolution.
            depth_mask: bool, same shapes; ``False`` marks more pixels as missing.
            normalizer: n of L_s, L_h and L_hk, if it is not the labelled pixels of this batch.
                Under gradient accumulation it is those of all that makes one step; under DDP,
                which averages gradients, those divided by the number of processes. With
                ``resize="target"`` a side output divides by its share of it.
            depth_normalizer: n of L_d likewise, the pixels with known depth.

        Returns:
            :class:`LossTerms`; float32, or float64 for float64 logits.

        Raises:
            TypeError: an argument is missing or has the wrong type or kind of dtype.
            ValueError: shapes, devices or the number of side outputs do not fit, the criterion
                does not return one value per pixel, or (on the CPU) a label is out of range.
        """
        batch = self._check(logits, target, pred_depth, target_depth, depth_mask, normalizer)
        sides = check_sides(side_logits, logits, self.num_sides, batch.labelled.shape[1:])
        depth, gap = depth_loss(batch, self._traits.log_input, depth_normalizer)
        shared = self._share(batch, gap)
        loss, weight = self._loss_and_weight(logits, batch, shared)
        n = self._divisor(normalizer, batch, loss.dtype)
        segmentation = loss.sum() / n
        hard = (weight * loss).sum() / n
        total = segmentation + depth + self.alpha * hard
        side_terms = [self._side_loss(side, batch, shared, n, normalizer) for side in sides]
        side_losses = torch.stack(side_terms) if side_terms else loss.new_zeros(0)
        return LossTerms(
            total + self.beta * side_losses.sum(),
            segmentation.detach(),
            depth.detach(),
            hard.detach(),
            side_losses.detach(),
            weight.detach(),
        )

    def _side_loss(
        self,
        side: Tensor,
        batch: Batch,
        shared: SharedMaps | None,
        n: Tensor,
        normalizer: Tensor | float | None,
    ) -> Tensor:
        """Compute L_hk of one side output."""
        if self.resize == "target":
            full = batch.labelled.numel()
            if full == 0:
                return side.flatten()[:0].sum()
            batch = batch.nearest(side.shape[2:])
            shared = self._share(batch)
            if normalizer is None:
                n = self._divisor(None, batch, n.dtype)
            else:
                n = n * (batch.labelled.numel() / full)
        loss, weight = self._loss_and_weight(side, batch, shared)
        return (weight * loss).sum() / n

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...

    def extra_repr(self) -> str:
        return (
            f"num_sides={self.num_sides}, alpha={self.alpha:g}, beta={self.beta:g}, "
            f"ignore_index={self.ignore_index}, resize={self.resize!r}"
        )
