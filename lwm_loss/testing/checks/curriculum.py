"""Checks of a curriculum, alone or within a loss."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .._compare import tensor_difference
from ..registry import loss_check
from ..report import CheckSkipped
from ..scenes import Scene
from ..search import breach, scenario
from ..subjects.loss import LossProbe

# A schedule that does not say how long it is is given up after this many steps.
LONGEST = 1000
# Epochs in which other weights outside of the mask are tried.
MASKED_EPOCHS = 3

SETUP = (
    "curriculum = {owner}\n"
    "noise = torch.Generator().manual_seed(0)\n"
    "weight = 0.01 + 2 * torch.rand((2, 6, 8), generator=noise)\n"
    "mask = torch.rand((2, 6, 8), generator=noise) < 0.8\n"
    "weight = torch.where(mask, weight, 0)\n"
)


def _curriculum(probe: LossProbe, criterion: Any) -> Any:
    """The curriculum of a subject: itself, or the one that it holds."""
    if probe.kind == "curriculum":
        return criterion
    found = getattr(criterion, "curriculum", None)
    if found is None or not callable(getattr(found, "step", None)):
        raise CheckSkipped("it has no curriculum")
    return found


def _owner(probe: LossProbe) -> str:
    return "criterion" if probe.kind == "curriculum" else "criterion.curriculum"


def _weights() -> tuple[Tensor, Tensor]:
    """A map of weights and the pixels that have a label."""
    scene = Scene(SETUP.format(owner="None"))
    return scene["weight"], scene["mask"]


def _reset(curriculum: Any) -> None:
    if callable(getattr(curriculum, "reset", None)):
        curriculum.reset()


def _filtered(probe: LossProbe, curriculum: Any, weight: Tensor, mask: Tensor) -> Tensor:
    """What a curriculum keeps of a map of weights."""
    takes_mask = probe.kind != "curriculum" or "mask" in probe.roles
    output = curriculum(weight, mask) if takes_mask else curriculum(weight)
    if not isinstance(output, Tensor) or output.shape != weight.shape:
        breach("a curriculum that does not return a map of the shape of the weights")
    return output


def _schedule(probe: LossProbe, curriculum: Any) -> Iterator[tuple[int, Tensor]]:
    """The kept weights epoch by epoch, until all are kept or the schedule is too long."""
    weight, mask = _weights()
    length = getattr(curriculum, "epochs", None)
    last = int(length) if isinstance(length, (int, Tensor)) else LONGEST
    for epoch in range(min(last, LONGEST) + 1):
        kept = _filtered(probe, curriculum, weight, mask)
        yield epoch, kept
        if length is None and torch.equal(kept, weight):
            return
        curriculum.step()


@loss_check(
    "a threshold that is compared the wrong way round, one that does not depend on the epoch, or a "
    "step() that is never counted"
)
def check_curriculum_kept_share_grows(probe: LossProbe) -> None:
    """From epoch to epoch a curriculum keeps the weights that it kept and more, in the end all.

    What it keeps it does not change; the rest it sets to 0.

    Example:
        >>> from lwm_loss import SelfPacedCurriculum
        >>> check_curriculum_kept_share_grows(SelfPacedCurriculum(epochs=3))
    """
    probe.ready()
    after = SETUP.format(owner=_owner(probe)) + (
        "shares = []\n"
        f"for _ in range(min(int(getattr(curriculum, 'epochs', {LONGEST})), {LONGEST}) + 1):\n"
        "    kept = curriculum(weight, mask)\n"
        "    shares.append((kept != 0).sum().item())\n"
        "    assert torch.equal(kept[kept != 0], weight[kept != 0])\n"
        "    curriculum.step()\n"
        "assert shares == sorted(shares), shares\n"
        "assert torch.equal(kept, weight), 'not all in the end'"
    )
    weight, _ = _weights()
    curriculum = _curriculum(probe, probe.copy())
    with scenario(probe.code(probe.scene(), after)):
        _reset(curriculum)
        before: Tensor | None = None
        first, epoch, kept = 0, 0, weight
        for epoch, kept in _schedule(probe, curriculum):
            there = kept != 0
            if not torch.equal(kept[there], weight[there]):
                breach(f"in epoch {epoch} weights that it keeps are changed")
            if before is not None and bool((before & ~there).any()):
                lost = int((before & ~there).sum())
                breach(f"in epoch {epoch} {lost} weights are dropped that were kept before")
            if before is None:
                first = int(there.sum())
            before = there
        if not torch.equal(kept, weight):
            share = float((kept != 0).sum() / (weight != 0).sum())
            breach(f"after {epoch} epochs it keeps {share:.0%} of the weights, not all")
        if first == int((weight != 0).sum()):
            breach("it keeps all weights from the beginning")


@loss_check(
    "a median, a quantile or a maximum over the whole map in place of the labelled pixels: zeros "
    "where there is no label pull the threshold down"
)
def check_curriculum_masked_pixels_do_not_count(probe: LossProbe) -> None:
    """What a curriculum keeps within its mask does not depend on the weights outside of it.

    Example:
        >>> from lwm_loss import SelfPacedCurriculum
        >>> check_curriculum_masked_pixels_do_not_count(SelfPacedCurriculum(epochs=3))
    """
    probe.ready()
    after = SETUP.format(owner=_owner(probe)) + (
        "other = torch.where(mask, weight, 5 * weight + 1)\n"
        f"for _ in range({MASKED_EPOCHS}):\n"
        "    kept = copy.deepcopy(curriculum)(weight, mask)\n"
        "    again = copy.deepcopy(curriculum)(other, mask)\n"
        "    assert torch.equal(again[mask], kept[mask])\n"
        "    curriculum.step()"
    )
    curriculum = _curriculum(probe, probe.copy())
    if probe.kind == "curriculum" and not probe.uses("mask"):
        raise CheckSkipped("it takes no mask")
    weight, mask = _weights()
    other = torch.where(mask, weight, 5 * weight + 1)
    with scenario(probe.code(probe.scene(), after)):
        for epoch in range(MASKED_EPOCHS):
            # Copies are called, for a call may itself move a curriculum on.
            kept, again = (
                torch.where(mask, _filtered(probe, copy.deepcopy(curriculum), each, mask), 0)
                for each in (weight, other)
            )
            found = tensor_difference("the kept weight", again, kept, 0.0)
            if found:
                breach(f"in epoch {epoch}, with other weights outside of the mask, {found}")
            curriculum.step()


@loss_check(
    "an epoch kept as a Python number or a plain tensor in place of a buffer, a buffer with "
    "persistent=False, or a curriculum that the loss holds without registering it"
)
def check_curriculum_state_dict(probe: LossProbe) -> None:
    """A curriculum that is saved and loaded goes on where it was.

    Example:
        >>> from lwm_loss import SelfPacedCurriculum
        >>> check_curriculum_state_dict(SelfPacedCurriculum(epochs=3))
    """
    probe.ready()
    after = SETUP.format(owner=_owner(probe)) + (
        "new = copy.deepcopy(criterion)\n"
        "length = int(getattr(curriculum, 'epochs', 10))\n"
        "for _ in range(max(1, length // 2)):\n"
        "    curriculum.step()\n"
        "new.load_state_dict(criterion.state_dict())\n"
        "for _ in range(3):\n"
        f"    restored = {_owner(probe).replace('criterion', 'new')}\n"
        "    assert torch.equal(restored(weight, mask), curriculum(weight, mask))\n"
        "    curriculum.step(), restored.step()"
    )
    saved, new = probe.copy(), probe.copy()
    curriculum, restored = _curriculum(probe, saved), _curriculum(probe, new)
    weight, mask = _weights()
    with scenario(probe.code(probe.scene(), after)):
        if not isinstance(saved, nn.Module):
            breach(f"{type(saved).__name__} is no nn.Module and has no state_dict")
        _reset(curriculum)
        _reset(restored)
        length = getattr(curriculum, "epochs", 10)
        for _ in range(max(1, int(length) // 2)):
            curriculum.step()
        file = io.BytesIO()
        torch.save(saved.state_dict(), file)
        file.seek(0)
        new.load_state_dict(torch.load(file, weights_only=False))
        restored = _curriculum(probe, new)
        for later in range(3):
            expected = _filtered(probe, curriculum, weight, mask)
            found = tensor_difference(
                "the kept weight", _filtered(probe, restored, weight, mask), expected, 0.0
            )
            if found:
                breach(f"{later} epochs after loading {found}")
            curriculum.step()
            restored.step()
