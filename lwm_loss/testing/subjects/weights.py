"""The map of weights of a loss under test: where it comes from, and what it depends on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..report import CheckSkipped
from .loss import Inputs, LossProbe
from .signature import candidate_roles

# The largest weight by fusion.
BOUNDS = {"sum": 2.0, "product": 1.0, "max": 1.0, "dpe": 1.0, "dse": 1.0}


def weight_map(probe: LossProbe, criterion: Any, inputs: Inputs) -> Tensor:
    """M: what a weighting returns, what a loss's ``weighting`` gives, or what it tells of."""
    if probe.kind == "weighting":
        return probe.call(criterion, inputs).value
    weighting = getattr(criterion, "weighting", None)
    if callable(weighting):
        roles = candidate_roles(weighting, "weighting")[0]
        weight: Tensor = probe.call_with(roles, weighting, inputs, {})
        return weight
    told = probe.call(criterion, inputs).weight
    if told is None:
        raise CheckSkipped("it has no weight map")
    return told


def has_weights(probe: LossProbe) -> bool:
    """Whether there is a map of weights to look at."""
    if probe.kind == "curriculum":
        return False
    try:
        weight_map(probe, probe.copy(), probe.inputs(probe.scene(ignored=0.0)))
    except CheckSkipped:
        return False
    return True


def weight_code(probe: LossProbe) -> str:
    """The code of `weight_map`."""
    if probe.kind == "weighting":
        return probe.call_code
    if callable(getattr(probe.criterion, "weighting", None)):
        return "criterion.weighting(logits, target, pred_depth, target_depth)"
    weight = probe.total_of.replace("total", "weight").replace("loss", "weight")
    return probe.call_code.removesuffix(probe.total_of) + weight


def weight_owner(probe: LossProbe) -> Any:
    """Who makes the weights: the loss itself, or its ``weighting``."""
    return getattr(probe.criterion, "weighting", None) or probe.criterion


def weight_bound(probe: LossProbe) -> float | None:
    """The largest weight that there may be, or None if nothing says so."""
    if probe.max_weight is not None:
        return probe.max_weight
    if getattr(weight_owner(probe), "normalize", True) is False:
        return None
    fusion = getattr(weight_owner(probe), "fusion", None)
    fusion = getattr(fusion, "mode", fusion)
    if fusion in BOUNDS:
        return BOUNDS[fusion]
    is_named = isinstance(weight_owner(probe), nn.Module)
    return max(BOUNDS.values()) if is_named and weights_use_depth(probe) else None


def weights_use_depth(probe: LossProbe) -> bool:
    """Whether the weights change with the true depth, or with where it is known."""
    # Larger than the usual cells: in a region of one pixel no depth would matter.
    plain = probe.scene(seed=1, size=(24, 24))
    inputs = probe.inputs(plain)
    others = (201 - inputs.target_depth, torch.full_like(inputs.target_depth, torch.nan))
    weight = weight_map(probe, probe.copy(), inputs)
    return any(
        not torch.equal(
            weight, weight_map(probe, probe.copy(), inputs._replace(target_depth=other))
        )
        for other in others
    )


def weights_use_scores(probe: LossProbe) -> bool:
    """Whether the weights change with the scores."""
    inputs = probe.inputs(probe.scene(seed=1, size=(24, 24)))
    other = inputs._replace(logits=inputs.logits.detach().roll(1, 1).requires_grad_())
    weights = [weight_map(probe, probe.copy(), each) for each in (inputs, other)]
    return not torch.equal(*weights)
