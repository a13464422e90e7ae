"""The base of both losses: a criterion, a weighting and a curriculum on one output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ._batch import Batch, BatchRules, at_size
from ._bits import keep
from ._checks import (
    fail,
    require_bool,
    require_class_weight,
    require_object,
    require_tensor,
    shape_of,
)
from ._labels import Labels
from ._pixels import map_dtype
from .criterion import (
    Criterion,
    check_criterion,
    class_weights,
    default_criterion,
    name_of,
    pixel_loss,
    resolve_ignore_index,
    shield,
)
from .cross_entropy import pixel_cross_entropy
from .curriculum import SelfPacedCurriculum
from .normalizers import divisor, weighted_count
from .rivals import LossBasedWeighting
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
            check_criterion(criterion, traits.task)
        if curriculum is not None:
            require_object(curriculum, "curriculum", "a SelfPacedCurriculum or None")
        index = resolve_ignore_index(criterion, ignore_index, traits.ignore_index)
        self._entries = "sum" if require_bool(sum_classes, "sum_classes") else "refuse"
        if criterion is None and traits.task == "multilabel":
            self._entries = "mean"
        if criterion is None:
            criterion = default_criterion(traits.task, index)
        if weighting is None:
            weighting = LossWeightModule(ignore_index=index)
        self.criterion = criterion
        self.weighting = weighting
        self.curriculum = curriculum
        self.ignore_index = index
        self.sum_classes = sum_classes
        self.upsample_logits = require_bool(upsample_logits, "upsample_logits")
        self._traits = traits

    def _check(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor | None,
        target_depth: Tensor | None,
        depth_mask: Tensor | None,
        normalizer: Tensor | float | None,
    ) -> Batch:
        """Check everything that both losses are called with."""
        traits = self._traits
        rules = BatchRules(self.ignore_index, traits.log_input, self.upsample_logits, traits.task)
        batch = rules.check(logits, target, pred_depth, target_depth, depth_mask, scores_only=True)
        weight = class_weights(self.criterion)
        if weight is not None:
            require_class_weight(weight, logits)
        if normalizer is not None and traits.scaled_by_batch:
            raise fail(
                "no `normalizer` with weights that are scaled by the kept pixels of the batch",
                f'a normalizer and {type(self.weighting).__name__}(mean_over="kept")',
                'did you mean mean_over="labelled"?',
            )
        return batch

    def _divisor(
        self, normalizer: Tensor | float | None, batch: Batch, dtype: torch.dtype
    ) -> Tensor:
        """Compute n of L_s, L_h and L_hk."""
        if normalizer is None:
            return weighted_count(batch.labels, class_weights(self.criterion), dtype)
        return divisor(normalizer, batch.labelled, dtype)

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
        labels, size = batch.labels, batch.labelled.shape[1:]
        own = weighting if shared is not None and isinstance(weighting, LossWeightModule) else None
        one_pass = type(criterion) is nn.CrossEntropyLoss and not labels.given.is_floating_point()
        if not one_pass or own is None or callable(own.error) or 0 in size:
            logits = at_size(logits.to(map_dtype(logits)), size)
        seen = logits
        if not one_pass or (own is None and not isinstance(weighting, LossBasedWeighting)):
            seen = shield(logits, labels)
        wrong = plain_loss = None
        if type(criterion) is nn.CrossEntropyLoss and one_pass:
            loss, wrong = pixel_cross_entropy(
                logits,
                labels.label,
                ignore_index=self.ignore_index,
                weight=criterion.weight,
                label_smoothing=criterion.label_smoothing,
            )
            if criterion.weight is None and criterion.label_smoothing == 0:
                plain_loss = loss.detach()
        else:
            loss = pixel_loss(criterion, seen, labels, self.ignore_index, self._entries)
        if own is not None and shared is not None:
            weight = own._weigh(logits, shared, wrong, plain_loss).weight
        else:
            weight = self._weight_of_another(seen, batch)
        if type(curriculum) is SelfPacedCurriculum:
            weight = curriculum._keep(weight, batch.labelled)
        elif curriculum is not None:
            kept: Any = curriculum(weight, batch.labelled)
            weight = _one_per_pixel(kept, labels, "curriculum", curriculum)
        return loss, weight

    def _weight_of_another(self, logits: Tensor, batch: Batch) -> Tensor:
        """Call a weighting that is no LossWeightModule, and check what it returns."""
        labels, ignored = batch.labels, self._traits.ignore_index
        target = labels.given
        # It may go by another label than the loss for what is ignored.
        if ignored not in (None, self.ignore_index) and labels.indexable is not target:
            target = target.masked_fill(~labels.valid.reshape(target.shape), ignored)
        weight: Any = self.weighting(logits, target, batch.pred_depth, batch.target_depth)
        return _one_per_pixel(weight, labels, "weighting", self.weighting)


def _one_per_pixel(weight: Any, labels: Labels, name: str, source: Any) -> Tensor:
    """Check the weights that an object of the user's returned; whatever they are where ignored."""
    require_tensor(weight, f"{name}(...)")
    if weight.shape != labels.labelled.shape:
        raise fail(
            f"`{name}` to return weights of shape {shape_of(labels.labelled)}",
            f"shape {shape_of(weight)} from {name_of(source)}",
        )
    return keep(weight, labels.labelled)
