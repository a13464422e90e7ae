"""What the weights of a loss under test depend on, and how large they may be."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .loss import LossProbe

# The largest weight by fusion.
BOUNDS = {"sum": 2.0, "product": 1.0, "max": 1.0, "dpe": 1.0, "dse": 1.0}


def weight_owner(probe: LossProbe) -> Any:
    """Return what makes the weights: the loss itself, or its ``weighting``."""
    return getattr(probe.criterion, "weighting", None) or probe.criterion


def weight_bound(probe: LossProbe) -> float | None:
    """Return the largest weight that there may be, or None if nothing says so."""
    if probe.max_weight is not None:
        return probe.max_weight
    owner = weight_owner(probe)
    if getattr(owner, "normalize", True) is False:
        return None
    fusion = getattr(owner, "fusion", None)
    fusion = getattr(fusion, "mode", fusion)
    if fusion in BOUNDS:
        return BOUNDS[fusion]
    is_named = isinstance(owner, nn.Module)
    return max(BOUNDS.values()) if is_named and weights_use_depth(probe) else None


def weights_use_depth(probe: LossProbe) -> bool:
    """Whether the weights change with the true depth, or with where it is known."""
    # Larger than the usual cells: in a region of one pixel no depth would matter.
    depth: Tensor = probe.scene(seed=1, size=(24, 24))["batch"].target_depth
    others = (201 - depth, torch.full_like(depth, torch.nan))
    return any(_weights_change(probe, target_depth=other) for other in others)


def weights_use_scores(probe: LossProbe) -> bool:
    """Whether the weights change with the scores."""
    logits = probe.scene(seed=1, size=(24, 24))["batch"].logits
    return _weights_change(probe, logits=logits.roll(1, 1))


def _weights_change(probe: LossProbe, **other: Tensor) -> bool:
    batch = probe.scene(seed=1, size=(24, 24))["batch"]
    return not torch.equal(probe.weight(batch), probe.weight(batch._replace(**other)))
