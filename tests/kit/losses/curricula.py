"""Curricula that keep the wrong weights, or lose their epoch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF
from tests.kit.losses.healthy import IGNORED


class EpochInPython(lwm.SelfPacedCurriculum):
    def __init__(self, epochs: int) -> None:
        super().__init__(epochs)
        del self.epoch
        self.epoch = torch.zeros((), dtype=torch.int64)


class EpochNotSaved(lwm.SelfPacedCurriculum):
    def __init__(self, epochs: int) -> None:
        super().__init__(epochs)
        self.register_buffer("epoch", self.epoch, persistent=False)


class EpochOnTheClass(nn.Module):
    """All of them move together."""

    epoch = 0

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.epochs = epochs

    def step(self) -> None:
        type(self).epoch += 1

    def reset(self) -> None:
        type(self).epoch = 0

    def forward(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        progress = self.epoch / self.epochs
        pace = LF.curriculum_threshold(weight_map, progress, mask=mask).reshape(-1, 1, 1)
        return torch.where((weight_map < pace) | (progress >= 1), weight_map, 0)


class KeepsTheHard(lwm.SelfPacedCurriculum):
    def forward(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        return weight_map - super().forward(weight_map, mask)


class NeverMoves(lwm.SelfPacedCurriculum):
    def step(self) -> None:
        pass


class KeepsLess(lwm.SelfPacedCurriculum):
    def forward(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        left = self.epochs - self.epoch
        bound = weight_map.amax((1, 2), keepdim=True) * left / self.epochs
        return torch.where((weight_map > bound) & (left > 0), 0, weight_map)


class MovesInForward(lwm.SelfPacedCurriculum):
    def forward(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        kept = super().forward(weight_map, mask)
        self.step()
        return kept


class Unregistered:
    """A curriculum that is held in a list."""

    def __init__(self, curriculum: lwm.SelfPacedCurriculum) -> None:
        self.held = curriculum

    def __call__(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.held(weight_map, mask)

    def step(self) -> None:
        self.held.step()

    @property
    def epochs(self) -> Tensor:
        return self.held.epochs


class HoldsUnregistered(lwm.HardPixelLoss):
    """A loss whose state_dict lacks its curriculum."""

    def __init__(self) -> None:
        super().__init__(
            nn.CrossEntropyLoss(ignore_index=IGNORED, reduction="none"),
            lwm.LossWeightModule(ignore_index=IGNORED),
        )
        self.curriculum = Unregistered(lwm.SelfPacedCurriculum(4))


class ForgetsTheMask(lwm.SelfPacedCurriculum):
    def forward(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(weight_map)


class KeepsAList(lwm.SelfPacedCurriculum):
    def forward(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(weight_map, mask).flatten(1)


class HalvesWhatItKeeps(lwm.SelfPacedCurriculum):
    def forward(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        return super().forward(weight_map, mask) / 2


class KeepsAll(lwm.SelfPacedCurriculum):
    def forward(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        return weight_map


def unregistered() -> Unregistered:
    return Unregistered(lwm.SelfPacedCurriculum(4))


class CountsEpochsFromOne(lwm.SelfPacedCurriculum):
    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch + 1)
