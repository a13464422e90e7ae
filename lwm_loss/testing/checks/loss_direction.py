"""Checks of which way a loss points: what is wrong costs more, and weighs no less."""

from __future__ import annotations

from .._criterion import LossProbe
from .._inputs import Scene
from .._property import breach, scenario
from .._registry import loss_check
from .._report import CheckSkipped
from .loss_values import value_and_gradients

# Scores that are sure of the label, or of the class after it.
SURE = (
    "right = 4.0 * torch.nn.functional.one_hot(target, {classes}).movedim(-1, 1)\n"
    "wrong = right.roll(1, 1)"
)
SIDES = "side_logits = [0.5 * logits[..., ::2, ::2] for _ in range({sides})]"
# Cells do not reach over the middle of an image of 16 x 16.
LEFT = "left = torch.arange(16) < 8"


def _scene(probe: LossProbe, *lines: str) -> Scene:
    """A batch in which every pixel has a label and depth, with lines that replace its scores."""
    plain = probe.scene(size=(16, 16), ignored=0.0, missing=0.0)
    sides = [SIDES.format(sides=probe.num_sides)] if probe.num_sides else []
    return Scene("\n".join([plain.code, SURE.format(classes=probe.num_classes), *lines, *sides]))


def _depth(probe: LossProbe, factor: str) -> str:
    """The predicted depth that is this factor of the true one."""
    return f"pred_depth = {factor} * target_depth" + (
        "\npred_depth = pred_depth.log()" if probe.log_input else ""
    )


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
        _costs_less(probe, "depth", _depth(probe, "1.0"), _depth(probe, "3.0"))


def _costs_less(probe: LossProbe, what: str, right: str, wrong: str) -> None:
    sign = "<" if what == "scores" else "<="
    sides = f"\n{SIDES.format(sides=probe.num_sides)}" if probe.num_sides else ""
    after = (
        f"{right}{sides}\nlow = ({{call}}).sum()\n"
        f"{wrong}{sides}\nhigh = ({{call}}).sum()\nassert low {sign} high, (low, high)"
    )
    with scenario(probe.code(_scene(probe), after)):
        low, high = (_cost(probe, _scene(probe, change)) for change in (right, wrong))
        if not (low < high or (low == high and what == "depth")):
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
    if not probe.has_weights():
        raise CheckSkipped("it has no weight map")
    if probe.uses("logits", "target"):
        scores = f"{LEFT}\nlogits = torch.where(left, wrong, right)\n{_depth(probe, '1.5')}"
        _weigh_no_less(probe, "class", scores)
    if probe.uses("pred_depth", "target_depth") and probe.weights_use_depth():
        factor = f"{LEFT}\nfactor = torch.where(left, 3.0, 1.1)\nlogits = right"
        _weigh_no_less(probe, "depth", f"{factor}\n{_depth(probe, 'factor')}")


def _weigh_no_less(probe: LossProbe, what: str, change: str) -> None:
    scene = _scene(probe, change)
    after = (
        f"weight = {probe.weight_code()}\n"
        "hard, easy = weight[..., left].mean(), weight[..., ~left].mean()\n"
        "assert hard >= easy - 1e-5, (hard, easy)"
    )
    with scenario(probe.code(scene, after)):
        weight = probe.weight_map(probe.copy(), probe.inputs(scene)).detach()
        left = scene["left"].to(weight.device)
        hard, easy = float(weight[..., left].mean()), float(weight[..., ~left].mean())
        if hard < easy - 1e-5:
            breach(
                f"a mean weight of {hard:.6g} where the {what} is wrong, and of {easy:.6g} where "
                "it is right"
            )
