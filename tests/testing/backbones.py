"""A small healthy network, and networks that each break one contract on purpose."""

from __future__ import annotations

import random
import threading
import weakref

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lwm_loss import MultiTaskOutput

CLASSES = 5


class Healthy(nn.Module):
    """Stride, batch norm, dropout, stochastic depth, depth and a side output, with a decoder."""

    def __init__(self, num_classes: int = CLASSES, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.block = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Conv2d(width, num_classes, 1)
        self.depth_head = nn.Conv2d(width, 1, 1)
        self.side_head = nn.Conv2d(width, num_classes, 1)

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        fine = F.relu(self.norm(self.stem(image)))
        residual = self.block(fine)
        if self.training:
            residual = residual * (torch.rand(len(image), 1, 1, 1, device=image.device) > 0.2)
        return fine, self.dropout(F.avg_pool2d(fine, 3, 2, 1) + residual)

    def outputs(self, fine: Tensor, coarse: Tensor, size: torch.Size) -> MultiTaskOutput:
        def upsample(scores: Tensor) -> Tensor:
            return F.interpolate(scores, size, mode="bilinear", align_corners=False)

        return MultiTaskOutput(
            upsample(self.head(coarse)),
            upsample(self.depth_head(coarse)),
            (self.side_head(fine),),
        )

    def forward(self, image: Tensor) -> MultiTaskOutput:
        return self.outputs(*self.features(image), image.shape[-2:])


class LogitsAlone(Healthy):
    """Returns a tensor."""

    def __init__(self) -> None:
        super().__init__()
        del self.depth_head, self.side_head

    def forward(self, image: Tensor) -> Tensor:
        _, coarse = self.features(image)
        return F.interpolate(self.head(coarse), image.shape[-2:])


class InAMapping(Healthy):
    """Returns a dict, with side outputs in training alone."""

    def forward(self, image: Tensor) -> dict[str, object]:
        output = super().forward(image)._asdict()
        return output if self.training else {"logits": output["logits"]}


class ZeroHead(Healthy):
    """Starts from logits and a residual branch of zeros, as many networks do."""

    def __init__(self) -> None:
        super().__init__()
        for layer in (self.head, self.block):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)


class FrozenStem(Healthy):
    """Has parameters that are not to be trained, constants that need no saving, and a tied one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem.requires_grad_(False)
        self.mean = torch.tensor([0.485, 0.456, 0.406])
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]), persistent=False)
        self.side_head.weight = self.head.weight

    def forward(self, image: Tensor) -> MultiTaskOutput:
        mean, std = (x.reshape(1, 3, 1, 1) for x in (self.mean, self.std))
        return super().forward((image - mean) / std)


class Attention(nn.Module):
    """Tokens, layer norm and attention: no convolution but the first, no batch norm."""

    def __init__(self, num_classes: int = CLASSES, width: int = 16) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, stride=8)
        self.layer = nn.TransformerEncoderLayer(width, 2, 32, batch_first=True, dropout=0.1)
        self.head = nn.Linear(width, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image)
        size = tokens.shape[-2:]
        tokens = self.layer(tokens.flatten(2).transpose(1, 2))
        scores = self.head(tokens).transpose(1, 2).unflatten(2, size)
        return F.interpolate(scores, image.shape[-2:], mode="bilinear")


HEALTHY = (Healthy, LogitsAlone, InAMapping, ZeroHead, FrozenStem, Attention)


# --- shapes, dtypes, values ---------------------------------------------------------------------


class UpsamplesByAFactor(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        _, coarse = self.features(image)
        return F.interpolate(self.head(coarse), scale_factor=4)


class SkipOffByOne(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        fine, coarse = self.features(image)
        return F.interpolate(
            self.head(fine + F.interpolate(coarse, scale_factor=2)), scale_factor=2
        )


class SqueezesTheBatch(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image).squeeze()


class DepthOfTwoChannels(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(log_depth=output.log_depth.repeat(1, 2, 1, 1))


class DepthAtHalfSize(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(log_depth=output.log_depth[..., ::2, ::2])


class SwapsHeightAndWidth(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        logits = super().forward(image)
        return logits.reshape(*logits.shape[:2], image.shape[3], image.shape[2])


class LogitsAtAQuarter(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image)[1])


class OneClassTooMany(Healthy):
    def __init__(self) -> None:
        super().__init__(num_classes=CLASSES + 1)


class NoLogitsInTheMapping(Healthy):
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"out": super().forward(image).logits}


class ReturnsLabels(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        logits = super().forward(image)
        return logits if self.training else logits.argmax(1, keepdim=True).expand_as(logits)


class ReturnsDouble(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(logits=output.logits.double())


class HalfLogits(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image).half()


class StandardisesTheImage(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        mean, std = image.mean((1, 2, 3), keepdim=True), image.std((1, 2, 3), keepdim=True)
        return super().forward((image - mean) / std)


class LogOfTheImage(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        return super().forward(image.clamp(min=-2.5).add(2.5).log())


class DepthIsLogOfReLU(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(log_depth=F.relu(output.log_depth).log())


class ExpOfTheImage(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image.exp().exp())


class RootOfAVariance(LogitsAlone):
    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Conv2d(3, CLASSES, 1)

    def forward(self, image: Tensor) -> Tensor:
        contrast = self.point(image).var((2, 3), keepdim=True).sqrt()
        return super().forward(image) + contrast


# --- gradients ----------------------------------------------------------------------------------


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


# --- evaluation ---------------------------------------------------------------------------------


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


class WritesToTheImage(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        image.sub_(0.5)
        return super().forward(image)


class ClipsItsWeights(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        self.head.weight.data.clamp_(-0.05, 0.05)
        return super().forward(image)


class TeacherInForward(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        if self.training:
            with torch.no_grad():
                self.side_head.weight.lerp_(self.head.weight, 0.1)
        return super().forward(image)


class SeedsTorch(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        torch.manual_seed(0)
        return super().forward(image)


class TurnsGradientsOff(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        if not self.training:
            torch.set_grad_enabled(False)
        return super().forward(image)


class SeedsPython(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        random.seed(0)
        return super().forward(image)


# --- labels and depth ---------------------------------------------------------------------------


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


# --- state, copies, compilation -----------------------------------------------------------------


class PlainTensor(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.offset = torch.randn(CLASSES, 1, 1)

    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(logits=output.logits + self.offset)


class ListOfLayers(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Conv2d(3, 3, 1)]

    def forward(self, image: Tensor) -> MultiTaskOutput:
        return super().forward(self.layers[0](image))


class RandomBufferNotSaved(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.randn(CLASSES, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(logits=output.logits + self.offset)


class RunningBufferNotSaved(Healthy):
    def __init__(self, unknown: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(3), persistent=False)

    def forward(self, image: Tensor) -> MultiTaskOutput:
        if self.training:
            self.seen.lerp_(image.detach().mean((0, 2, 3)) + 1, 0.1)
        return super().forward(image - self.seen.reshape(1, 3, 1, 1))


def running_buffer_not_saved() -> nn.Module:
    return RunningBufferNotSaved(0)


class TemperatureInPython(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.temperature = 1.0

    def forward(self, image: Tensor) -> MultiTaskOutput:
        if self.training:
            self.temperature *= 0.9
        output = super().forward(image)
        return output._replace(logits=output.logits / self.temperature)


class StateWithoutHead(Healthy):
    def state_dict(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        state = super().state_dict(*args, **kwargs)
        return {name: value for name, value in state.items() if not name.startswith("head")}

    def load_state_dict(self, state: dict[str, Tensor], strict: bool = True) -> object:
        return super().load_state_dict(state, strict=False)


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


class HoldsALock(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class KeepsTheGraph(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        self.last = super().forward(image)
        return self.last


class WeakParent(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.parent = weakref.ref(self)

    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(logits=output.logits * self.parent().scale)


class HoldsALambda(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.activation = lambda x: F.relu(x) + 0.1 * x

    def forward(self, image: Tensor) -> MultiTaskOutput:
        return super().forward(self.activation(image))


class HooksALambda(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.stem.register_forward_hook(lambda module, args, output: output * 2)


def local_class() -> nn.Module:
    class Local(Healthy):
        pass

    return Local()
