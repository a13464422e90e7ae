"""Segmentation error as a function of the depth prediction error (section IV-B, Fig. 6)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ._batch import BatchRules
from ._checks import fail
from .depth_error import log_depth_gap
from .pixel_error import misclassified

__all__ = ["BinnedErrors", "segmentation_error_by_depth_gap"]


class BinnedErrors(NamedTuple):
    """Counts of pixels and of misclassified pixels in bins of the log-depth gap.

    Attributes:
        edges: (bins + 1,) float64, in log-depth; the last bin is open above.
        wrong: (bins,) int64, misclassified pixels.
        total: (bins,) int64, pixels.
    """

    edges: Tensor
    wrong: Tensor
    total: Tensor

    @property
    def rate(self) -> Tensor:
        """Compute the segmentation error rate of each bin, float64; NaN for an empty bin."""
        return self.wrong.double() / self.total.double()

    def merge(self, other: BinnedErrors) -> BinnedErrors:
        """Add the counts of another batch with the same edges.

        Raises:
            ValueError: the edges differ.
        """
        if not torch.equal(self.edges, other.edges):
            raise fail("two counts with the same edges", "different edges")
        return BinnedErrors(self.edges, self.wrong + other.wrong, self.total + other.total)

    def regroup(self, inner: Sequence[int]) -> BinnedErrors:
        """Merge neighbouring bins into wider ones.

        Args:
            inner: increasing indices into ``edges`` of the edges to keep besides the outer two.

        Raises:
            ValueError: the indices do not increase between the outer edges.
        """
        kept = [0, *inner, len(self.total)]
        if any(a >= b for a, b in pairwise(kept)):
            raise fail(f"increasing indices between 0 and {len(self.total)}", str(list(inner)))
        sums = [
            torch.stack([counts[a:b].sum() for a, b in pairwise(kept)])
            for counts in (self.wrong, self.total)
        ]
        return BinnedErrors(self.edges[kept], *sums)


def segmentation_error_by_depth_gap(
    input: Tensor,
    target: Tensor,
    pred_depth: Tensor,
    target_depth: Tensor,
    *,
    edges: Tensor | Sequence[float] | None = None,
    ignore_index: int = -100,
    log_input: bool = True,
    depth_mask: Tensor | None = None,
) -> BinnedErrors:
    r"""Count misclassified pixels in bins of the log-depth error (Fig. 6).

    Every pixel with a label and a known depth falls into a bin by its gap

    .. math:: g_i = |\log D_i - \log D^*_i|

    and the error rate of a bin is the share of its pixels whose predicted label is wrong. The
    paper uses ten bins and does not state their edges.

    Args:
        input: scores (B, C, \*S), or an integer map (B, \*S) of predicted labels.
        target: integer labels (B, \*S).
        pred_depth: predicted log-depth (with ``log_input=False``: depth), (B, \*S) or
            (B, 1, \*S).
        target_depth: true depth, same shapes; zero, negative, NaN and infinite are missing.
        edges: increasing edges of the bins in log-depth, the first one 0; a gap beyond the last
            edge falls into the last bin. By default 0, 0.1, ..., 1.
        ignore_index: the label of pixels that do not count.
        log_input: whether ``pred_depth`` is in logs.
        depth_mask: bool, same shapes; ``False`` marks more pixels as missing.

    Returns:
        :class:`BinnedErrors` of the batch; ``merge`` those of several batches. A pixel whose
        predicted depth is NaN counts in the last bin.

    Raises:
        TypeError: an argument is missing or has the wrong type or kind of dtype.
        ValueError: shapes or devices do not fit, the edges do not increase from 0, or (on the
            CPU) a label is out of range.

    Example:
        >>> predicted = torch.tensor([[[0, 1, 1, 1]]])
        >>> target = torch.tensor([[[0, 1, 0, 0]]])
        >>> log_depth = torch.tensor([[[0.0, 0.1, 0.9, 5.0]]])
        >>> depth = torch.ones(1, 1, 4)
        >>> from lwm_loss.analysis import segmentation_error_by_depth_gap
        >>> binned = segmentation_error_by_depth_gap(
        ...     predicted, target, log_depth, depth, edges=[0.0, 0.5, 1.0]
        ... )
        >>> binned.total.tolist(), binned.rate.tolist()
        ([2, 2], [0.0, 1.0])
    """
    rules = BatchRules(ignore_index, log_input)
    batch = rules.check(input, target, pred_depth, target_depth, depth_mask)
    pred_depth, target_depth, known = batch.require_depths()
    borders = _check_edges(edges, target.device)
    gap = log_depth_gap(pred_depth.detach(), target_depth, known, log_input).abs()
    wrong = misclassified(input.detach(), batch.labels)
    bins = len(borders) - 1
    # Pixels that do not count go to one more bin behind the others.
    place = torch.bucketize(gap.double(), borders[1:-1], right=True)
    place = torch.where(known & batch.labelled, place, bins).flatten()
    wrong_table, table = torch.zeros(2, bins + 1, dtype=torch.int64, device=target.device)
    return BinnedErrors(
        borders,
        wrong_table.scatter_add(0, place, wrong.flatten().long())[:bins],
        table.scatter_add(0, place, torch.ones_like(place))[:bins],
    )


def _check_edges(edges: Tensor | Sequence[float] | None, device: torch.device) -> Tensor:
    if edges is None:
        return torch.arange(11, dtype=torch.float64, device=device) / 10
    borders = torch.as_tensor(edges, dtype=torch.float64)
    if borders.ndim != 1 or len(borders) < 2 or borders[0] != 0 or not (borders.diff() > 0).all():
        raise fail("`edges` to increase from 0", str(borders.tolist())[:80])
    return borders.to(device)
