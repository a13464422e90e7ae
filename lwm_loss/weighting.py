"""The Loss Weight Module (Fig. 4): from two predictions and their truth to the weight map M."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ._batch import Batch, BatchRules
from ._bits import keep
from ._checks import Cells, require_bool, require_choice, require_ignore_index, require_object
from ._labels import TASKS, Labels, Task
from ._pixels import map_dtype
from ._typing import typed_as
from .depth_error import log_depth_gap, normalized_error
from .fusion import FUSIONS, FusionName
from .pixel_error import PixelError, check_error, name_of_error, pixel_error
from .regions import Regions, RegionSlots, assign_regions

__all__ = ["LossWeightModule", "WeightMaps", "Weighting"]


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


class SharedMaps(NamedTuple):
    """The part of M that an output and its side outputs share: labels, R, every pixel's slot."""

    labels: Labels
    dpe: Tensor | None
    slots: RegionSlots


@runtime_checkable
class Weighting(Protocol):
    r"""A callable that gives one loss weight per pixel: what a loss asks of its ``weighting``.

    A :class:`LossWeightModule`, one of its rivals, a module of your own or a plain function all
    fit. The call gets checked tensors: labels in int64, depths (B, \*S) or None. Its result must
    be (B, \*S), on any scale; whatever it holds at ignored pixels is replaced by 0. A gradient that
    it carries reaches the logits.

    Four more attributes are read where the object has them:

    - ``ignore_index`` (int): the label that it takes for ignored. Ignored pixels are handed to it
      under this label; without the attribute under the label of the loss.
    - ``log_input`` (bool, ``True`` without the attribute): whether it expects the predicted depth
      in logs.
    - ``task`` (``"multiclass"`` without the attribute): what logits and labels it expects, see
      :class:`LossWeightModule`; the loss takes the task of its weighting.
    - ``mean_over`` (a str): where it is ``"kept"`` the scale of its weights depends on all pixels
      of the batch, so that the loss refuses a ``normalizer``.

    Example:
        >>> def nearer_is_harder(logits, target, pred_depth, target_depth):
        ...     return 1 / target_depth.clamp(min=1)
        >>> isinstance(nearer_is_harder, Weighting)
        True
    """

    def __call__(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor | None = None,
        target_depth: Tensor | None = None,
        /,
    ) -> Tensor:
        r"""Compute the weights (B, \*S)."""
        ...


class WeightingTraits(NamedTuple):
    """The optional attributes of a :class:`Weighting`, with what stands for each if it is absent."""

    ignore_index: int | None = None
    log_input: bool = True
    task: Task = "multiclass"
    scaled_by_batch: bool = False


def check_weighting(weighting: Any) -> WeightingTraits:
    """Refuse a weighting that cannot be called on a batch, and read its optional attributes."""
    require_object(weighting, "weighting", "a LossWeightModule or another callable")
    index = getattr(weighting, "ignore_index", None)
    if index is not None:
        require_ignore_index(index, "weighting.ignore_index")
    task: Any = getattr(weighting, "task", "multiclass")
    require_choice(task, "weighting.task", TASKS)
    return WeightingTraits(
        index,
        require_bool(getattr(weighting, "log_input", True), "weighting.log_input"),
        task,
        getattr(weighting, "mean_over", None) == "kept",
    )


class LossWeightModule(nn.Module):
    r"""Weight pixels by how hard they are: the paper's Loss Weight Module (section III-B).

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
        task: what logits and target are, and when a pixel is wrong:

            - ``"multiclass"``: scores (B, C, \*S) of at least two classes; integer labels
              (B, \*S), or class probabilities (B, C, \*S), whose label is the first of the highest
              and which are ignored where they sum to 0. Wrong if the argmax differs.
            - ``"binary"``: scores (B, 1, \*S); labels 0 or 1, (B, \*S) or (B, 1, \*S), integer,
              bool or float. Wrong if ``logit > 0`` differs.
            - ``"multilabel"``: scores (B, C, \*S); labels 0 or 1 of the same shape, each of which
              may be ignored. How wrong a pixel is, is the share of its valid labels that differ;
              without a valid one it is ignored.
        error: the error of a pixel whose mean over a region is Z:

            - ``"misclassified"``: whether it is wrong, as above (Eq. 3).
            - ``"probability"``: 1 less the probability of the true class; with ``"binary"`` and
              ``"multilabel"`` of the true value, as a mean over the valid labels.
            - ``"loss"``: the cross-entropy; the mean of the region is divided by the largest of
              the image (the alternative that section III-B2 names).
            - a callable from (logits, target) to (B, \*S), whose values are clamped to [0, 1].

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
        fusion: FusionName = "sum",
        ignore_index: int = -100,
        log_input: bool = True,
        *,
        task: Task = "multiclass",
        error: PixelError = "misclassified",
    ) -> None:
        super().__init__()
        require_choice(fusion, "fusion", FUSIONS)
        self.regions = Regions(cells, bin_size, depth_range)
        self.fusion = fusion
        self.ignore_index = require_ignore_index(ignore_index)
        self.log_input = require_bool(log_input, "log_input")
        require_choice(task, "task", TASKS)
        self.task = task
        check_error(error)
        self.error = error

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor | None = None,
        target_depth: Tensor | None = None,
        *,
        depth_mask: Tensor | None = None,
    ) -> Tensor:
        r"""Compute the loss weight map M.

        Args:
            logits: scores (B, C, \*S), or predicted labels: integers (B, \*S), of
                ``"multilabel"`` (B, C, \*S).
            target: labels of the task.
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
        batch = self._rules.check(logits, target, pred_depth, target_depth, depth_mask)
        return self._weigh(logits, self._share(batch)).weight

    def maps(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor,
        target_depth: Tensor,
        *,
        depth_mask: Tensor | None = None,
    ) -> WeightMaps:
        """Compute R, Z and M one by one, to look at or to log; arguments as in :meth:`forward`.

        The predicted depth is needed with every fusion, since R is always returned.
        """
        batch = self._rules.check(logits, target, pred_depth, target_depth, depth_mask)
        return self._weigh(logits, self._share(batch, with_dpe=True))

    @property
    def _rules(self) -> BatchRules:
        return BatchRules(self.ignore_index, self.log_input, task=self.task)

    def _share(
        self, batch: Batch, gap: Tensor | None = None, *, with_dpe: bool = False
    ) -> SharedMaps:
        """Compute the part of M that does not depend on the scores: R and the regions.

        This is done once for the main and all side outputs. Pass ``gap`` = log D - log D* if it
        is already at hand.
        """
        target_depth, known = batch.require_target_depth()
        dpe = None
        if with_dpe or self.fusion != "dse":
            if gap is None:
                depth, target_depth, known = batch.require_depths()
                gap = log_depth_gap(depth.detach(), target_depth, known, self.log_input)
            dpe = normalized_error(gap)
        slots = assign_regions(batch.labelled, target_depth, known, self.regions)
        return SharedMaps(batch.labels, dpe, slots)

    def _weigh(
        self,
        logits: Tensor,
        shared: SharedMaps,
        wrong: Tensor | None = None,
        plain_loss: Tensor | None = None,
    ) -> WeightMaps:
        """Compute the maps of one set of scores.

        Pass Delta (``wrong``) or the plain cross-entropy if it is already at hand; then logits may
        have another resolution than the labels.
        """
        dtype = map_dtype(logits)
        if wrong is None or self.error != "misclassified":
            wrong = pixel_error(logits.detach(), shared.labels, self.error, plain_loss)
        dse = shared.slots.average(wrong, self.error, dtype)
        dpe = torch.zeros_like(dse) if shared.dpe is None else shared.dpe.to(dtype)
        fused = FUSIONS[self.fusion](dpe, dse)
        return WeightMaps(dpe, dse, keep(fused, shared.labels.labelled))

    if TYPE_CHECKING:

        @typed_as(forward)
        def __call__(self) -> None: ...

    def extra_repr(self) -> str:
        return (
            f"{self.regions!r}, fusion={self.fusion!r}, "
            f"ignore_index={self.ignore_index}, log_input={self.log_input}, "
            f"task={self.task!r}, error={name_of_error(self.error)}"
        )
