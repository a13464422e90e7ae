"""Small healthy networks, of every form that a backbone may have."""

from __future__ import annotations

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


class DepthFromLogits(Healthy):
    """Its depth starts from the logits, which so get the gradient of the depth loss too."""

    def __init__(self) -> None:
        super().__init__()
        self.depth_head = nn.Conv2d(CLASSES, 1, 1)
        del self.side_head

    def forward(self, image: Tensor) -> MultiTaskOutput:
        logits = F.interpolate(self.head(self.features(image)[1]), image.shape[-2:])
        return MultiTaskOutput(logits, self.depth_head(logits).squeeze(1))


class LogProbabilities(LogitsAlone):
    """A log_softmax, which a cross-entropy does not notice."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image).log_softmax(1)


HEALTHY = (
    Healthy,
    LogitsAlone,
    InAMapping,
    ZeroHead,
    FrozenStem,
    Attention,
    DepthFromLogits,
    LogProbabilities,
)
