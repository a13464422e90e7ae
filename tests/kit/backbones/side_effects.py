"""Networks whose forward changes what it must leave alone."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from lwm_loss import MultiTaskOutput
from tests.kit.backbones.healthy import Healthy


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


class SetsAFlag(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        torch.backends.cudnn.benchmark = True
        return super().forward(image)


class CentresASingleImage(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        if len(image) == 1:
            image -= image.mean()
        return super().forward(image)


class AddsAParameter(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        if not hasattr(self, "late"):
            self.late = torch.nn.Parameter(torch.ones(1))
        return super().forward(image)


class FreezesItsHead(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        self.head.bias.requires_grad_(False)
        return output
