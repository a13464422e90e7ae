"""Networks that do not survive being saved or copied."""

from __future__ import annotations

import threading
import weakref

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lwm_loss import MultiTaskOutput
from tests.kit.backbones.healthy import CLASSES, Healthy, LogitsAlone


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


class RandomOrderNotSaved(LogitsAlone):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.randperm(CLASSES), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image)[:, self.order]


class ForgetsWhenCopied(Healthy):
    """Its copies start anew, and agree with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(1) + 0.5)

    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(logits=output.logits * self.scale)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_parameters": {"scale": nn.Parameter(torch.ones(1))}}


class ForgetsANumber(Healthy):
    def __init__(self) -> None:
        super().__init__()
        self.gain = 0.5

    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(logits=output.logits * self.gain)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "gain": 1.0}


class _SharedHead:
    """Copies of it are itself."""

    def __init__(self, head: nn.Module) -> None:
        self.head = head

    def __deepcopy__(self, memo: object) -> _SharedHead:
        return self


class RunsTheOriginal(Healthy):
    """Its copy calls the head of the original."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = _SharedHead(self.head)

    def forward(self, image: Tensor) -> MultiTaskOutput:
        fine, coarse = self.features(image)
        output = self.outputs(fine, coarse, image.shape[-2:])
        logits = F.interpolate(self.shared.head(coarse), image.shape[-2:])
        return output._replace(logits=logits)


class ForgetsAPrivateNumber(Healthy):
    """Its copies start anew where training has moved it on."""

    def __init__(self) -> None:
        super().__init__()
        self._gain = 1.0

    def forward(self, image: Tensor) -> MultiTaskOutput:
        if self.training:
            self._gain = 0.5
        output = super().forward(image)
        return output._replace(logits=output.logits * self._gain)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_gain": 1.0}


class UsesTheOriginalForNothing(RunsTheOriginal):
    """Its copy adds 0 times the head of the original."""

    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = Healthy.forward(self, image)
        return output._replace(logits=output.logits + 0 * self.shared.head.weight.sum())
