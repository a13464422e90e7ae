"""Checks of what a loss must not depend on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._compare import tensor_difference
from ..registry import loss_check
from ..report import CheckSkipped
from ..scenes import Scene, loss_batches
from ..search import breach, for_all, scenario
from ..subjects.loss import Inputs, LossProbe
from ..subjects.signature import class_weight
from .loss_values import (
    CLOSE,
    modules_of,
    require_no_chance,
    scenes,
    value_and_gradients,
)

# Of the scores that are drawn, in float32 and over all pixels.
ROUNDING = 1e-5


@loss_check(
    "a weight by position in the batch, a state that the first image fills, or an index of regions "
    "that counts images wrongly"
)
def check_batch_permutation(probe: LossProbe) -> None:
    """The order of the images in a batch changes neither the loss nor a gradient.

    Example:
        >>> from torch import nn
        >>> check_batch_permutation(nn.CrossEntropyLoss())
    """
    probe.ready()
    require_no_chance(probe)
    after = (
        "value = {call}\n"
        "logits, target, pred_depth, target_depth = (\n"
        "    x.flip(0) for x in (logits, target, pred_depth, target_depth))\n"
        + ("side_logits = [side.flip(0) for side in side_logits]\n" if probe.num_sides else "")
        + "again = {call}\n"
        "again = again.flip(0) if again.ndim > 1 else again\n"
        "assert torch.allclose(again, value, rtol=1e-5, atol=1e-5, equal_nan=True)"
    )

    def hold(scene: Scene) -> None:
        with scenario(probe.code(scene, after)):
            plain = probe.inputs(scene)
            turned = _mapped(plain, lambda x: x.flip(0))
            _compare(probe, plain, turned, lambda x: x.flip(0), "in another order of the images")

    strategy = loss_batches(probe.settings, min_images=2)
    for_all(strategy, hold, probe.effort, scenes(probe))


def _mapped(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """All tensors changed, as leaves."""

    def leaf(tensor: Tensor) -> Tensor:
        return change(tensor.detach()).clone().requires_grad_(tensor.requires_grad)

    *tensors, sides = inputs
    leaves: list[Any] = [leaf(tensor) for tensor in tensors]
    return Inputs._make([*leaves, [leaf(side) for side in sides]])


def _compare(
    probe: LossProbe,
    plain: Inputs,
    changed: Inputs,
    undo: Callable[[Tensor], Tensor],
    when: str,
    prepare: Callable[[Any], None] | None = None,
) -> None:
    """Value and gradients of both inputs must agree once the change is undone."""
    other = probe.copy()
    if prepare is not None:
        prepare(other)
    value, grads = value_and_gradients(probe, probe.copy(), plain)
    value_changed, grads_changed = value_and_gradients(probe, other, changed)
    if value_changed.ndim > 1:
        value_changed = undo(value_changed)
    # A loss near 0 is a difference of scores, and those are rounded.
    found = tensor_difference("the loss", value_changed, value, CLOSE, ROUNDING)
    names = ["logits", "pred_depth", *(f"side_logits[{k}]" for k in range(len(grads) - 2))]
    for name, before, now in zip(names, grads, grads_changed):
        words = f"the gradient of {name}"
        found = found or tensor_difference(words, undo(now), before, 10 * CLOSE, ROUNDING / 10)
    if found:
        breach(f"{when} {found}")


@loss_check(
    "a class that is treated apart (class 0 as background), a distance between class numbers, or "
    "a class left out of an argmax or a sum"
)
def check_class_permutation(probe: LossProbe) -> None:
    """Classes under other numbers, in scores and labels alike, change nothing.

    Class weights (``weight``, ``class_weight``, ``class_weights``, ``alpha``) move with them. Every
    pixel has a label, for what is made of ignored ones is other checks' business.

    Example:
        >>> from torch import nn
        >>> check_class_permutation(nn.CrossEntropyLoss())
    """
    probe.require("logits", "target")
    require_no_chance(probe)
    if any(0 <= label < probe.num_classes for label in probe.ignored):
        raise CheckSkipped("one of the classes is ignored, so that they are not alike")
    after = (
        "value = {call}\n"
        "classes = logits.shape[1]\n"
        "logits = logits.roll(-1, 1)\n"
        + ("side_logits = [side.roll(-1, 1) for side in side_logits]\n" if probe.num_sides else "")
        + "target = (target - 1) % classes\n"
        "again = {call}\n"
        "again = again.roll(1, 1) if again.ndim == 4 else again\n"
        "assert torch.allclose(again, value, rtol=1e-5, atol=1e-5, equal_nan=True)"
    )

    def hold(scene: Scene) -> None:
        with scenario(probe.code(scene, after)):
            plain = probe.inputs(scene)
            classes = probe.num_classes
            changed = _mapped(plain, lambda x: x.clone())
            changed = changed._replace(
                logits=plain.logits.detach().roll(-1, 1).requires_grad_(),
                target=(plain.target - 1) % classes,
                side_logits=[s.detach().roll(-1, 1).requires_grad_() for s in plain.side_logits],
            )
            _compare(
                probe,
                plain,
                changed,
                lambda x: x.roll(1, 1) if x.ndim == 4 and x.shape[1] == classes else x,
                "with other numbers for the classes",
                _roll_class_weights,
            )

    labelled = loss_batches(probe.settings._replace(ignore_index=None))
    for_all(labelled, hold, probe.effort, scenes(probe, ignored=0.0))


def _roll_class_weights(criterion: Any) -> None:
    for part in modules_of(criterion):
        found = class_weight(part)
        if found is not None:
            _, weight = found
            with torch.no_grad():
                weight.copy_(weight.roll(-1).clone())


@loss_check(
    "a maximum, a quantile or a ranking over the batch in place of over each image (R, an OHEM "
    "threshold), region numbers without the number of the image, or statistics kept in a buffer"
)
def check_images_do_not_influence_each_other(probe: LossProbe) -> None:
    """Scores and depth of one image change neither gradient nor weights of another image.

    Labels, and which depth is known, stay: a mean over the batch may count them.

    Example:
        >>> from torch import nn
        >>> check_images_do_not_influence_each_other(nn.CrossEntropyLoss())
    """
    probe.ready()
    require_no_chance(probe)
    after = (
        "def gradient(logits, pred_depth, target_depth):\n"
        "    logits = logits.detach().clone().requires_grad_()\n"
        "    value = {call}\n"
        "    if value.ndim > 1:\n"
        "        return value[0]\n"
        "    return torch.autograd.grad(value, logits)[0][0]\n"
        "def others(tensor, change):\n"
        "    return torch.cat([tensor[:1], change(tensor[1:])])\n"
        "known = target_depth.isfinite() & (target_depth > 0)\n"
        "depth = torch.where(known, 1 + (7.3 * target_depth) % 200, target_depth)\n"
        "first = gradient(logits, pred_depth, target_depth)\n"
        "second = gradient(others(logits, lambda x: x.roll(1, 1) * 1.5),\n"
        "                  others(pred_depth, lambda x: 0.5 * x + 1),\n"
        "                  torch.cat([target_depth[:1], depth[1:]]))\n"
        "assert torch.allclose(first, second, rtol=1e-4, atol=1e-7, equal_nan=True)"
    )

    def hold(scene: Scene) -> None:
        with scenario(probe.code(scene, after)):
            plain = probe.inputs(scene)
            depth = plain.target_depth
            known = depth.isfinite() & (depth > 0)
            moved = torch.where(known, 1 + (7.3 * depth) % 200, depth)

            def others(tensor: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
                tensor = tensor.detach()
                return torch.cat([tensor[:1], change(tensor[1:])]).requires_grad_()

            changed = Inputs(
                others(plain.logits, lambda x: x.roll(1, 1) * 1.5),
                plain.target,
                others(plain.pred_depth, lambda x: 0.5 * x + 1),
                torch.cat([depth[:1], moved[1:]]),
                [others(side, lambda x: x.roll(1, 1) * 1.5) for side in plain.side_logits],
            )
            value, grads = value_and_gradients(probe, probe.copy(), plain)
            now, grads_now = value_and_gradients(probe, probe.copy(), changed)
            if value.ndim > 1:
                found = tensor_difference("the map", now[:1], value[:1], CLOSE)
                if found:
                    breach(f"with other scores and depth in the other images {found}")
            for name, before, after_change in zip(("logits", "pred_depth"), grads, grads_now):
                words = f"the gradient of {name}"
                found = tensor_difference(words, after_change[:1], before[:1], 10 * CLOSE)
                if found:
                    breach(f"with other scores and depth in the other images {found}")

    strategy = loss_batches(probe.settings, min_images=2)
    for_all(strategy, hold, probe.effort, scenes(probe))
