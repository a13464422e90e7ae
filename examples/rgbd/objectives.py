"""The rows of the paper's Tables II to IV, and the controls it lacks, each as an objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF
from examples.rgbd.data import VOID
from examples.rgbd.options.groups import Control, Objective, ObjectiveOptions, OptionError


@dataclass(frozen=True)
class Arm:
    """Which terms one objective has.

    Attributes:
        depth: L_d, and with it the depth branch.
        mined: what L_h is weighted by: "dpe" (R), "dse" (Z), "both", or None for no L_h.
        sides: the terms of the side outputs.
        curriculum: the self-paced curriculum.
    """

    depth: bool = True
    mined: Literal["dpe", "dse", "both"] | None = None
    sides: bool = False
    curriculum: bool = False


ARMS: dict[Objective, Arm] = {
    "s": Arm(depth=False),
    "sd": Arm(),
    "sd+ms": Arm(sides=True),
    "sd+cl": Arm(curriculum=True),
    "sd+r": Arm(mined="dpe"),
    "sd+z": Arm(mined="dse"),
    "sd+rz": Arm(mined="both"),
    "hpm": Arm(mined="both", sides=True),
    "full": Arm(mined="both", sides=True, curriculum=True),
}
NUM_SIDES = 4


def has_hard_term(options: ObjectiveOptions) -> bool:
    """Whether L_h, or a rival in its place, is part of an objective."""
    mined = ARMS[options.objective].mined is not None
    return mined or (options.mining != "none" and options.mining_place == "add")


def measured(options: ObjectiveOptions) -> Literal["dpe", "dse", "both"] | None:
    """Which of R and Z an objective measures, for its weights or its curriculum."""
    arm = ARMS[options.objective]
    if options.control in ("double-s", "delta"):
        return None
    return "both" if arm.curriculum else arm.mined


class Curriculum(lwm.SelfPacedCurriculum):
    """The curriculum, remembering for the log how many of the labelled pixels it kept."""

    def __init__(self, epochs: int) -> None:
        super().__init__(epochs)
        self._kept: list[Tensor] = []

    def forward(self, weight_map: Tensor, mask: Tensor | None = None) -> Tensor:
        kept = super().forward(weight_map, mask)
        # A pixel of weight 0 loses nothing by being left out.
        self.record(
            kept == weight_map, torch.ones_like(kept, dtype=torch.bool) if mask is None else mask
        )
        return kept

    def record(self, kept: Tensor, mask: Tensor) -> None:
        """Remember which pixels of a mask were kept."""
        self._kept.append((kept & mask).sum())

    def copy(self) -> lwm.SelfPacedCurriculum:
        """A curriculum at the same epoch that does not count."""
        plain = lwm.SelfPacedCurriculum(int(self.epochs))
        plain.load_state_dict(self.state_dict())
        return plain

    def pop_kept(self) -> Tensor:
        """How many pixels of the first map since the last call were kept: the main output's."""
        kept = self._kept[0]
        self._kept.clear()
        return kept


class Uniform(nn.Module):
    """A weight of 1 on every pixel: the plain loss."""

    ignore_index = VOID

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor | None = None,
        target_depth: Tensor | None = None,
    ) -> Tensor:
        return torch.ones(target.shape, device=target.device)


class EasyPixels(nn.Module):
    """1 on the pixels whose M lies below the curriculum's threshold (Eq. 8's indicator), else 0.

    The paper does not say what its row "L_s + L_d + CL" applies the curriculum to, since there is
    no L_h in it. Here L_s itself is taken over the pixels that the curriculum on M keeps.
    """

    ignore_index = VOID

    def __init__(self, weighting: lwm.LossWeightModule, curriculum: Curriculum) -> None:
        super().__init__()
        self.weighting = weighting
        self.curriculum = curriculum

    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor, target_depth: Tensor
    ) -> Tensor:
        labelled = target != VOID
        weight = self.weighting(logits, target, pred_depth, target_depth)
        epoch, epochs = self.curriculum.epoch, self.curriculum.epochs
        threshold = LF.curriculum_threshold(weight, epoch / epochs, mask=labelled)
        kept = (weight < threshold.view(-1, 1, 1)) | (epoch >= epochs)
        self.curriculum.record(kept, labelled)
        easy: Tensor = (kept & labelled).to(weight.dtype)
        return easy


class Controlled(nn.Module):
    """M replaced by something that should do worse, if M finds what it is meant to find.

    Args:
        weighting: gives M.
        control: "uniform", the mean of M over the labelled pixels of the image; "shuffled", the
            values of M at random other labelled pixels of the image; "double-s", 1, which makes
            L_h a second L_s; "delta", 1 where the prediction is wrong.
    """

    ignore_index = VOID

    def __init__(self, weighting: lwm.LossWeightModule, control: Control) -> None:
        super().__init__()
        self.weighting = weighting
        self.control = control

    def forward(
        self, logits: Tensor, target: Tensor, pred_depth: Tensor, target_depth: Tensor
    ) -> Tensor:
        labelled = target != VOID
        if self.control == "double-s":
            return labelled.float()
        if self.control == "delta":
            return ((logits.argmax(1) != target) & labelled).float()
        weight = self.weighting(logits, target, pred_depth, target_depth)
        if self.control == "uniform":
            count = labelled.sum((1, 2), keepdim=True).clamp(min=1)
            return torch.where(labelled, weight.sum((1, 2), keepdim=True) / count, 0)
        return _shuffle(weight, labelled)

    def extra_repr(self) -> str:
        return f"control={self.control!r}"


def _shuffle(weight: Tensor, labelled: Tensor) -> Tensor:
    """Permute the values of each image among its labelled pixels."""
    flat, counted = weight.flatten(1), labelled.flatten(1)
    # Both orders list the labelled pixels first: one as they lie, one at random.
    places = torch.where(counted, 0.0, 2.0).argsort(dim=1, stable=True)
    drawn = torch.where(counted, torch.rand_like(flat), 2.0).argsort(dim=1)
    return torch.zeros_like(flat).scatter(1, places, flat.gather(1, drawn)).view_as(weight)


class MinedCrossEntropy(nn.Module):
    """L_s weighted pixel by pixel and, if depth is learnt, L_d; no L_h.

    Args:
        weighting: weights of the cross-entropy; `Uniform` gives L_s itself.
        criterion: the cross-entropy of each pixel.
        depth: whether there is an L_d.
    """

    def __init__(self, weighting: nn.Module, criterion: nn.Module, *, depth: bool) -> None:
        super().__init__()
        self.segmentation = lwm.HardPixelLoss(criterion, weighting)
        self.depth = lwm.LogDepthMSELoss(reduction="sum") if depth else None

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        pred_depth: Tensor | None,
        target_depth: Tensor,
        side_logits: Sequence[Tensor] = (),
        *,
        normalizer: Tensor,
        depth_normalizer: Tensor,
    ) -> lwm.LossTerms:
        """As `lwm_loss.HardPixelMiningLoss`; the terms that there are not are 0."""
        given = (None, None) if pred_depth is None else (pred_depth, target_depth)
        segmentation = self.segmentation(logits, target, *given, normalizer=normalizer)
        zero = segmentation.new_zeros(())
        depth = zero
        if self.depth is not None:
            predicted = cast(Tensor, pred_depth)  # L_d refuses None
            depth = self.depth(predicted, target_depth) / depth_normalizer.clamp(min=1)
        return lwm.LossTerms(
            total=segmentation + depth,
            segmentation=segmentation.detach(),
            depth=depth.detach(),
            hard=zero,
            sides=zero.new_zeros(0),
            weight=zero,
        )


def weight_module(options: ObjectiveOptions) -> lwm.LossWeightModule:
    """The Loss Weight Module that the options describe."""
    mined = ARMS[options.objective].mined
    return lwm.LossWeightModule(
        cells=options.grid,
        bin_size=options.bin_size,
        fusion=mined if mined == "dpe" or mined == "dse" else options.fusion,
        ignore_index=VOID,
        error=options.error,
    )


def _rival(options: ObjectiveOptions) -> nn.Module:
    if options.mining == "ohem":
        return lwm.OHEMWeighting(options.ohem_threshold, options.ohem_min_kept, VOID)
    if options.mining == "focal":
        return lwm.FocalWeighting(options.focal_gamma, VOID)
    if options.mining == "depth-edges":
        return lwm.DepthEdgeWeighting(
            options.edge_threshold,
            options.edge_radius,
            ignore_index=VOID,
            boundaries_only=options.edge_boundaries_only,
        )
    if options.mining == "label-boundaries":
        return lwm.LabelBoundaryWeighting(options.edge_radius, ignore_index=VOID)
    return lwm.LossMaxPoolingWeighting(options.lmp_ratio, options.lmp_p, VOID)


def build_objective(
    options: ObjectiveOptions, epochs: int, class_weight: Tensor | None = None
) -> tuple[nn.Module, Curriculum | None]:
    """The objective, and its curriculum if it has one: call `step` on it after each epoch.

    All objectives are called like `lwm_loss.HardPixelMiningLoss`, with both normalisers.

    Args:
        options: which objective, and its numbers.
        epochs: of the whole run, the curriculum's length unless the options say another.
        class_weight: (C,), what `options.class_weights` came to; None weighs all classes alike.

    Raises:
        OptionError: for a number out of range.
    """
    try:
        return _build(options, epochs, class_weight)
    except ValueError as error:
        raise OptionError(str(error)) from error


def _build(
    options: ObjectiveOptions, epochs: int, class_weight: Tensor | None
) -> tuple[nn.Module, Curriculum | None]:
    criterion = nn.CrossEntropyLoss(class_weight, ignore_index=VOID, reduction="none")
    arm = ARMS[options.objective]
    curriculum = Curriculum(options.curriculum_epochs or epochs) if arm.curriculum else None
    weighting: nn.Module = weight_module(options)
    alpha = options.alpha
    if arm.mined is None:
        if curriculum is not None:
            weighting = EasyPixels(weight_module(options), curriculum)
            return MinedCrossEntropy(weighting, criterion, depth=arm.depth), curriculum
        replaces = options.mining == "none" or options.mining_place == "replace"
        weighting = Uniform() if options.mining == "none" else _rival(options)
        if replaces and not arm.sides:
            return MinedCrossEntropy(weighting, criterion, depth=arm.depth), None
        if arm.sides:
            alpha = 0.0  # a uniform weight turns L_hk into plain cross-entropy, and L_h into L_s
    elif options.control != "none":
        weighting = Controlled(weight_module(options), options.control)
    objective = lwm.HardPixelMiningLoss(
        num_sides=NUM_SIDES if arm.sides else 0,
        alpha=alpha,
        beta=options.beta,
        weighting=weighting,
        curriculum=curriculum,
        criterion=criterion,
        ignore_index=VOID,
    )
    return objective, curriculum
