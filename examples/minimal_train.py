"""Train with hard pixel mining in one readable loop: `python -m examples.minimal_train`.

A small network learns to segment generated rooms; depth finds its hard pixels and is not needed at
test time. No configuration, no resume, no devices: copy it and change one thing. The pipelines that
have all of that are `examples.nyudv2.train` and `examples.sunrgbd.train`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

import lwm_loss as lwm
import lwm_loss.functional as LF
from examples.rgbd.data import VOID, GeneratedRooms, to_tensors

NEAR, FAR = GeneratedRooms.depth_limits  # metres


class Network(nn.Module):
    """A shared encoder with two outputs: one score for each class, and log-depth."""

    def __init__(self, num_classes: int, width: int = 32) -> None:
        super().__init__()
        self.fine = self.block(3, width)
        self.middle = self.block(width, 2 * width)
        self.coarse = nn.Sequential(
            self.block(2 * width, 4 * width),
            nn.Conv2d(4 * width, 4 * width, 3, padding=4, dilation=4),
            nn.ReLU(),
        )
        self.side = nn.Conv2d(4 * width, num_classes, 1)  # a side output, for training
        self.head = nn.Conv2d(7 * width, num_classes + 1, 3, padding=1)

    @staticmethod
    def block(channels: int, width: int) -> nn.Sequential:
        """Halve the resolution."""
        return nn.Sequential(
            nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )

    def forward(self, image: Tensor) -> lwm.MultiTaskOutput:
        """Predict at the size of the image; the side output stays at an eighth of it."""
        fine = self.fine(image)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        maps = [F.interpolate(x, fine.shape[2:], mode="bilinear") for x in (middle, coarse)]
        output = F.interpolate(
            self.head(torch.cat([fine, *maps], 1)), image.shape[2:], mode="bilinear"
        )
        # Depth lies in levels [1, 256]. Its log begins in the middle, where learning is easy.
        return lwm.MultiTaskOutput(output[:, :-1], output[:, -1] + 4, (self.side(coarse),))


def mean_iou(network: nn.Module, batches: DataLoader[tuple[Tensor, Tensor, Tensor]]) -> float:
    """Mean IoU over the classes that occur, from colour alone: no depth is read here."""
    network.eval()
    classes = len(GeneratedRooms.classes)
    counts = torch.zeros(classes, classes)
    with torch.no_grad():
        for image, label, _ in batches:
            pairs = (label * classes + network(image).logits.argmax(1))[label != VOID]
            counts += pairs.bincount(minlength=classes**2).view(classes, classes)
    right = counts.diag()
    return float((right / (counts.sum(0) + counts.sum(1) - right)).nanmean())


def main(argv: Sequence[str] | None = None) -> float:
    """Train, and return the mean IoU on rooms that the network has not seen."""
    parser = argparse.ArgumentParser(description="Train with hard pixel mining.")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rooms", type=int, default=160, help="rooms to train on")
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args(argv)
    torch.manual_seed(0)

    def load(split: str, length: int) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
        rooms = GeneratedRooms(split, length)  # type: ignore[arg-type]
        frames = [tuple(to_tensors(rooms[index])[:3]) for index in range(length)]
        return DataLoader(frames, options.batch_size, shuffle=split == "train")  # type: ignore[arg-type]

    train, test = load("train", options.rooms), load("test", max(options.rooms // 4, 1))
    network = Network(len(GeneratedRooms.classes))
    curriculum = lwm.SelfPacedCurriculum(options.epochs)
    objective = lwm.HardPixelMiningLoss(num_sides=1, curriculum=curriculum, ignore_index=VOID)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)

    for epoch in range(options.epochs):
        network.train()
        for image, label, metres in train:
            depth = LF.rescale_depth(metres, NEAR, FAR)  # levels; 0 where it is missing
            logits, log_depth, sides = network(image)
            terms = objective(logits, label, log_depth, depth, sides)
            optimiser.zero_grad()
            terms.total.backward()
            optimiser.step()
        curriculum.step()  # once an epoch: harder pixels are let in
        kept = float((terms.weight > 0).sum() / (label != VOID).sum())
        print(
            f"epoch {epoch + 1:2}: L_s {terms.segmentation:.3f}  L_d {terms.depth:.3f}  "
            f"L_h {terms.hard:.3f}  weighted pixels {100 * kept:.0f} %"
        )
    score = mean_iou(network, test)
    print(f"mean IoU on {len(test.dataset)} unseen rooms: {100 * score:.1f} %")  # type: ignore[arg-type]
    return score


if __name__ == "__main__":
    main()
