"""A criterion weighted pixel by pixel by M: L_h (Eq. 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ._typing import typed_as
from ._weighted_loss import PixelWeightedLoss
from .criterion import Criterion
from .curriculum import SelfPacedCurriculum
from .weighting import Weighting

__all__ = ["HardPixelLoss"]


class HardPixelLoss(PixelWeightedLoss):
    r"""Weight any segmentation loss that yields one value per pixel (Eq. 4).

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
            :class:`LossWeightModule`, one of its rivals, or any :class:`Weighting` of your own.
        curriculum: filters M by the epoch (Eq. 8), or None.
        ignore_index: needed only if neither the criterion nor the weighting has one.
        sum_classes: adds up a criterion that returns one value per class, (B, C, \*S).
        upsample_logits: takes scores at any resolution and brings them to the target's (bilinear,
            ``align_corners=False``); with cross-entropy they never exist at full size.

    Raises:
        TypeError: the criterion, the weighting or the curriculum is not callable, or a class.
        ValueError: the criterion is built to reduce, or two different labels are ignored.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from lwm_loss import LossWeightModule
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
        weighting: Weighting,
        curriculum: SelfPacedCurriculum | None = None,
        *,
        ignore_index: int | None = None,
        sum_classes: bool = False,
        upsample_logits: bool = False,
    ) -> None:
        super().__init__(
            criterion,
            weighting,
            curriculum,
            ignore_index=ignore_index,
            sum_classes=sum_classes,
            upsample_logits=upsample_logits,
        )

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
        r"""Compute L_h.

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
        batch = self._check(logits, target, pred_depth, target_depth, depth_mask, normalizer)
        loss, weight = self._loss_and_weight(logits, batch, self._share(batch))
        return (weight * loss).sum() / self._divisor(normalizer, batch, loss.dtype)

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...

    def extra_repr(self) -> str:
        return f"ignore_index={self.ignore_index}, sum_classes={self.sum_classes}"
