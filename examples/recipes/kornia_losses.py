"""kornia's focal loss, weighted by mined pixels: `python -m examples.recipes.kornia_losses`.

The trap: with `reduction="none"` kornia returns one value for each class, nearly all of them 0. Their
sum is the loss of the pixel: `sum_classes=True`.
"""

from __future__ import annotations

import kornia.losses
import torch
from torch.utils.data import DataLoader

import lwm_loss as lwm
import lwm_loss.functional as LF
from examples.recipes.small import VOID, SmallData, SmallNetwork


def train(epochs: int = 2) -> list[float]:
    """Train, and return the loss of each step."""
    torch.manual_seed(0)
    network = SmallNetwork()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    own_loss = kornia.losses.FocalLoss(alpha=None, reduction="none", ignore_index=VOID)
    weighting = lwm.LossWeightModule(ignore_index=VOID)
    hard_pixels = lwm.HardPixelLoss(own_loss, weighting, sum_classes=True)
    losses = []
    for _ in range(epochs):
        for batch in DataLoader(SmallData(), 4):
            logits, log_depth, _sides = network(batch["image"])
            labelled = batch["label"] != VOID
            plain = own_loss(logits, batch["label"]).sum(1)[labelled].mean()
            hard = hard_pixels(logits, batch["label"], log_depth, batch["depth"])
            loss = plain + hard + LF.log_depth_mse_loss(log_depth, batch["depth"])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
    return losses


if __name__ == "__main__":
    print(train())
