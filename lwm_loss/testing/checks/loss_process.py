"""A loss that is copied or called again, and its side effects on global state."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from ..calls import Loss, LossInputs
from ..copying import expect_whole_copy
from ..expect import breach, difference, expect_same
from ..isolation import expect_settings_kept
from ..registry import loss_check
from ..subjects.loss import LossProbe
from .loss_values import CLOSE


@loss_check(
    "a lock, a file or a generator kept as an attribute, a tensor of the last call kept with its "
    "graph, an epoch kept on the class, or a __deepcopy__ that forgets or shares a part"
)
def check_loss_deep_copy(probe: LossProbe) -> None:
    """A deep copy of a loss gives what the loss gives, after a call too, and is a thing of its own.

    When the curriculum of the one goes on, the other stays where it is.
    """
    probe.check(copy_gives_the_same)
    if isinstance(probe.criterion, nn.Module):
        probe.check(copy_is_whole, original=True)
    probe.check(copy_stays_when_the_other_steps)


def copy_gives_the_same(loss: Loss, batch: LossInputs) -> None:
    """Copy a loss after a call."""
    original = copy.deepcopy(loss)
    original.results(batch, copies=False)
    twin = copy.deepcopy(original)
    expected = original.results(batch, copies=False)
    expect_same(twin.results(batch, copies=False), expected, 1e-6, "from the copy {}")


def copy_is_whole(criterion: Any) -> None:
    """Compare a copy with the loss itself, without calling either."""
    expect_whole_copy(criterion, copy.deepcopy(criterion))


def copy_stays_when_the_other_steps(loss: Loss, batch: LossInputs) -> None:
    """Move the curriculum of a loss on, and look at its copy."""
    owners = (loss.criterion, getattr(loss.criterion, "curriculum", None))
    curriculum = next((each for each in owners if callable(getattr(each, "step", None))), None)
    if curriculum is None:
        return
    twin = copy.deepcopy(loss)
    # Copies are called, for a call may itself move a curriculum on.
    before = twin.results(batch)
    for _ in range(3):
        curriculum.step()
    expect_same(twin.results(batch), before, 1e-6, "when the original steps on, from the copy {}")


@loss_check(
    "an assignment into the labels (target[target == 255] = 0), or depth or scores that are "
    "clamped or filled in place",
    run=LossProbe.for_all,
)
def check_loss_inputs_are_not_modified(loss: Loss, batch: LossInputs) -> None:
    """A loss does not write to its inputs."""
    # Without gradients, for autograd would refuse some of the writing with other words.
    before, leaves = batch.mapped(lambda x: x.clone()), batch.leaves()
    with torch.no_grad():
        loss(batch)
    pairs = {name: (leaves[name], tensor) for name, tensor in before.leaves().items()}
    pairs["target"] = (batch.target, before.target)
    pairs["target_depth"] = (batch.target_depth, before.target_depth)
    for name, (now, then) in pairs.items():
        if difference({name: now}, {name: then}, 0.0):
            breach(f"{name} was overwritten")


@loss_check(
    "something counted, averaged or cached from call to call, a curriculum that a forward moves on, "
    "or a random draw of pixels",
    run=lambda probe, body: probe.check(body, probe.scene(seed=10, size=(9, 5), name="other")),
)
def check_loss_is_deterministic(loss: Loss, batch: LossInputs, other: LossInputs) -> None:
    """Two calls on the same batch are equal, whatever came between and whatever the random state."""
    first = loss.results(batch, copies=False)
    loss.results(other, copies=False)
    again = loss.results(batch, seed=1, copies=False)
    expect_same(again, first, CLOSE, "when the first batch comes again {}")


@loss_check(
    "torch.set_grad_enabled called for good in place of torch.no_grad() as a context, "
    "torch.manual_seed, or another default dtype",
    run=LossProbe.check,
)
def check_loss_keeps_global_state(loss: Loss, batch: LossInputs) -> None:
    """A loss leaves the random seeds and the settings of the process alone."""
    leaves = batch.differentiable()
    expect_settings_kept(lambda: loss(leaves), "a call")
