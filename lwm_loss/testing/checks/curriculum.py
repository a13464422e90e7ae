"""A curriculum, alone or within a loss."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..calls import copied
from ..copying import load_state
from ..expect import CheckSkipped, breach, expect_same
from ..registry import loss_check
from ..scenes import Scene
from ..subjects.loss import LossProbe

# A schedule that does not say how long it is is given up after this many steps.
LONGEST = 1000

# What a curriculum keeps of weights, by name.
Keep = Callable[[Any, Tensor], dict[str, Tensor]]


def on_weights(probe: LossProbe, body: Callable[..., None]) -> None:
    """Run the body of a check on a map of weights and its labelled pixels."""
    alone = probe.kind == "curriculum"
    if not alone and not callable(getattr(probe.curriculum, "step", None)):
        raise CheckSkipped("it has no curriculum")
    arguments = "weights, mask" if not alone or probe.uses("mask") else "weights"
    scene = Scene(
        "noise = torch.Generator().manual_seed(0)\n"
        "mask = torch.rand((2, 6, 8), generator=noise) < 0.8\n"
        "weights = 0.01 + 2 * torch.rand((2, 6, 8), generator=noise)\n"
        "weights = torch.where(mask, weights, 0)\n"
        "def keep(curriculum, weights):\n"
        f'    return {{"the kept weight": curriculum({arguments})}}'
    )
    probe.check(body, scene)


curriculum_check = partial(loss_check, example="SelfPacedCurriculum(epochs=3)", run=on_weights)


def require_mask(probe: LossProbe) -> None:
    """Skip the check if the curriculum takes no mask."""
    probe.require_output()
    if probe.kind == "curriculum" and not probe.uses("mask"):
        raise CheckSkipped("it takes no mask")


@curriculum_check(
    "a threshold that is compared the wrong way round, one that does not depend on the epoch, or a "
    "step() that is never counted"
)
def check_curriculum_kept_share_grows(keep: Keep, curriculum: Any, weights: Tensor) -> None:
    """From epoch to epoch a curriculum keeps the weights that it kept and more, in the end all.

    What it keeps it does not change; the rest it sets to 0.
    """
    length = getattr(curriculum, "epochs", None)
    last = LONGEST if length is None else min(LONGEST, int(length))
    before = kept = torch.zeros_like(weights)
    epoch = 0
    for epoch in range(last + 1):
        kept = keep(curriculum, weights)["the kept weight"]
        if not isinstance(kept, Tensor) or kept.shape != weights.shape:
            breach("a curriculum that does not return a map of the shape of the weights")
        there = kept != 0
        if not torch.equal(kept[there], weights[there]):
            breach(f"in epoch {epoch} weights that it keeps are changed")
        lost = int(((before != 0) & ~there).sum())
        if lost:
            breach(f"in epoch {epoch} {lost} weights are dropped that were kept before")
        if epoch == 0 and torch.equal(kept, weights):
            breach("it keeps all weights from the beginning")
        if length is None and torch.equal(kept, weights):
            break
        before = kept
        curriculum.step()
    if not torch.equal(kept, weights):
        share = float((kept != 0).sum() / (weights != 0).sum())
        breach(f"after {epoch} epochs it keeps {share:.0%} of the weights, not all")


@curriculum_check(
    "a median, a quantile or a maximum over the whole map in place of the labelled pixels: zeros "
    "where there is no label pull the threshold down",
    requires=require_mask,
)
def check_curriculum_masked_pixels_do_not_count(
    keep: Keep, curriculum: Any, weights: Tensor, mask: Tensor
) -> None:
    """What a curriculum keeps within its mask does not depend on the weights outside of it."""
    other = torch.where(mask, weights, 5 * weights + 1)
    for epoch in range(3):
        # Copies are called, for a call may itself move a curriculum on.
        found, expected = (
            {name: torch.where(mask, x, 0) for name, x in keep(copied(curriculum), each).items()}
            for each in (other, weights)
        )
        sentence = f"in epoch {epoch}, with other weights outside of the mask, {{}}"
        expect_same(found, expected, 0.0, sentence)
        curriculum.step()


@curriculum_check(
    "an epoch kept as a Python number or a plain tensor in place of a buffer, a buffer with "
    "persistent=False, or a curriculum that the loss holds without registering it"
)
def check_curriculum_state_dict(
    keep: Keep, criterion: Any, curriculum: Any, weights: Tensor
) -> None:
    """A curriculum that is saved and loaded goes on where it was."""
    if not isinstance(criterion, nn.Module):
        breach(f"{type(criterion).__name__} is no nn.Module and has no state_dict")
    new, other = copy.deepcopy((criterion, curriculum))
    for _ in range(max(1, int(getattr(curriculum, "epochs", 10)) // 2)):
        curriculum.step()
    load_state(new, criterion)
    for later in range(3):
        expected = keep(curriculum, weights)
        expect_same(keep(other, weights), expected, 0.0, f"{later} epochs after loading {{}}")
        curriculum.step()
        other.step()


@curriculum_check(
    "an epoch that counts from 1, a set_epoch() that only moves forward, or one that adds to the epoch"
)
def check_curriculum_set_epoch(keep: Keep, curriculum: Any, weights: Tensor) -> None:
    """``set_epoch(k)`` leaves a curriculum where k steps from the start leave it, from any epoch."""
    if not callable(getattr(curriculum, "set_epoch", None)):
        raise CheckSkipped("it has no set_epoch")
    start = copied(curriculum)
    for epoch in (0, 2, 1, 3):
        stepped = copied(start)
        for _ in range(epoch):
            stepped.step()
        curriculum.set_epoch(epoch)
        expected = keep(stepped, weights)
        expect_same(keep(curriculum, weights), expected, 0.0, f"after set_epoch({epoch}) {{}}")
