"""Losses that fail in low precision, compiled, copied or called again."""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor

import lwm_loss.functional as LF
from tests.kit.losses.healthy import Base, Plain, labelled, mean, pixel_loss


class HalfMean(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = pixel_loss(logits, target).to(logits.dtype)
        return loss.sum() / labelled(target).to(logits.dtype).sum().clamp(min=1)


class BooleanIndexing(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return pixel_loss(logits, target)[labelled(target)].sum() / labelled(target).sum().clamp(1)


class ReadsACount(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return pixel_loss(logits, target).sum() / max(1, labelled(target).sum().item())


class BranchesOnLabels(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = mean(pixel_loss(logits, target), target)
        return loss if labelled(target).any() else 0 * logits.sum()


class HoldsALock(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class WritesToTheTarget(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = mean(pixel_loss(logits, target), target)
        target[~labelled(target)] = 0
        return loss


class WritesToTheDepth(Base):
    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor, target_depth: Tensor
    ) -> Tensor:
        target_depth.clamp_(min=1.0)
        return mean(pixel_loss(logits, target), target) + LF.log_depth_mse_loss(
            pred_depth, target_depth
        )


class WarmsUp(Base):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.calls += 1
        return mean(pixel_loss(logits, target), target) * min(1.0, self.calls / 10)


class DrawsPixels(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = pixel_loss(logits, target)
        return mean(loss * (torch.rand_like(loss) < 0.5), target)


class ForgetsWhenCopied(Base):
    """Its copies agree with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 0.5

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.factor * mean(pixel_loss(logits, target), target)

    def __deepcopy__(self, memo: dict[int, Any]) -> ForgetsWhenCopied:
        new = ForgetsWhenCopied()
        new.factor = 1.0
        return new


class TurnsGradientsOn(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        torch.set_grad_enabled(False)
        hard = (logits.argmax(1) != target).float()
        torch.set_grad_enabled(True)
        return mean((1 + hard) * pixel_loss(logits, target), target)


class TurnsGradientsOff(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = mean(pixel_loss(logits, target), target)
        torch.set_grad_enabled(False)
        return loss


class SmallEpsilon(Base):
    """1e-8 keeps the log finite in float32, and is 0 in float16."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        label = torch.where(labelled(target), target, 0).unsqueeze(1)
        probability = logits.softmax(1).gather(1, label).squeeze(1)
        loss = -(probability + 1e-8).log().float()
        return mean(torch.where(labelled(target), loss, 0), target)


class InfiniteDerivativeInHalf(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        loss = mean(pixel_loss(logits, target), target)
        return loss + (0 * logits.float().mean()).sqrt() if logits.dtype == torch.half else loss


class OtherWhenCompiled(Base):
    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return mean(pixel_loss(logits, target), target) * (
            1.1 if torch.compiler.is_compiling() else 1.0
        )


class ForgetsAPrivateNumber(Base):
    """Its copies start anew where a call has moved it on."""

    def __init__(self) -> None:
        super().__init__()
        self._factor = 1.0

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self._factor = 0.5 * self._factor
        return self._factor * mean(pixel_loss(logits, target), target)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_factor": 1.0}
