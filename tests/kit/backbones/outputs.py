"""Networks that return the wrong shape, dtype or values."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lwm_loss import MultiTaskOutput
from tests.kit.backbones.healthy import CLASSES, Healthy, LogitsAlone


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


class SqueezesInTraining(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(log_depth=output.log_depth.squeeze()) if self.training else output


class Softmaxed(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image).softmax(1)


class SoftmaxInEvaluation(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        logits = super().forward(image)
        return logits if self.training else logits.softmax(1)


class SigmoidOfASide(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        output = super().forward(image)
        return output._replace(side_logits=[side.sigmoid() for side in output.side_logits])


class ReLUOnTheHead(LogitsAlone):
    def forward(self, image: Tensor) -> Tensor:
        return F.relu(super().forward(image))


class WholeStrides(Healthy):
    def forward(self, image: Tensor) -> MultiTaskOutput:
        if image.shape[2] % 16 or image.shape[3] % 16:
            raise ValueError("expected whole strides")
        return super().forward(image)
