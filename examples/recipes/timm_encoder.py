"""timm encoders under the paper's decoders: `python -m examples.recipes.timm_encoder`.

`features_only=True` gives the maps; the last four have 1/4 to 1/32 of the image's size in most networks.
That is all that a decoder of `examples.rgbd.networks` asks of an encoder.
"""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import lwm_loss as lwm
from examples.recipes.small import CLASSES, VOID, SmallData
from examples.rgbd.networks import build_network


class TimmEncoder(nn.Module):
    """The last four maps of a timm network, finest first."""

    def __init__(self, name: str, *, pretrained: bool = False) -> None:
        super().__init__()
        self.network = timm.create_model(
            name, pretrained=pretrained, features_only=True, out_indices=(-4, -3, -2, -1)
        )
        first, second, third, fourth = self.network.feature_info.channels()
        self.channels = (first, second, third, fourth)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the maps of `image`."""
        first, second, third, fourth = self.network(image)
        return first, second, third, fourth


def train(steps: int = 2, name: str = "resnet18") -> list[float]:
    """Train a light-weight RefineNet on the encoder, and return the loss of each step."""
    network = build_network("light_refinenet", TimmEncoder(name), num_classes=CLASSES, num_sides=4)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    objective = lwm.HardPixelMiningLoss(num_sides=4, ignore_index=VOID)
    losses = []
    for _, batch in zip(range(steps), DataLoader(SmallData(8, (64, 64)), 4)):
        logits, log_depth, sides = network(batch["image"])
        terms = objective(logits, batch["label"], log_depth, batch["depth"], sides)
        optimiser.zero_grad()
        terms.total.backward()
        optimiser.step()
        losses.append(float(terms.total.detach()))
    return losses


if __name__ == "__main__":
    print(train())
