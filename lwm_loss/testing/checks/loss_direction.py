"""Checks of which way a loss points: what is wrong costs more, and weighs no less."""

from __future__ import annotations

from functools import partial

from ..registry import loss_check
from ..report import CheckSkipped
from ..scenes import Scene
from ..search import breach, for_any, scenario
from ..subjects.loss import LossProbe
from ..subjects.weights import has_weights, weight_code, weight_map, weights_use_depth
from .loss_values import value_and_gradients

# Scores that are sure of the label, or of the class after it.
SURE = (
    "right = 4.0 * torch.nn.functional.one_hot(target, {classes}).movedim(-1, 1)\n"
    "wrong = right.roll(1, 1)"
)
SIDES = "side_logits = [0.5 * logits[..., ::2, ::2] for _ in range({sides})]"
# Cells do not reach over the middle of an image of 16 x 16.
LEFT = "left = torch.arange(16) < 8"
# The same depth and depth error everywhere, whether the prediction is taken for a log or not.
EVEN = (
    "target_depth = torch.full_like(target_depth, 20.0)\n"
    "pred_depth = torch.full_like(pred_depth, 3.5)"
)


def _scene(probe: LossProbe, *lines: str) -> Scene:
    """A batch in which every pixel has a label and depth, with lines that replace its scores."""
    plain = probe.scene(size=(16, 16), ignored=0.0, missing=0.0)
    sides = [SIDES.format(sides=probe.num_sides)] if probe.num_sides else []
    return Scene("\n".join([plain.code, SURE.format(classes=probe.num_classes), *lines, *sides]))


def _depth(factor: str, in_logs: bool) -> str:
    """The predicted depth that is this factor of the true one."""
    depth = f"({factor} * target_depth)"
    return f"pred_depth = {depth}.log()" if in_logs else f"pred_depth = {depth}"


@loss_check(
    "a sign that is lost (the mean of log p in place of -log p), a score that is to be maximised, "
    "or prediction and truth that have changed places"
)
def check_right_predictions_cost_less(probe: LossProbe) -> None:
    """Right scores cost less than wrong ones, and right depth no more than wrong depth.

    Example:
        >>> import torch
        >>> check_right_predictions_cost_less(torch.nn.CrossEntropyLoss())
    """
    probe.ready()
    if probe.kind != "criterion":
        raise CheckSkipped(f"a {probe.kind} is no cost")
    if probe.uses("logits", "target"):
        _costs_less(probe, "scores", "logits = right", "logits = wrong")
    if probe.uses("pred_depth", "target_depth"):
        for_any(
            partial(_costs_less, probe, "depth", _depth("1.0", in_logs), _depth("3.0", in_logs))
            for in_logs in probe.may_be_in_logs()
        )


def _costs_less(probe: LossProbe, what: str, right: str, wrong: str) -> None:
    margin = "" if what == "scores" else " + 1e-5"
    sides = f"\n{SIDES.format(sides=probe.num_sides)}" if probe.num_sides else ""
    after = (
        f"{right}{sides}\nlow = ({{call}}).sum()\n"
        f"{wrong}{sides}\nhigh = ({{call}}).sum()\nassert low < high{margin}, (low, high)"
    )
    with scenario(probe.code(_scene(probe), after)):
        low, high = (_cost(probe, _scene(probe, change)) for change in (right, wrong))
        if not (low < high or (what == "depth" and low < high + 1e-5)):
            breach(f"{low:.6g} for right {what}, {high:.6g} for wrong {what}")


def _cost(probe: LossProbe, scene: Scene) -> float:
    value, _ = value_and_gradients(probe, probe.copy(), probe.inputs(scene))
    return float(value.sum())


@loss_check(
    "a weight of inverted polarity: the share of right pixels in place of wrong ones, 1 - R, p in "
    "place of 1 - p, or a mask that keeps what it was to drop"
)
def check_hard_pixels_weigh_no_less(probe: LossProbe) -> None:
    """Pixels whose class or depth is predicted wrongly weigh no less than the others of their image.

    Example:
        >>> from lwm_loss import LossWeightModule
        >>> check_hard_pixels_weigh_no_less(LossWeightModule())
    """
    probe.ready()
    if not has_weights(probe):
        raise CheckSkipped("it has no weight map")
    if probe.uses("logits", "target"):
        scores = f"{LEFT}\nlogits = torch.where(left, wrong, right)\n{EVEN}"
        _weigh_no_less(probe, "class", scores)
    if probe.uses("pred_depth", "target_depth") and weights_use_depth(probe):
        factor = f"{LEFT}\nlogits = right\n{EVEN}\nfactor = torch.where(left, 3.0, 1.1)\n"
        for_any(
            partial(_weigh_no_less, probe, "depth", factor + _depth("factor", in_logs))
            for in_logs in probe.may_be_in_logs()
        )


def _weigh_no_less(probe: LossProbe, what: str, change: str) -> None:
    scene = _scene(probe, change)
    after = (
        f"weight = {weight_code(probe)}\n"
        "hard, easy = weight[..., left].mean(), weight[..., ~left].mean()\n"
        "assert hard >= easy - 1e-5, (hard, easy)"
    )
    with scenario(probe.code(scene, after)):
        weight = weight_map(probe, probe.copy(), probe.inputs(scene)).detach()
        left = scene["left"].to(weight.device)
        hard, easy = float(weight[..., left].mean()), float(weight[..., ~left].mean())
        if hard < easy - 1e-5:
            breach(
                f"a mean weight of {hard:.6g} where the {what} is wrong, and of {easy:.6g} where "
                "it is right"
            )
