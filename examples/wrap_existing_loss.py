"""Depth-mined hard pixels on top of the loss that you have, and one training step with it.

Run it by `python -m examples.wrap_existing_loss`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF

own_loss = nn.CrossEntropyLoss(ignore_index=255)
hard_pixel_loss = lwm.HardPixelLoss(
    nn.CrossEntropyLoss(ignore_index=255, reduction="none"),
    lwm.LossWeightModule(ignore_index=255),
)


def total_loss(logits: Tensor, target: Tensor, log_depth: Tensor, metres: Tensor) -> Tensor:
    """The loss that you have, plus L_d, plus L_h: Eq. 5 without side outputs, alpha = 1.

    Args:
        logits: scores (B, C, H, W).
        target: labels (B, H, W), 255 where there is none.
        log_depth: predicted log-depth (B, H, W), of depth in levels [1, 256].
        metres: true depth (B, H, W), 0 where it is missing.
    """
    depth = LF.rescale_depth(metres, near=0.5, far=10.0)
    total: Tensor = (
        own_loss(logits, target)
        + LF.log_depth_mse_loss(log_depth, depth)
        + hard_pixel_loss(logits, target, log_depth, depth)
    )
    return total


def main() -> None:
    """One step of SGD on a random batch, which stands for an image, its labels and its depth."""
    classes = 5
    network = nn.Conv2d(3, classes + 1, kernel_size=3, padding=1)  # one more channel, for depth
    optimiser = torch.optim.SGD(network.parameters(), lr=0.01)
    image = torch.randn(2, 3, 48, 64)
    target = torch.randint(classes, (2, 48, 64))
    metres = torch.rand(2, 48, 64) * 10

    output = network(image)
    loss = total_loss(output[:, :classes], target, output[:, classes], metres)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    print(f"loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
