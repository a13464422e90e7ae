"""mmsegmentation: a module for `loss_decode`, mining by Z alone.

This has not been run inside mmsegmentation, whose newest release needs an older torch; the class is
tested by calling it as its decode heads do: `loss(seg_logit, seg_label, weight=..., ignore_index=...)`.

The trap: a decode head hands its losses scores and labels, never depth. So depth travels as a
second channel of the label map and is taken apart here; samples are packed by `pack_depth`.
`custom_imports = dict(imports=["examples.recipes.mmseg_loss"])` registers it, and in a config:
`loss_decode=dict(type="HardPixelDecodeLoss", loss_weight=1.0)`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import lwm_loss as lwm

LEVELS = 256  # depth in whole levels of [1, 256] fits beside the label in one integer


def pack_depth(label: Tensor, depth: Tensor) -> Tensor:
    """Put depth in levels (0 where it is missing) and the label (0 to 255) into one integer map."""
    return depth.round().long().clamp(0, LEVELS) * 256 + label.long()


class HardPixelDecodeLoss(nn.Module):
    """Cross-entropy plus the hard pixels of Z, for `loss_decode`."""

    def __init__(
        self, alpha: float = 1.0, loss_weight: float = 1.0, loss_name: str = "loss_hard_pixel"
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.loss_weight = loss_weight
        self.loss_name = loss_name  # mmsegmentation sums up what is called loss_...

    def forward(
        self,
        seg_logit: Tensor,
        seg_label: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = 255,
    ) -> Tensor:
        """Compute the loss of packed labels (B, H, W)."""
        if weight is not None:
            raise TypeError(
                "Expected `weight` to be None, but got a sampler's weights: M is the sampler."
            )
        label, depth = seg_label % 256, (seg_label // 256).float()
        criterion = lwm.HardPixelLoss(
            nn.CrossEntropyLoss(ignore_index=ignore_index, reduction="none"),
            lwm.LossWeightModule(fusion="dse", ignore_index=ignore_index),
        )
        hard = criterion(seg_logit, label, target_depth=depth)
        labelled = (label != ignore_index).sum().clamp(min=1)
        plain = nn.functional.cross_entropy(
            seg_logit, label, ignore_index=ignore_index, reduction="sum"
        )
        return self.loss_weight * (plain / labelled + self.alpha * hard)

    @property
    def loss_prefix(self) -> str:
        """The name in mmsegmentation's log."""
        return self.loss_name


try:
    from mmseg.registry import MODELS
except ImportError:
    pass
else:
    MODELS.register_module()(HardPixelDecodeLoss)


def main() -> None:
    """Call the loss as a decode head does."""
    label = torch.randint(4, (2, 16, 16))
    depth = torch.rand(2, 16, 16) * 255 + 1
    packed = pack_depth(label, depth)
    print(float(HardPixelDecodeLoss()(torch.randn(2, 4, 16, 16), packed)))


if __name__ == "__main__":
    main()
