"""Weight maps in M's place: the controls that the paper lacks, and candidates that may help.

Each is called like `lwm_loss.LossWeightModule` and returns weights (B, h, w), 0 where there is no
label, without gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF
from examples.rgbd.data import SAMPLE_VOID as VOID
from examples.study.targets import depth_edges, label_boundaries

NUM_BINS = 26
"""Depth bins of the default depth-aware regions."""


class Visit(NamedTuple):
    """Where a run is.

    Attributes:
        frames: (B,) numbers of the training frames of the batch.
        mirrored: (B,) bool.
        progress: share of the run's steps that are done, in [0, 1).
        label: (B, H, W) labels of the whole grid, of which the step learns from a part; None if it
            learns from all.
        depth: (B, H, W) likewise.
        part: (row, column) of the part in each block of 2x2 points of the grid.
    """

    frames: Tensor
    mirrored: Tensor
    progress: float
    label: Tensor | None = None
    depth: Tensor | None = None
    part: tuple[int, int] = (0, 0)


def part_of(values: Tensor, part: tuple[int, int]) -> Tensor:
    """Every second row and column (..., H / 2, W / 2) of a grid, from a point of its first block."""
    row, column = part
    return values[..., row::2, column::2]


class Setting(NamedTuple):
    """What a weighting may know before the run.

    Attributes:
        class_share: (C,) share of each class in the labelled training pixels.
        frames: number of training frames.
        grid: (h, w) of the labels.
        seed: of the run, for weightings that draw.
    """

    class_share: Tensor
    frames: int
    grid: tuple[int, int]
    seed: int


class Weighting(nn.Module):
    """Base class: knows where the run is, and ignores what the loss ignores."""

    ignore_index = VOID
    log_input = True

    def __init__(self) -> None:
        super().__init__()
        self.now = Visit(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.bool), 0.0)

    def visit(self, visit: Visit) -> None:
        """Called before each step, on this weighting and on those within it."""
        self.now = visit

    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor | None, target_depth: Tensor
    ) -> Tensor:
        raise NotImplementedError


def hard_pixels(fusion: str = "sum", **options: object) -> lwm.LossWeightModule:
    """The paper's M, or with ``fusion="dpe"`` or ``"dse"`` R or Z alone."""
    return lwm.LossWeightModule(fusion=fusion, ignore_index=VOID, **options)  # type: ignore[arg-type]


def matched(weight: Tensor, mass: Tensor) -> Tensor:
    """The weight scaled so that its sum over the batch is that of another."""
    total = weight.sum()
    scale = torch.where(total > 0, mass.sum() / torch.where(total > 0, total, 1), 0)
    return weight * scale


class Ones(Weighting):
    """A weight of 1: L_h becomes a second L_s."""

    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor | None, target_depth: Tensor
    ) -> Tensor:
        return (target != VOID).float()


class Uniform(Weighting):
    """The mean of M over the labelled pixels of the batch, or of each image.

    Over the batch all that is left of M is a larger L_s; over each image, M's choice of images.
    """

    def __init__(self, *, by_image: bool = False) -> None:
        super().__init__()
        self.mined = hard_pixels()
        self.by_image = by_image

    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor | None, target_depth: Tensor
    ) -> Tensor:
        weight: Tensor = self.mined(logits, target, pred_depth, target_depth)
        labelled = (target != VOID).to(weight.dtype)
        axes = (1, 2) if self.by_image else (0, 1, 2)
        mean = weight.sum(axes, keepdim=True) / labelled.sum(axes, keepdim=True).clamp(min=1)
        return mean * labelled


class Shuffled(Weighting):
    """M's values at random other labelled pixels of the image."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.mined = hard_pixels()
        # A stream of its own, so that the arms of a seed keep their order and dropout masks.
        self.generator = torch.Generator().manual_seed(seed)

    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor | None, target_depth: Tensor
    ) -> Tensor:
        weight = self.mined(logits, target, pred_depth, target_depth)
        flat, counted = weight.flatten(1), (target != VOID).flatten(1)
        # Both orders list the labelled pixels first: one as they lie, one at random.
        drawn = torch.rand(flat.shape, generator=self.generator).to(flat.device)
        places = torch.where(counted, 0.0, 2.0).argsort(dim=1, stable=True)
        sources = torch.where(counted, drawn, 2.0).argsort(dim=1)
        shuffled = torch.zeros_like(flat).scatter(1, places, flat.gather(1, sources))
        return shuffled.view_as(weight) * counted.view_as(target)


class Equal(Weighting):
    """A weight map of the batch, scaled to the mass of M.

    Args:
        weigh: the map (B, h, w) from what a step knows; pixels without label are set to 0.
        mined: whose mass it takes.
        scale: times that mass.
        until: the share of the run after which it is 0.
    """

    def __init__(
        self,
        weigh: Callable[[Facts], Tensor],
        *,
        mined: nn.Module | None = None,
        scale: float = 1.0,
        until: float = 1.0,
    ) -> None:
        super().__init__()
        self.weigh = weigh
        self.mined = hard_pixels() if mined is None else mined
        self.scale = scale
        self.until = until

    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor | None, target_depth: Tensor
    ) -> Tensor:
        mined = self.mined(logits, target, pred_depth, target_depth)
        facts = Facts(logits.detach(), target, target_depth, mined, self.now)
        weight = torch.where(target != VOID, self.weigh(facts).to(mined.dtype), 0)
        return matched(weight, mined) * (self.scale if self.now.progress < self.until else 0.0)


class Facts(NamedTuple):
    """What a map may be made of: scores, labels, true depth in levels, M, and the visit."""

    logits: Tensor
    target: Tensor
    depth: Tensor
    mined: Tensor
    now: Visit

    @property
    def depth_edges(self) -> Tensor:
        """Where the true depth jumps between neighbours of the whole grid."""
        if self.now.depth is None:
            return depth_edges(self.depth)
        return part_of(depth_edges(self.now.depth), self.now.part)

    @property
    def boundaries(self) -> Tensor:
        """Where the label changes between neighbours of the whole grid."""
        if self.now.label is None:
            return label_boundaries(self.target)
        return part_of(label_boundaries(self.now.label), self.now.part)


class Late(Weighting):
    """A weighting that is 0 in the first part of the run."""

    def __init__(self, inner: nn.Module, start: float = 0.5) -> None:
        super().__init__()
        self.inner = inner
        self.start = start

    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor | None, target_depth: Tensor
    ) -> Tensor:
        weight: Tensor = self.inner(logits, target, pred_depth, target_depth)
        return weight if self.now.progress >= self.start else torch.zeros_like(weight)


class AveragedZ(Weighting):
    """Z averaged over the visits to a frame: past + share * (Z - past), from the first Z on.

    The averages of a mirrored frame are mirrored: a grid of cells and its mirror image are one.
    The points of a block of the grid, of which a step sees one, share an average.
    """

    mean: Tensor
    seen: Tensor

    def __init__(self, frames: int, grid: tuple[int, int], share: float = 0.5) -> None:
        super().__init__()
        self.mined = hard_pixels("dse")
        self.share = share
        self.register_buffer("mean", torch.zeros(frames, *grid))
        self.register_buffer("seen", torch.zeros(frames, dtype=torch.bool))

    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor | None, target_depth: Tensor
    ) -> Tensor:
        frames, mirrored = self.now.frames, self.now.mirrored[:, None, None]
        weight = self.mined(logits, target, None, target_depth)
        weight = torch.where(mirrored, weight.flip(2), weight)
        past = torch.where(self.seen[frames, None, None], self.mean[frames], weight)
        mean = past + self.share * (weight - past)
        self.mean[frames] = mean
        self.seen[frames] = True
        return torch.where(mirrored, mean.flip(2), mean)


class EasyPixels(Weighting):
    """1 where M lies below the curriculum's threshold (Eq. 8's indicator), else 0.

    The paper does not say what its row "L_s + L_d + CL" filters, since it has no L_h. Here it is
    L_s itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mined = hard_pixels()

    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor | None, target_depth: Tensor
    ) -> Tensor:
        labelled = target != VOID
        weight: Tensor = self.mined(logits, target, pred_depth, target_depth)
        pace = LF.curriculum_threshold(weight, self.now.progress, mask=labelled)
        easy: Tensor = (weight < pace[:, None, None]) & labelled
        return easy.float()
