"""Checks of a loss that is copied or called again, and as a guest of the process."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch
from torch import nn

from .._compare import tensor_difference
from .._copies import LIKENESS, unlike
from ..registry import loss_check
from ..scenes import Scene, loss_batches
from ..search import breach, for_all, scenario
from ..subjects.loss import LossProbe
from .loss_values import scenes, value_and_gradients
from .side_effects import GLOBAL_STATE, changed_state


@loss_check(
    "a lock, a file or a generator kept as an attribute, a tensor of the last call kept with its "
    "graph, an epoch kept on the class, or a __deepcopy__ that forgets or shares a part"
)
def check_loss_deep_copy(probe: LossProbe) -> None:
    """A deep copy of a loss gives what the loss gives, after a call too, and is a thing of its own.

    When the curriculum of the one goes on, the other stays where it is.

    Example:
        >>> check_loss_deep_copy(torch.nn.CrossEntropyLoss())
    """
    probe.ready()
    scene = probe.scene()
    after = (
        "logits.requires_grad_()\n{call}\ntwin = copy.deepcopy(criterion)\nexpected = {call}\n"
        "criterion = twin\nfound = {call}\n"
        "assert torch.allclose(found, expected)"
    )
    with scenario(probe.code(scene, after)):
        original: Any = copy.deepcopy(probe.criterion)
        value_and_gradients(probe, original, probe.inputs(scene))
        twin = copy.deepcopy(original)
        expected, _ = value_and_gradients(probe, original, probe.inputs(scene))
        found, _ = value_and_gradients(probe, twin, probe.inputs(scene))
        words = tensor_difference("the loss", found, expected, 1e-6)
        if words:
            breach(f"from the copy {words}")
    if isinstance(probe.criterion, nn.Module):
        likeness = "twin = copy.deepcopy(criterion)\n" + LIKENESS.format(name="criterion")
        with scenario(probe.code(scene, likeness)):
            words = unlike(probe.criterion, copy.deepcopy(probe.criterion))
            if words:
                breach(words)
    _goes_on_alone(probe, scene)


def _goes_on_alone(probe: LossProbe, scene: Scene) -> None:
    """The steps of a curriculum do not move its copy."""
    own = callable(getattr(probe.criterion, "step", None))
    owner = "criterion" if own else "criterion.curriculum"
    if not own and not callable(getattr(_curriculum_of(probe.criterion), "step", None)):
        return
    after = (
        "twin, moving = copy.deepcopy(criterion), criterion\n"
        "criterion = copy.deepcopy(twin)\nbefore = {call}\n"
        f"criterion = moving\nfor _ in range({_STEPS}):\n    {owner}.step()\n"
        "criterion = copy.deepcopy(twin)\n"
        "assert torch.allclose({call}, before)"
    )
    with scenario(probe.code(scene, after)):
        moving = probe.copy()
        twin = copy.deepcopy(moving)
        # Copies are called, for a call may itself move a curriculum on.
        before, _ = value_and_gradients(probe, copy.deepcopy(twin), probe.inputs(scene))
        for _ in range(_STEPS):
            (moving if own else _curriculum_of(moving)).step()
        now, _ = value_and_gradients(probe, copy.deepcopy(twin), probe.inputs(scene))
        words = tensor_difference("the loss", now, before, 1e-6)
        if words:
            breach(f"when the original steps on, from the copy {words}")


_STEPS = 3


def _curriculum_of(criterion: Any) -> Any:
    return getattr(criterion, "curriculum", None)


@loss_check(
    "an assignment into the labels (target[target == 255] = 0), or depth or scores that are "
    "clamped or filled in place"
)
def check_loss_inputs_are_not_modified(probe: LossProbe) -> None:
    """A loss does not write to its inputs.

    Example:
        >>> check_loss_inputs_are_not_modified(torch.nn.CrossEntropyLoss())
    """
    probe.ready()
    after = (
        "inputs = logits, target, pred_depth, target_depth\n"
        "before = [x.clone() for x in inputs]\n"
        "{call}\n"
        "for x, y in zip(inputs, before):\n"
        "    assert torch.equal(x.nan_to_num(0.1, 0.2, 0.3), y.nan_to_num(0.1, 0.2, 0.3))"
    )

    def hold(scene: Scene) -> None:
        with scenario(probe.code(scene, after)):
            # Without gradients, for autograd would refuse some of the writing with other words.
            inputs = probe.inputs(scene, grad=False)
            before = [tensor.clone() for tensor in (*inputs[:4], *inputs.side_logits)]
            with torch.no_grad():
                probe.call(probe.copy(), inputs)
            names = ["logits", "target", "pred_depth", "target_depth"]
            names += [f"side_logits[{k}]" for k in range(len(inputs.side_logits))]
            now = (*inputs[:4], *inputs.side_logits)
            for name, old, new in zip(names, before, now):
                if tensor_difference(name, new, old, 0.0):
                    breach(f"{name} was overwritten")

    for_all(loss_batches(probe.settings), hold, probe.effort, scenes(probe))


@loss_check(
    "something counted, averaged or cached from call to call, a curriculum that a forward moves on, "
    "or a random draw of pixels"
)
def check_loss_is_deterministic(probe: LossProbe) -> None:
    """Two calls on the same batch are equal, whatever came between and whatever the random state.

    Example:
        >>> check_loss_is_deterministic(torch.nn.CrossEntropyLoss())
    """
    probe.ready()
    first, other = probe.scene(seed=0), probe.scene(seed=10, size=(9, 5))
    after = (
        "first = {call}\n"
        "kept = logits, target, pred_depth, target_depth\n"
        "logits, target, pred_depth, target_depth = (x.flip(-1) for x in kept)\n"
        "{call}\n"
        "logits, target, pred_depth, target_depth = kept\n"
        "torch.manual_seed(1)\n"
        "again = {call}\n"
        "assert torch.allclose(again, first, equal_nan=True)"
    )
    with scenario(probe.code(first, after)):
        criterion = probe.copy()
        value, grads = value_and_gradients(probe, criterion, probe.inputs(first))
        value_and_gradients(probe, criterion, probe.inputs(other))
        again, grads_again = value_and_gradients(probe, criterion, probe.inputs(first), seed=1)
        found = tensor_difference("the loss", again, value, 1e-6)
        found = found or tensor_difference("the gradient", grads_again[0], grads[0], 1e-5)
        if found:
            breach(f"when the first batch comes again {found}")


@loss_check(
    "torch.set_grad_enabled called for good in place of torch.no_grad() as a context, "
    "torch.manual_seed, or another default dtype"
)
def check_loss_keeps_global_state(probe: LossProbe) -> None:
    """A loss leaves the random seeds and the settings of the process alone.

    Example:
        >>> check_loss_keeps_global_state(torch.nn.CrossEntropyLoss())
    """
    probe.ready()
    scene = probe.scene()
    with scenario(probe.code(scene, GLOBAL_STATE)):
        found = changed_state(partial(probe.call, probe.copy(), probe.inputs(scene)))
        if found:
            breach(f"a call {found}")
