"""Networks whose gradients do not arrive, arrive in the wrong place, or with the wrong sign."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lwm_loss import MultiTaskOutput
from tests.kit.backbones.healthy import Healthy, LogitsAlone


class UnusedLayer(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.forgotten = nn.Conv2d(8, 8, 1)


class UnusedScale(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(logits=output.logits + 0 * self.scale)


class DetachedStem(Healthy):
    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        fine = F.relu(self.norm(self.stem(image))).detach()
        return fine, F.avg_pool2d(fine, 3, 2, 1) + self.block(fine)


class WeightData(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        _, coarse = self.features(image)
        weight = self.head.weight.data
        return F.interpolate(F.conv2d(coarse, weight, self.head.bias), image.shape[-2:])


class DetachedSides(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(side_logits=tuple(side.detach() for side in output.side_logits))


class SideOfDetachedFeatures(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        fine, coarse = self.features(image)
        output = self.outputs(fine, coarse, image.shape[-2:])
        return output._replace(side_logits=(self.side_head(fine.detach()),))


class DetachedDepth(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(log_depth=output.log_depth.detach())


class DetachedLogits(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(logits=output.logits.detach())


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(context: object, tensor: Tensor) -> Tensor:
        return tensor.clone()

    @staticmethod
    def backward(context: object, grad: Tensor) -> Tensor:
        return -grad


class ReversedGradient(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(logits=_Reverse.apply(output.logits))


class ReversedDepth(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(log_depth=_Reverse.apply(output.log_depth))


class _AddsNoise(torch.autograd.Function):
    @staticmethod
    def forward(context: object, tensor: Tensor) -> Tensor:
        return tensor.clone()

    @staticmethod
    def backward(context: object, grad: Tensor) -> Tensor:
        return grad + 1e-4


class GradientNoise(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(logits=_AddsNoise.apply(output.logits))


class GradientHook(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        if output.logits.requires_grad:
            output.logits.register_hook(lambda grad: grad - grad.mean() + 1e-6)
        return output


class SpreadsDepthGradient(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        depth = output.log_depth
        if depth.requires_grad:
            depth.register_hook(lambda grad: grad + grad.mean())
        return output


class LogitsOfDetachedFeatures(Healthy):
    """The depth branch alone teaches the encoder."""

    def forward(self, image: Tensor) -> MultiTaskOutput:
        fine, coarse = self.features(image)
        output = self.outputs(fine, coarse, image.shape[-2:])
        logits = self.outputs(fine.detach(), coarse.detach(), image.shape[-2:]).logits
        return output._replace(logits=logits)


class LearnsOfOneImage(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(
            logits=torch.cat([output.logits[:1], output.logits[1:].detach()]),
        )


class DepthWithoutParameters(Healthy):
    """What it calls log-depth is the brightness."""

    def forward(self, image: Tensor) -> MultiTaskOutput:
        return super().forward(image)._replace(log_depth=image.mean(1))


class SpreadsLogitGradient(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        if output.logits.requires_grad:
            output.logits.register_hook(lambda grad: grad + grad.mean())
        return output


class SpreadsGradientOverTheBatch(Healthy):
    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        fine, coarse = super().features(image)
        if coarse.requires_grad:
            coarse.register_hook(lambda grad: grad + grad.flip(0))
        return fine, coarse


class ScalesDepthGradientByItsZeros(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        if output.log_depth.requires_grad:
            output.log_depth.register_hook(lambda grad: grad * (1 + (grad == 0).sum()))
        return output


class InfiniteDepthDerivative(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(log_depth=output.log_depth + (0 * self.scale).sqrt())
