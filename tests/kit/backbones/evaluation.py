"""Networks that in evaluation are no function of one image."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lwm_loss import MultiTaskOutput
from tests.kit.backbones.healthy import Healthy, LogitsAlone


class NeedsDepth(Healthy):
    def forward(self, image: Tensor, depth: Tensor) -> MultiTaskOutput:
        return super().forward(image + depth)


class NeedsDepthInEvaluation(Healthy):
    def forward(self, image: Tensor, depth: Tensor | None = None) -> MultiTaskOutput:
        output = super().forward(image)
        return output if self.training else output._replace(log_depth=output.log_depth + depth)


class FourChannels(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 8, 3, stride=2, padding=1)


class BatchStatistics(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)


class CentredOverTheBatch(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(logits=output.logits - 0.1 * output.logits.mean((0, 2, 3), True))


class DividedByTheBatch(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        return super().forward(image / (image.abs().max() + 1))


class NormStaysInTraining(Healthy):
    def train(self, mode: bool = True) -> NormStaysInTraining:
        super().train(mode)
        self.norm.train()
        return self


class NormTold(Healthy):
    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        norm = self.norm
        fine = F.batch_norm(
            self.stem(image), norm.running_mean, norm.running_var, norm.weight, norm.bias, True
        )
        return fine, F.avg_pool2d(fine, 3, 2, 1) + self.block(fine)


class RunningMeanInEvaluation(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, image: Tensor) -> MultiTaskOutput:
        self.seen.lerp_(image.detach().mean((0, 2, 3)), 0.1)
        return super().forward(image)


class DropoutLeftOn(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(logits=F.dropout(output.logits, 0.2))


class NoiseInEvaluation(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        return super().forward(image + 0.1 * torch.randn_like(image))


class NumpyNoise(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        return super().forward(image * (1 + 0.1 * float(np.random.rand())))


class CountsItsCalls(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, image: Tensor) -> MultiTaskOutput:
        self.calls += 1
        return super().forward(image * (1 + 0.1 * self.calls))


class CachesTheFirstImage(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.context = None

    def forward(self, image: Tensor) -> MultiTaskOutput:
        if self.context is None:
            self.context = image.detach().mean((2, 3), keepdim=True).mean(0, keepdim=True)
        return super().forward(image + self.context)


class CachesTheFirstSize(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.size = None

    def forward(self, image: Tensor) -> MultiTaskOutput:
        self.size = self.size or image.shape[-2:]
        return self.outputs(*self.features(image), self.size)


class ReusesItsOutput(LogitsAlone):
    def __init__(self) -> None:
        super().__init__()
        self.store: dict[torch.Size, Tensor] = {}

    def forward(self, image: Tensor) -> Tensor:
        logits = super().forward(image)
        if self.training:
            return logits
        kept = self.store.setdefault(logits.shape, torch.empty_like(logits))
        return kept.copy_(logits.detach())


class ScaledByTheBatch(Healthy):
    """The image with the largest value is alone what it is in the batch; the others are not."""

    def forward(self, image: Tensor) -> MultiTaskOutput:
        return super().forward(image / (image.abs().max() + 1e-6))


class StochasticDepthLeftOn(LogitsAlone):
    """Drops a branch for one image in five."""

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        fine = F.relu(self.norm(self.stem(image)))
        kept = torch.rand(len(image), 1, 1, 1) > 0.2
        return fine, F.avg_pool2d(fine, 3, 2, 1) + self.block(fine) * kept


class NeedsDepthInTraining(Healthy):
    def forward(self, image: Tensor, depth: Tensor | None = None) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(log_depth=output.log_depth + depth) if self.training else output


class ShiftsFromTheThirdCallOn(Healthy):
    calls = 0

    def forward(self, image: Tensor) -> MultiTaskOutput:
        self.calls += 1
        output = super().forward(image)
        return output._replace(logits=output.logits + 0.1 * (self.calls > 2))


class RegistersABuffer(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        if not self.training and not hasattr(self, "size"):
            self.register_buffer("size", torch.tensor(image.shape[-2:]))
        return super().forward(image)
