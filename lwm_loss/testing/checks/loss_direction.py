"""Which way a loss points: what is wrong costs more, and weighs no less."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..calls import Loss, LossInputs
from ..expect import CheckSkipped, breach
from ..registry import loss_check
from ..search import for_any
from ..subjects.loss import LossProbe
from ..subjects.weights import weights_use_depth

# Cells do not reach over the middle of an image of 16 x 16.
PLAIN: dict[str, Any] = {"size": (16, 16), "ignored": 0.0, "missing": 0.0}


@loss_check(
    "a sign that is lost (the mean of log p in place of -log p), a score that is to be maximised, "
    "or prediction and truth that have changed places"
)
def check_right_predictions_cost_less(probe: LossProbe) -> None:
    """Right scores cost less than wrong ones, and right depth no more than wrong depth."""
    if probe.kind != "criterion":
        raise CheckSkipped(f"a {probe.kind} is no cost")
    scene = probe.scene(**PLAIN)
    if probe.uses("logits", "target"):
        probe.check(right_scores_cost_less, scene)
    if probe.uses("pred_depth", "target_depth"):
        check = partial(probe.check, right_depth_costs_no_more, scene)
        for_any(partial(check, in_logs=in_logs) for in_logs in probe.may_be_in_logs())


def right_scores_cost_less(loss: Loss, batch: LossInputs) -> None:
    """Compare scores that are sure of the label with those that are sure of the class after it."""
    right = _right(batch)
    low, high = (_cost(loss, _scored(batch, scores)) for scores in (right, right.roll(1, 1)))
    if not low < high:
        breach(f"{low:.6g} for right scores, {high:.6g} for wrong scores")


def right_depth_costs_no_more(loss: Loss, batch: LossInputs, in_logs: bool) -> None:
    """Compare the true depth with three times as much."""
    low, high = (_cost(loss, _predicted(batch, factor, in_logs)) for factor in (1.0, 3.0))
    if not low < high + 1e-5:
        breach(f"{low:.6g} for right depth, {high:.6g} for wrong depth")


def _cost(loss: Loss, batch: LossInputs) -> float:
    return float(loss.results(batch)["the loss"].sum())


def _right(batch: LossInputs) -> Tensor:
    """Scores that are sure of the label."""
    return 4.0 * F.one_hot(batch.target, batch.logits.shape[1]).movedim(-1, 1)


def _scored(batch: LossInputs, scores: Tensor) -> LossInputs:
    """The batch with these scores, at the side outputs too."""
    sides = [0.5 * scores[..., ::2, ::2] for _ in batch.side_logits]
    return batch._replace(logits=scores, side_logits=sides)


def _predicted(batch: LossInputs, factor: float | Tensor, in_logs: bool) -> LossInputs:
    """The batch whose predicted depth is this factor of the true one."""
    depth = factor * batch.target_depth
    return batch._replace(pred_depth=depth.log() if in_logs else depth)


@loss_check(
    "a weight of inverted polarity: the share of right pixels in place of wrong ones, 1 - R, p in "
    "place of 1 - p, or a mask that keeps what it was to drop",
    example="LossWeightModule()",
    requires=LossProbe.require_weights,
)
def check_hard_pixels_weigh_no_less(probe: LossProbe) -> None:
    """Pixels whose class or depth is predicted wrongly weigh no less than the others of their image."""
    scene = probe.scene(**PLAIN)
    if probe.uses("logits", "target"):
        probe.check(wrong_classes_weigh_no_less, scene)
    if probe.uses("pred_depth", "target_depth") and weights_use_depth(probe):
        check = partial(probe.check, wrong_depths_weigh_no_less, scene)
        for_any(partial(check, in_logs=in_logs) for in_logs in probe.may_be_in_logs())


def wrong_classes_weigh_no_less(weight: Loss, batch: LossInputs) -> None:
    """Make the scores of the left half wrong, and all depth errors the same."""
    right, left = _right(batch), _left(batch)
    # The same depth and depth error everywhere, whether the prediction is taken for a log or not.
    even = batch._replace(
        target_depth=torch.full_like(batch.target_depth, 20.0),
        pred_depth=torch.full_like(batch.pred_depth, 3.5),
    )
    weights = weight(_scored(even, torch.where(left, right.roll(1, 1), right)))
    _compare_halves(weights.detach(), left, "class")


def wrong_depths_weigh_no_less(weight: Loss, batch: LossInputs, in_logs: bool) -> None:
    """Make the predicted depths of the left half wrong, of one surface, and all scores right."""
    left = _left(batch)
    flat = batch._replace(target_depth=torch.full_like(batch.target_depth, 20.0))
    predicted = _predicted(flat, torch.where(left, 3.0, 1.1), in_logs)
    _compare_halves(weight(_scored(predicted, _right(batch))).detach(), left, "depth")


def _left(batch: LossInputs) -> Tensor:
    return torch.arange(16, device=batch.target.device) < 8


def _compare_halves(weights: Tensor, left: Tensor, what: str) -> None:
    hard, easy = float(weights[..., left].mean()), float(weights[..., ~left].mean())
    if hard < easy - 1e-5:
        breach(
            f"a mean weight of {hard:.6g} where the {what} is wrong, and of {easy:.6g} where it is "
            "right"
        )
