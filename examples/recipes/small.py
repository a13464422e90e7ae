"""A tiny network and a tiny data set, so that every recipe runs by itself in seconds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import lwm_loss as lwm
import lwm_loss.functional as LF

CLASSES = 4
VOID = 255
Sample = dict[str, Tensor]


class SmallNetwork(nn.Module):
    """Scores and log-depth from two convolutions; put your own in its place."""

    def __init__(self, num_classes: int = CLASSES) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, num_classes + 1, 1)

    def forward(self, image: Tensor) -> lwm.MultiTaskOutput:
        """Predict at the size of the image."""
        output = self.head(self.body(image))
        return lwm.MultiTaskOutput(output[:, :-1], output[:, -1])


class SmallData(Dataset[Sample]):
    """Colour that tells the class, some void, and depth in metres with holes."""

    def __init__(self, length: int = 8, size: tuple[int, int] = (32, 32)) -> None:
        chance = torch.Generator().manual_seed(0)
        coarse = torch.randint(CLASSES, (length, 4, 4), generator=chance)
        self.label = coarse.repeat_interleave(size[0] // 4, 1).repeat_interleave(size[1] // 4, 2)
        paint = torch.rand(CLASSES, 3, generator=chance)
        noise = 0.1 * torch.randn(length, 3, *size, generator=chance)
        self.image = paint[self.label].movedim(-1, 1) + noise
        self.metres = 1.0 + 2 * self.label + torch.rand(length, *size, generator=chance)
        self.label[:, :2] = VOID
        self.metres[:, :, :3] = 0  # the sensor saw nothing

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        depth = LF.rescale_depth(self.metres[index], near=0.5, far=10.0)
        return {"image": self.image[index], "label": self.label[index], "depth": depth}


def mining_loss(curriculum: lwm.SelfPacedCurriculum | None = None) -> lwm.HardPixelMiningLoss:
    """The whole objective without side outputs."""
    return lwm.HardPixelMiningLoss(num_sides=0, curriculum=curriculum, ignore_index=VOID)
