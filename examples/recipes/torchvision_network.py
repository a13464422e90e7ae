"""torchvision's segmentation models: `python -m examples.recipes.torchvision_network`.

Ask for one more class, which is log-depth. The auxiliary head, if there is one, makes a side output:
its first C channels. The trap: the network returns a dict with "out" and "aux".
"""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader
from torchvision.models.segmentation import deeplabv3_resnet50

import lwm_loss as lwm
from examples.recipes.small import CLASSES, VOID, SmallData


def train(steps: int = 2) -> list[float]:
    """Train DeepLabv3 without pre-training, and return the loss of each step."""
    network = deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=CLASSES + 1, aux_loss=True
    )
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    objective = lwm.HardPixelMiningLoss(num_sides=1, ignore_index=VOID)
    losses = []
    for _, batch in zip(range(steps), DataLoader(SmallData(), 4)):
        output = network(batch["image"])
        scores, side = output["out"], output["aux"][:, :-1]
        terms = objective(
            scores[:, :-1], batch["label"], scores[:, -1], batch["depth"], side_logits=[side]
        )
        optimiser.zero_grad()
        terms.total.backward()
        optimiser.step()
        losses.append(float(terms.total.detach()))
    return losses


if __name__ == "__main__":
    print(train())
