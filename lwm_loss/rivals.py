"""Weightings that mine by the segmentation loss alone, which the paper compares with (Table IV)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor, nn

from ._batch import BatchRules
from ._checks import fail, require_choice, require_finite, require_ignore_index, require_int
from ._pixels import count_pixels
from ._typing import typed_as
from .cross_entropy import pixel_cross_entropy

__all__ = ["FocalWeighting", "LossMaxPoolingWeighting", "OHEMWeighting"]

MeanOver = Literal["labelled", "kept"]
MEANS: tuple[str, ...] = get_args(MeanOver)


class LossBasedWeighting(nn.Module):
    """Base of weightings that read the per-pixel cross-entropy alone; depth is accepted, not used."""

    def __init__(self, ignore_index: int) -> None:
        super().__init__()
        self.ignore_index = require_ignore_index(ignore_index)

    def _cross_entropy(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss (B, *S), 0 where ignored, and V_y."""
        batch = BatchRules(self.ignore_index).check(logits, target, scores_only=True)
        loss, _ = pixel_cross_entropy(logits, batch.labels.label, ignore_index=self.ignore_index)
        return loss, batch.labelled


class OHEMWeighting(LossBasedWeighting):
    r"""Online hard example mining: 1 for the pixels that are hard enough, 0 for the others.

    A pixel is kept if the probability of its true class is below ``threshold``, or if it is among
    the ``min_kept`` lowest of its image (ties are kept). Put into :class:`HardPixelLoss` the loss
    is divided by all labelled pixels; ``mean_over="kept"`` scales the kept ones up by labelled /
    kept pixels of the batch, so that it becomes the mean over the kept pixels.

    Args:
        threshold: probability in [0, 1].
        min_kept: pixels of each image to keep at least.
        ignore_index: the label of pixels that do not count.
        mean_over: ``"labelled"`` or ``"kept"``.

    Raises:
        TypeError: an option has the wrong type.
        ValueError: an option is out of its range.

    Example:
        >>> logits = torch.tensor([[[[4.0, 0.0]], [[0.0, 4.0]]]])
        >>> OHEMWeighting(min_kept=0)(logits, torch.tensor([[[0, 0]]]))
        tensor([[[0., 1.]]])
    """

    def __init__(
        self,
        threshold: float = 0.7,
        min_kept: int = 10_000,
        ignore_index: int = -100,
        *,
        mean_over: MeanOver = "labelled",
    ) -> None:
        super().__init__(ignore_index)
        self.threshold = require_finite(threshold, "threshold")
        if threshold > 1:
            raise fail("`threshold` to be a probability", repr(threshold))
        self.min_kept = require_int(min_kept, "min_kept", minimum=0)
        require_choice(mean_over, "mean_over", MEANS)
        self.mean_over = mean_over

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor | None = None,
        target_depth: Tensor | None = None,
    ) -> Tensor:
        r"""Weights (B, \*S), 0 where ignored, without gradient.

        Args:
            logits: scores (B, C, \*S).
            target: integer labels (B, \*S).
            pred_depth: not used.
            target_depth: not used.
        """
        loss, labelled = self._cross_entropy(logits.detach(), target)
        probability = torch.where(labelled, (-loss).exp(), torch.inf).flatten(1)
        kept = probability < self.threshold
        lowest = min(self.min_kept, probability.shape[1])
        if lowest > 0:
            hardest = probability.topk(lowest, dim=1, largest=False).values[:, -1:]
            kept = kept | (probability <= hardest)
        kept = kept.reshape(loss.shape) & labelled
        weight = kept.to(loss.dtype)
        if self.mean_over == "kept":
            weight = weight * labelled.sum().to(loss.dtype) / count_pixels(kept, loss.dtype)
        return weight

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...

    def extra_repr(self) -> str:
        return (
            f"threshold={self.threshold:g}, min_kept={self.min_kept}, "
            f"ignore_index={self.ignore_index}, mean_over={self.mean_over!r}"
        )


class FocalWeighting(LossBasedWeighting):
    r"""The factor of the focal loss on softmax, :math:`(1 - p_t)^\gamma`.

    Unlike M it carries a gradient, as in the focal loss: in :class:`HardPixelLoss` with
    cross-entropy the result is the focal loss itself.

    Args:
        gamma: the exponent, at least 0; 0 gives a uniform weight of 1.
        ignore_index: the label of pixels that do not count.

    Raises:
        TypeError: an option has the wrong type.
        ValueError: ``gamma`` is negative.

    Example:
        >>> FocalWeighting(gamma=2.0)(torch.zeros(1, 2, 1, 1), torch.tensor([[[0]]]))
        tensor([[[0.2500]]])
    """

    def __init__(self, gamma: float = 2.0, ignore_index: int = -100) -> None:
        super().__init__(ignore_index)
        self.gamma = require_finite(gamma, "gamma")

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor | None = None,
        target_depth: Tensor | None = None,
    ) -> Tensor:
        r"""Weights (B, \*S) in [0, 1], 0 where ignored, differentiable in the logits.

        Args:
            logits: scores (B, C, \*S).
            target: integer labels (B, \*S).
            pred_depth: not used.
            target_depth: not used.
        """
        loss, labelled = self._cross_entropy(logits, target)
        # 1 - p without cancellation; where it is 0 a gamma below 1 has an infinite slope.
        rest = -torch.expm1(-loss)
        positive = labelled & (rest != 0)
        power = torch.where(positive, rest, 1) ** self.gamma
        at_zero = 1.0 if self.gamma == 0 else 0.0
        return torch.where(positive, power, labelled.to(loss.dtype) * at_zero)

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...

    def extra_repr(self) -> str:
        return f"gamma={self.gamma:g}, ignore_index={self.ignore_index}"


class LossMaxPoolingWeighting(LossBasedWeighting):
    r"""Loss max-pooling (Rota Bulo, Neuhold, Kontschieder, CVPR 2017): the worst bounded weights.

    For the n labelled pixels of an image the weights w maximise :math:`\sum_i w_i \ell_i` with
    :math:`\|w\|_p \le n^{-1/q}` and :math:`\|w\|_\infty \le \tau`, where q = p / (p - 1),
    :math:`\tau = n^{-1/q} m^{-1/p}` and m = ratio * n is the least number of pixels that support
    the loss. The solution is :math:`w_i = \tau \min(1, \ell_i / a)^{q - 1}` with a threshold a
    that a sort finds. What is returned is n w, so that :class:`HardPixelLoss` gives
    :math:`\sum_i w_i \ell_i` of an image, and over a batch their mean by labelled pixels.

    Args:
        ratio: m / n in (0, 1]; 1 gives a uniform weight of 1.
        p: the norm, greater than 1.
        ignore_index: the label of pixels that do not count.

    Raises:
        TypeError: an option has the wrong type.
        ValueError: an option is out of its range.

    Example:
        >>> logits = torch.tensor([[[[4.0, 0.0]], [[0.0, 4.0]]]])
        >>> LossMaxPoolingWeighting(ratio=0.5)(logits, torch.tensor([[[0, 0]]]))
        tensor([[[6.7121e-04, 1.5034e+00]]])
    """

    def __init__(self, ratio: float = 0.3, p: float = 1.7, ignore_index: int = -100) -> None:
        super().__init__(ignore_index)
        self.ratio = require_finite(ratio, "ratio", strict=True)
        if ratio > 1:
            raise fail("`ratio` to be at most 1", repr(ratio))
        self.p = require_finite(p, "p", minimum=1.0, strict=True)

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor | None = None,
        target_depth: Tensor | None = None,
    ) -> Tensor:
        r"""Weights (B, \*S), at least 0 and 0 where ignored, without gradient.

        Args:
            logits: scores (B, C, \*S).
            target: integer labels (B, \*S).
            pred_depth: not used.
            target_depth: not used.
        """
        loss, labelled = self._cross_entropy(logits.detach(), target)
        if loss.numel() == 0:
            return loss
        # Cumulative sums of a whole image: in float64 where there is one.
        exact = torch.float32 if loss.device.type == "mps" else torch.float64
        losses, counted = loss.to(exact).flatten(1), labelled.flatten(1)
        q = self.p / (self.p - 1)
        n = counted.sum(1, keepdim=True).clamp(min=1).to(exact)
        m = (self.ratio * n).clamp(min=1)
        # Relative to the largest loss of the image, so that the power neither over- nor underflows.
        peak = losses.amax(1, keepdim=True)
        losses = losses / torch.where(peak == 0, 1, peak)
        # Ignored pixels sort first, as losses of 0 that count for nothing.
        ordered, order = torch.where(counted, losses, -1).sort(1)
        powers = ordered.clamp(min=0) ** q
        sums = powers.cumsum(1)
        rank = counted.gather(1, order).cumsum(1)
        slack = m - n + rank
        fits = (slack > 0) & (slack * powers <= sums) & (rank > 0)
        # a, below which a weight falls with its loss, is that of the largest rank that fits.
        last = fits & (rank == torch.where(fits, rank, 0).amax(1, keepdim=True))
        bound = torch.where(last, sums / torch.where(last, slack, 1), 0).amax(1, keepdim=True)
        a = bound ** (1 / q)
        tau = n ** (-1 / q) * m ** (-1 / self.p)
        share = (losses / torch.where(a == 0, 1, a)).clamp(max=1) ** (q - 1)
        weight = n * tau * torch.where(a == 0, 1, share)
        return torch.where(counted, weight, 0).to(loss.dtype).reshape(loss.shape)

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...

    def extra_repr(self) -> str:
        return f"ratio={self.ratio:g}, p={self.p:g}, ignore_index={self.ignore_index}"
