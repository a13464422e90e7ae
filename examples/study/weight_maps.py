"""Maps of weights, each a function of what a step knows; `Equal` gives them M's mass."""

from __future__ import annotations

import torch
from torch import Tensor

import lwm_loss as lwm
import lwm_loss.functional as LF
from examples.rgbd.data import SAMPLE_VOID as VOID
from examples.study.weightings import NUM_BINS, Facts


class ClassWeights:
    """1 / sqrt(share of the class in the training pixels), at the label of each pixel."""

    def __init__(self, class_share: Tensor) -> None:
        seen = class_share > 0
        self.weight = torch.where(seen, torch.where(seen, class_share, 1) ** -0.5, 0).float()

    def __call__(self, facts: Facts) -> Tensor:
        target = torch.where(facts.target == VOID, 0, facts.target)
        return self.weight.to(target.device)[target]

    def times_mined(self, facts: Facts) -> Tensor:
        """The class's weight times M."""
        return self(facts) * facts.mined

    def times_depth_edges(self, facts: Facts) -> Tensor:
        """The class's weight plus as much again at depth edges."""
        return self(facts) * (1 + facts.depth_edges.float())


def wrong(facts: Facts) -> Tensor:
    """Delta: 1 where the predicted label is wrong."""
    return (facts.logits.argmax(1) != facts.target).float()


def opposite(facts: Facts) -> Tensor:
    """2 - M: what M calls easy."""
    return 2 - facts.mined


def another_image(facts: Facts) -> Tensor:
    """M of the next image of the batch."""
    return facts.mined.roll(1, 0)


def at_depth_edges(facts: Facts) -> Tensor:
    """1 at a jump of the true depth."""
    return facts.depth_edges.float()


def away_from_depth_edges(facts: Facts) -> Tensor:
    """M, but 0 at a jump of the true depth, where labels are drawn least exactly."""
    return facts.mined * ~facts.depth_edges


def boundaries(facts: Facts) -> Tensor:
    """1 at a label boundary."""
    return facts.boundaries.float()


def boundaries_at_depth_edges(facts: Facts) -> Tensor:
    """1 at a label boundary that is a depth edge too."""
    return (facts.boundaries & facts.depth_edges).float()


def boundaries_in_flat_depth(facts: Facts) -> Tensor:
    """1 at a label boundary that depth cannot show (the case of Fig. 5)."""
    return (facts.boundaries & ~facts.depth_edges).float()


def surface(facts: Facts) -> Tensor:
    """The square of the depth: the area of the surface that a pixel covers, facing the camera."""
    return torch.where(facts.depth > 0, facts.depth, 0).square()


def closeness(facts: Facts) -> Tensor:
    """1 / depth, where depth is known."""
    known = facts.depth > 0
    return torch.where(known, 1 / torch.where(known, facts.depth, 1), 0)


class AboveClass:
    """How far Z lies above the error rate of the pixel's own class in the batch, at least 0."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.measure = lwm.DepthAwareSegmentationError(ignore_index=VOID)

    def __call__(self, facts: Facts) -> Tensor:
        rate: Tensor = self.measure(facts.logits, facts.target, facts.depth)
        labelled = facts.target != VOID
        target = torch.where(labelled, facts.target, self.num_classes).flatten()
        number = torch.bincount(target, minlength=self.num_classes + 1)
        missed = torch.bincount(target, wrong(facts).flatten(), self.num_classes + 1)
        own = (missed / number.clamp(min=1))[target].view_as(rate)
        return (rate - own).clamp(min=0)


class Rarity:
    """1 / sqrt of how common a pixel's (class, place) is in the batch.

    Args:
        num_classes: C.
        place: "region", the depth-aware region: each class of a region counts more evenly; or
            "bin", the depth bin of the whole batch: a class counts where it is seldom seen.
    """

    def __init__(self, num_classes: int, place: str) -> None:
        self.num_classes = num_classes
        self.cells = (8, 8) if place == "region" else (1, 1)
        self.by_image = place == "region"

    def __call__(self, facts: Facts) -> Tensor:
        region = LF.depth_aware_regions(facts.depth, cells=self.cells).flatten(1)
        counted = (region >= 0) & (facts.target != VOID).flatten(1)
        if not self.by_image:
            # Numbers run on from image to image: the same bin of all images is one place.
            region = torch.where(region >= 0, region % NUM_BINS, -1)
        pair = region * self.num_classes + facts.target.flatten(1)
        pair = torch.where(counted, pair, -1).flatten()
        _, slot, number = torch.unique(pair, return_inverse=True, return_counts=True)
        common = number[slot].to(torch.float32)
        if self.by_image:
            _, place, size = torch.unique(
                torch.where(counted, region, -1).flatten(), return_inverse=True, return_counts=True
            )
            common = common / size[place]
        return torch.where(counted.flatten(), common**-0.5, 0).view(facts.target.shape)
