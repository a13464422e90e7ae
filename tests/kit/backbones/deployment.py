"""Networks that do not run in low precision, or compile."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lwm_loss import MultiTaskOutput
from tests.kit.backbones.healthy import CLASSES, Healthy, LogitsAlone


class IndexAdd(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        _, coarse = self.features(image)
        scores = self.head(coarse).mean((2, 3))
        total = torch.zeros(len(image), CLASSES)
        total = total.index_add(1, torch.arange(CLASSES), scores)
        return super().forward(image) + total[..., None, None]


class HalfInside(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        logits = super().forward(image)
        if torch.is_autocast_enabled("cpu"):
            logits = (1e5 * logits).half().float() / 1e5
        return logits


class LogOfOneMinusP(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        p = torch.sigmoid(20 * super().forward(image))
        return p.clamp(1e-4, 1 - 1e-4).neg().add(1).log()


class BranchesOnValues(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        return super().forward(image / 255 if image.max() > 10 else image)


class ReadsANumber(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        return super().forward(image * (1 + 0.001 * image.detach().mean().item()))


class BreaksInTraining(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        if self.training and float(output.logits.detach().sum()) > 1e9:
            raise FloatingPointError
        return output


class InfiniteDerivativeUnderAutocast(LogitsAlone):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> Tensor:
        logits = super().forward(image)
        return logits + (0 * self.scale).sqrt() if torch.is_autocast_enabled("cpu") else logits


class OtherWhenCompiled(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) * (1.1 if torch.compiler.is_compiling() else 1.0)
