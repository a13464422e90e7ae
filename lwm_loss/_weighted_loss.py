"""The base of both losses: a criterion, a weighting and a curriculum on one output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ._batch import Batch, BatchRules
from ._checks import fail, require_bool, require_object, require_tensor, shape_of
from ._pixels import map_dtype
from .criterion import Criterion, check_criterion, pixel_loss, resolve_ignore_index
from .cross_entropy import pixel_cross_entropy, resize_logits
from .curriculum import SelfPacedCurriculum
from .segmentation_error import misclassified
from .weighting import (
    LossWeightModule,
    SharedMaps,
    Weighting,
    WeightingTraits,
    check_weighting,
)


class PixelWeightedLoss(nn.Module):
    """Base of both losses: evaluates the criterion and the weight map of one output.

    The constructor checks the criterion, the weighting and the curriculum, and finds the label
    that all of them ignore. With ``defaults`` None stands for cross-entropy and for a
    :class:`LossWeightModule`; without it None is refused like any other value that does not fit.
    """

    criterion: Criterion
    weighting: Weighting
    curriculum: SelfPacedCurriculum | None

    def __init__(
        self,
        criterion: Criterion | None,
        weighting: Weighting | None,
        curriculum: SelfPacedCurriculum | None,
        *,
        ignore_index: int | None,
        sum_classes: bool,
        upsample_logits: bool,
        defaults: bool = False,
    ) -> None:
        super().__init__()
        by_default = defaults and weighting is None
        traits = WeightingTraits() if by_default else check_weighting(weighting)
        if not (defaults and criterion is None):
            check_criterion(criterion)
        if curriculum is not None:
            require_object(curriculum, "curriculum", "a SelfPacedCurriculum or None")
        index = resolve_ignore_index(criterion, ignore_index, traits.ignore_index)
        if criterion is None:
            criterion = nn.CrossEntropyLoss(ignore_index=index, reduction="none")
        if weighting is None:
            weighting = LossWeightModule(ignore_index=index)
        self.criterion = criterion
        self.weighting = weighting
        self.curriculum = curriculum
        self.ignore_index = index
        self.log_input = traits.log_input
        self.sum_classes = require_bool(sum_classes, "sum_classes")
        self.upsample_logits = require_bool(upsample_logits, "upsample_logits")

    @property
    def _rules(self) -> BatchRules:
        return BatchRules(self.ignore_index, self.log_input, self.upsample_logits)

    def _share(self, batch: Batch, gap: Tensor | None = None) -> SharedMaps | None:
        """Compute what the Loss Weight Module shares between outputs; None for any other weighting.

        A subclass counts as another weighting, since its forward may be its own.
        """
        weighting = self.weighting
        return weighting._share(batch, gap) if type(weighting) is LossWeightModule else None

    def _loss_and_weight(
        self, logits: Tensor, batch: Batch, shared: SharedMaps | None
    ) -> tuple[Tensor, Tensor]:
        """Compute the criterion's value and M (with a curriculum its kept part) at every pixel.

        Here alone it is decided how the scores are read. Cross-entropy and Delta come from one
        pass; scores at another size than the labels are brought to it within that pass if nothing
        else reads them, and before it otherwise.
        """
        criterion, weighting, curriculum = self.criterion, self.weighting, self.curriculum
        one_pass = type(criterion) is nn.CrossEntropyLoss
        if not one_pass or shared is None:
            logits = resize_logits(logits.to(map_dtype(logits)), batch.target.shape[1:])
        if type(criterion) is nn.CrossEntropyLoss:
            loss, wrong = pixel_cross_entropy(
                logits,
                batch.target,
                ignore_index=self.ignore_index,
                weight=criterion.weight,
                label_smoothing=criterion.label_smoothing,
            )
        else:
            loss = pixel_loss(criterion, logits, batch, self.ignore_index, self.sum_classes)
            wrong = misclassified(logits.detach(), batch.target)
        if shared is not None and isinstance(weighting, LossWeightModule):
            weight = weighting._weigh(wrong, shared, logits).weight
        else:
            weight = self._weight_of_another(logits, batch)
        if type(curriculum) is SelfPacedCurriculum:
            weight = curriculum._keep(weight, batch.labelled)
        elif curriculum is not None:
            weight = curriculum(weight, batch.labelled)
        return loss, weight

    def _weight_of_another(self, logits: Tensor, batch: Batch) -> Tensor:
        """Call a weighting that is no LossWeightModule, and check what it returns."""
        # It may go by another label than the loss for what is ignored.
        ignored = check_weighting(self.weighting).ignore_index
        target = batch.target
        if ignored is not None:
            target = torch.where(batch.labelled, target, ignored)
        weight: Any = self.weighting(logits, target, batch.pred_depth, batch.target_depth)
        require_tensor(weight, "weighting(...)")
        if weight.shape != target.shape:
            raise fail(
                f"`weighting` to return weights of shape {shape_of(target)}",
                f"shape {shape_of(weight)} from {type(self.weighting).__name__}",
            )
        return torch.where(batch.labelled, weight, 0)
