"""The Loss Weight Module (Fig. 4): from two predictions and their truth to the weight map M."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ._checks import Batch, Cells, check_batch, require_choice, require_int
from ._pixels import map_dtype
from .depth_error import log_depth_gap, normalized_error
from .fusion import FUSIONS, fuse
from .segmentation_error import CountedRegions, Regions, count_regions, misclassified

__all__ = ["LossWeightModule", "WeightMaps", "validate"]

ALONE = ("dpe", "dse")


class WeightMaps(NamedTuple):
    r"""The three maps of the Loss Weight Module, each (B, \*S) and without gradient.

    Attributes:
        dpe: R in [0, 1], 0 where depth is missing.
        dse: Z in [0, 1], 0 where depth or label is missing.
        weight: M = F(R, Z), 0 where the label is missing.
    """

    dpe: Tensor
    dse: Tensor
    weight: Tensor


class PreparedBatch(NamedTuple):
    """What an output and its side outputs share: V_y, R, and the region of every pixel."""

    labelled: Tensor
    dpe: Tensor | None
    counts: CountedRegions


def validate(
    logits: Tensor,
    target: Tensor,
    pred_depth: Tensor | None = None,
    target_depth: Tensor | None = None,
    *,
    ignore_index: int = -100,
    log_input: bool = True,
    depth_mask: Tensor | None = None,
) -> None:
    r"""Checks a batch by its values too, on any device.

    Every loss here checks shapes, dtypes and devices on each call. Values (labels in range,
    positive depth) are read on each call only on the CPU; on CUDA that would stall the device,
    so call this once, on a first batch.

    Args:
        logits: (B, C, \*S), or an integer map (B, \*S) of predicted labels.
        target: integer labels (B, \*S).
        pred_depth: predicted log-depth (B, \*S) or (B, 1, \*S), or None.
        target_depth: true depth, same shapes, or None.
        ignore_index: the label of pixels that do not count.
        log_input: whether ``pred_depth`` is in logs.
        depth_mask: bool, same shapes; ``False`` marks pixels as missing.

    Raises:
        TypeError: an argument has the wrong type or kind of dtype.
        ValueError: shapes or devices do not fit, a label is out of range, or with
            ``log_input=False`` a predicted depth is not positive where the true one is known.

    Example:
        >>> try:
        ...     validate(torch.zeros(1, 3, 2, 2), torch.tensor([[[0, 1], [2, 255]]]))
        ... except ValueError as error:
        ...     print(str(error)[-43:])
        but got 255: did you mean ignore_index=255?
    """
    check_batch(
        logits,
        target,
        pred_depth,
        target_depth,
        depth_mask,
        ignore_index=ignore_index,
        log_input=log_input,
        read=True,
    )


class LossWeightModule(nn.Module):
    r"""The paper's Loss Weight Module (section III-B): weights that point at hard pixels.

    R, the error of the predicted depth, and Z, the error rate of the predicted labels within each
    depth-aware region, fused to M = F(R, Z) and set to 0 where there is no label. M is a constant
    of the step: it never carries a gradient. The module has neither parameters nor buffers.

    Args:
        cells: grid (h, w) of the regions, or ``"pixel"``; see :func:`depth_aware_regions`.
        bin_size: width of a depth bin, in the units of ``depth_range``.
        depth_range: (lo, hi) of the true depth; levels by default, see :func:`rescale_depth`.
        fusion: ``"sum"``, ``"product"``, ``"max"``, or one measurement alone, ``"dpe"``, ``"dse"``
            (which then needs no predicted depth).
        ignore_index: the label of pixels that do not count.
        log_input: whether the predicted depth is in logs.

    Raises:
        TypeError: an option has the wrong type.
        ValueError: an option is out of its range.

    Example:
        >>> weighting = LossWeightModule(cells=(1, 1))
        >>> logits = torch.tensor([[[[9.0, 9.0]], [[0.0, 0.0]]]])     # class 0 at both pixels
        >>> target = torch.tensor([[[0, 1]]])
        >>> depth = torch.tensor([[[4.0, 4.0]]])
        >>> weighting(logits, target, depth.log() + torch.tensor([0.0, 0.1]), depth)
        tensor([[[0.5000, 1.5000]]])
    """

    def __init__(
        self,
        cells: Cells = (8, 8),
        bin_size: float = 10.0,
        depth_range: tuple[float, float] = (1.0, 256.0),
        fusion: str = "sum",
        ignore_index: int = -100,
        log_input: bool = True,
    ) -> None:
        super().__init__()
        require_choice(fusion, "fusion", (*FUSIONS, *ALONE))
        self.regions = Regions(cells, bin_size, depth_range)
        self.fusion = fusion
        self.ignore_index = require_int(ignore_index, "ignore_index")
        self.log_input = log_input

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor | None = None,
        target_depth: Tensor | None = None,
        *,
        depth_mask: Tensor | None = None,
    ) -> Tensor:
        r"""The loss weight map M.

        Args:
            logits: scores (B, C, \*S), or an integer map (B, \*S) of predicted labels.
            target: integer labels (B, \*S).
            pred_depth: predicted log-depth (with ``log_input=False``: depth), (B, \*S) or
                (B, 1, \*S); not needed with ``fusion="dse"``.
            target_depth: true depth, same shapes; zero, negative, NaN and infinite are missing.
            depth_mask: bool, same shapes; ``False`` marks more pixels as missing.

        Returns:
            M (B, \*S), in [0, 2] for ``"sum"`` and in [0, 1] otherwise; float32, or float64 for
            float64 scores.

        Raises:
            TypeError: an argument is missing or has the wrong type or kind of dtype.
            ValueError: shapes or devices do not fit, or (on the CPU) a label is out of range or
                with ``log_input=False`` a predicted depth is not positive.
        """
        batch = self._check(logits, target, pred_depth, target_depth, depth_mask)
        wrong = misclassified(logits.detach(), batch.target)
        return self.weigh(wrong, self.prepare(batch), map_dtype(logits)).weight

    def maps(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor,
        target_depth: Tensor,
        *,
        depth_mask: Tensor | None = None,
    ) -> WeightMaps:
        """R, Z and M by themselves, for eyes and logs; arguments and errors as :meth:`forward`.

        Needs the predicted depth with every fusion, for it always returns R.
        """
        batch = self._check(logits, target, pred_depth, target_depth, depth_mask)
        wrong = misclassified(logits.detach(), batch.target)
        return self.weigh(wrong, self.prepare(batch, with_dpe=True), map_dtype(logits))

    def prepare(
        self, batch: Batch, gap: Tensor | None = None, *, with_dpe: bool = False
    ) -> PreparedBatch:
        """What of M does not depend on the scores, so that an output and its sides share it.

        ``gap`` is log D - log D*, if somebody has computed it already.
        """
        target_depth, known = batch.true()
        dpe = None
        if with_dpe or self.fusion != "dse":
            if gap is None:
                gap = log_depth_gap(batch.predicted().detach(), target_depth, known, self.log_input)
            dpe = normalized_error(gap)
        counts = count_regions(batch.labelled, target_depth, known, self.regions)
        return PreparedBatch(batch.labelled, dpe, counts)

    def weigh(self, wrong: Tensor, prepared: PreparedBatch, dtype: torch.dtype) -> WeightMaps:
        """The maps of one set of scores, from their Delta."""
        dse = prepared.counts.error_rate(wrong, dtype)
        dpe = torch.zeros_like(dse) if prepared.dpe is None else prepared.dpe.to(dtype)
        alone = {"dpe": dpe, "dse": dse}
        fused = alone[self.fusion] if self.fusion in alone else fuse(dpe, dse, self.fusion)
        return WeightMaps(dpe, dse, torch.where(prepared.labelled, fused, 0))

    def _check(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor | None,
        target_depth: Tensor | None,
        depth_mask: Tensor | None,
    ) -> Batch:
        return check_batch(
            logits,
            target,
            pred_depth,
            target_depth,
            depth_mask,
            ignore_index=self.ignore_index,
            log_input=self.log_input,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.regions!r}, fusion={self.fusion!r}, "
            f"ignore_index={self.ignore_index}, log_input={self.log_input}"
        )
