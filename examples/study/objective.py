"""The loss of an arm, as a module."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lwm_loss as lwm
from examples.rgbd.data import SAMPLE_VOID as VOID
from examples.study import weightings as W
from examples.study.arm import Arm
from examples.study.decoders import NUM_LEVELS
from examples.study.weightings import Setting, Visit


class Objective(nn.Module):
    """The loss of an arm.

    Args:
        arm: which one.
        setting: what its weighting may know.
        epochs: of the run, for the curriculum.
    """

    def __init__(self, arm: Arm, setting: Setting, epochs: int) -> None:
        super().__init__()
        self.arm = arm
        build = arm.weighting
        self.weighting = W.Ones() if build is None else build(setting)
        self.curriculum = lwm.SelfPacedCurriculum(epochs) if arm.curriculum else None
        cross_entropy = nn.CrossEntropyLoss(ignore_index=VOID, reduction="none")
        self.alone: nn.Module | None = None
        if arm.replaces or not arm.depth:
            self.alone = lwm.HardPixelLoss(cross_entropy, self.weighting)
            self.depth_loss = lwm.LogDepthMSELoss()
        else:
            self.mining = lwm.HardPixelMiningLoss(
                num_sides=NUM_LEVELS if arm.beta else 0,
                alpha=0.0 if build is None else arm.alpha,
                beta=arm.beta,
                weighting=self.weighting,
                curriculum=self.curriculum,
                criterion=cross_entropy,
                ignore_index=VOID,
                resize="target",  # labels at the side's own size: the cheaper of the two readings
            )

    def visit(self, visit: Visit) -> None:
        """Tell the weighting, and what it is made of, where the run is."""
        for module in self.weighting.modules():
            if isinstance(module, W.Weighting):
                module.visit(visit)

    def forward(
        self, output: lwm.MultiTaskOutput, target: Tensor, depth: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss of a batch, a scalar with its graph, and its L_s (Eq. 1), whatever the arm.

        Args:
            output: of the network.
            target: (B, h, w) int64, 255 = void.
            depth: (B, h, w) levels, 0 = missing.
        """
        if self.alone is None:
            sides = output.side_logits if self.arm.beta else ()
            predicted = cast(Tensor, output.log_depth)  # the objective refuses None
            terms = self.mining(output.logits, target, predicted, depth, sides)
            return terms.total, terms.segmentation
        log_depth = output.log_depth
        given = (torch.zeros_like(depth) if log_depth is None else log_depth, depth)
        loss: Tensor = self.alone(output.logits, target, *given)
        plain = loss.detach()
        if self.arm.weighting is not None:
            plain = F.cross_entropy(output.logits.detach(), target, ignore_index=VOID)
        if log_depth is not None:
            loss = loss + self.depth_loss(log_depth, depth)
        return loss, plain
