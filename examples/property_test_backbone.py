"""Check a network of your own against the contract: ``python -m examples.property_test_backbone``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lwm_loss import MultiTaskOutput
from lwm_loss.testing import check_backbone


class SmallNetwork(nn.Module):
    """Three convolutions, a head for labels and one for log-depth: replace it by your own."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(16, num_classes + 1, 1)

    def forward(self, image: Tensor) -> MultiTaskOutput:
        """Scores and log-depth at the size of the image."""
        scores = self.head(self.body(image))
        full = F.interpolate(scores, image.shape[-2:], mode="bilinear", align_corners=False)
        return MultiTaskOutput(logits=full[:, 1:], log_depth=full[:, 0])


class LeakyNetwork(SmallNetwork):
    """The same with a common fault: it normalises an image by the batch that it came in."""

    def forward(self, image: Tensor) -> MultiTaskOutput:
        """As above."""
        return super().forward(image - image.mean())


def main(argv: Sequence[str] | None = None) -> None:
    """Report on each network, and say in full what the first failure is."""
    argparse.ArgumentParser(description=main.__doc__).parse_args(argv)  # there are no options
    torch.manual_seed(0)
    for network in (SmallNetwork(num_classes=5), LeakyNetwork(num_classes=5)):
        report = check_backbone(network, num_classes=5, image_size=(40, 56), on_fail="return")
        print(f"{type(network).__name__}\n{report}\n")
        for result in report.failed[:1]:
            print(result.exception)


if __name__ == "__main__":
    main()
