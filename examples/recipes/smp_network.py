"""segmentation_models_pytorch: `python -m examples.recipes.smp_network`.

One more class is log-depth. The traps: `smp.losses.FocalLoss` takes `reduction="none"` and reduces all
the same, and `SoftCrossEntropyLoss` needs a `smooth_factor`; the page on wrapping has the details.
Needs torchvision, which must match your torch.
"""

from __future__ import annotations

import segmentation_models_pytorch as smp
import torch
from torch.utils.data import DataLoader

from examples.recipes.small import CLASSES, SmallData, mining_loss


def train(steps: int = 2) -> list[float]:
    """Train a U-Net without pre-training, and return the loss of each step."""
    network = smp.Unet("resnet18", encoder_weights=None, classes=CLASSES + 1)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    objective = mining_loss()
    losses = []
    for _, batch in zip(range(steps), DataLoader(SmallData(), 4)):
        output = network(batch["image"])
        terms = objective(output[:, :-1], batch["label"], output[:, -1], batch["depth"])
        optimiser.zero_grad()
        terms.total.backward()
        optimiser.step()
        losses.append(float(terms.total.detach()))
    return losses


if __name__ == "__main__":
    print(train())
