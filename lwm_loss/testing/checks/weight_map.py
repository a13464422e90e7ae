"""The map of loss weights M."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from lwm_loss import LossWeightModule

from .. import reference
from ..calls import Loss, LossInputs
from ..expect import CheckSkipped, breach, expect_same
from ..registry import loss_check
from ..scenes import Scene
from ..search import for_any
from ..subjects.loss import LossProbe
from ..subjects.weights import weight_bound, weight_owner, weights_use_depth, weights_use_scores
from .loss_values import CLOSE


@loss_check(
    "a measurement that is not detached: the depth error of the prediction itself, or a soft error "
    "rate taken from the softmax",
    example="LossWeightModule()",
)
def check_weight_map_is_detached(probe: LossProbe) -> None:
    """No gradient flows through the weights: neither into the scores nor into the predicted depth.

    The map requires no gradient. Of a loss that keeps its map to itself, the gradient of the
    predicted depth must not depend on the scores, as those of L_d do not.
    """
    if probe.kind == "curriculum":
        raise CheckSkipped("a curriculum is given its weights")
    has_map = probe.kind == "weighting" or hasattr(probe.criterion, "weighting")
    has_loss = probe.kind == "criterion" and probe.uses("logits", "pred_depth")
    if not (has_map or has_loss):
        raise CheckSkipped("it has no weight map")
    if has_map:
        probe.check(weights_require_no_gradient, probe.scene())
    if has_loss:
        for scene in probe.scenes():
            probe.check(depth_gradient_ignores_scores, scene)


def weights_require_no_gradient(weight: Loss, batch: LossInputs) -> None:
    """Ask the weights of predictions that require a gradient."""
    if weight(batch.differentiable()).requires_grad:
        breach("the map requires a gradient")


def depth_gradient_ignores_scores(loss: Loss, batch: LossInputs) -> None:
    """Compare the gradient of the predicted depth under other scores."""
    name, other = "the gradient of pred_depth", batch._replace(logits=batch.logits.roll(1, 1))
    found, expected = ({name: loss.results(each)[name]} for each in (other, batch))
    expect_same(found, expected, 10 * CLOSE, "with other scores {}")


@loss_check(
    "an error without abs(), a log-ratio, or a centred or standardised map",
    example="LossWeightModule()",
    requires=LossProbe.require_weights,
    run=LossProbe.for_all,
)
def check_weight_map_is_non_negative(weight: Loss, batch: LossInputs) -> None:
    """No weight is negative, and every one is finite."""
    weights = weight(batch).detach()
    if not bool((weights >= 0).all() and weights.isfinite().all()):
        worst = weights.min() if not weights.isnan().any() else torch.tensor(torch.nan)
        breach(f"a weight of {float(worst):.6g}")


@loss_check(
    "an R that is not divided by its maximum, a maximum that includes pixels without depth, or a "
    "rate that is divided by other pixels than it counts",
    example='LossWeightModule(fusion="max")',
    requires=LossProbe.require_weights,
)
def check_weight_map_is_bounded(probe: LossProbe) -> None:
    """Weights are at most 2 for the fusion ``"sum"`` and at most 1 for any other.

    Of weights that use depth and name no ``fusion`` none may exceed 2; ``max_weight`` sets another
    bound.
    """
    bound = weight_bound(probe)
    if bound is None:
        raise CheckSkipped("nothing says how large its weights may be: pass max_weight")
    probe.for_all(weights_are_bounded, bound=bound)


def weights_are_bounded(weight: Loss, batch: LossInputs, bound: float) -> None:
    """Look at the largest weight."""
    largest = float(weight(batch).detach().max())
    if largest > bound + 1e-5:
        breach(f"a weight of {largest:.6g} where at most {bound:g} is allowed")


@loss_check(
    "an error rate by pixel or smoothed in place of by region, cells from a rounded size "
    "(x // (W // w)), bins from the edge of another range, or counts in half precision",
    example="LossWeightModule()",
)
def check_error_rate_is_constant_on_regions(probe: LossProbe) -> None:
    """Where every pixel has the same depth error, weights are constant on each depth-aware region.

    Z is one rate for the labelled pixels with depth of a region (Eq. 3). Regions are those of
    ``cells``, ``bin_size`` and ``depth_range`` of the weighting, or else the defaults.
    """
    probe.require_weights()
    owner = weight_owner(probe)
    if not probe.uses("target_depth") or not weights_use_depth(probe):
        raise CheckSkipped("its weights do not use depth")
    if getattr(owner, "fusion", None) == "dpe":
        raise CheckSkipped("its weights are R alone")
    if not weights_use_scores(probe):
        raise CheckSkipped("its weights do not use the scores")
    options = _region_options(owner)
    low, high = options["depth_range"]
    bin_size = options["bin_size"]
    # Few surfaces far apart, and surfaces that fill two bins up to their edges.
    depths = (
        f"{low} + {high - low} * (4 * {{uniform}}).floor() / 4 + {0.05 * (high - low)}",
        f"{low} + {bin_size} * (0.02 + (40 * {{uniform}}).floor() / 20)",
    )
    ignored = list(probe.ignored)
    even = partial(probe.check, weights_are_even_on_regions, ignored=ignored, options=options)
    for seed, size in enumerate([(24, 24), (19, 26)]):
        for depth in depths:
            plain = probe.scene(seed=seed, size=size, depth=depth, missing=0.1).code
            known = f"{plain}\nknown = batch.target_depth.nan_to_num(1.0)\n"
            for_any(
                partial(even, Scene(f"{known}batch = batch._replace(pred_depth={same})"))
                for same in _SAME_ERROR[probe.declared_log_input]
            )


# A predicted depth whose error is the same everywhere, by what a weighting says of `log_input`.
# One that says nothing may take errors in logs, or as a difference.
_SAME_ERROR = {
    True: ("known.log() + 0.5",),
    False: ("1.5 * known",),
    None: ("known.log() + 0.5", "1.5 * known", "known + 0.5"),
}


def _region_options(owner: Any) -> dict[str, Any]:
    settings = getattr(owner, "regions", owner)
    defaults = {"cells": (8, 8), "bin_size": 10.0, "depth_range": (1.0, 256.0)}
    return {name: getattr(settings, name, default) for name, default in defaults.items()}


def weights_are_even_on_regions(
    weight: Loss, batch: LossInputs, ignored: list[int], options: dict[str, Any]
) -> None:
    """Compare the weights of the labelled pixels of each region of the oracle."""
    weights = weight(batch).detach().cpu()
    regions = reference.depth_aware_regions(batch.target_depth.cpu().numpy(), **options)
    members: dict[Any, list[float]] = {}
    for pixel, region in regions.items():
        if int(batch.target[pixel]) not in ignored:
            members.setdefault(region, []).append(float(weights[pixel]))
    for (image, cell, depth_bin), values in members.items():
        if max(values) - min(values) > 1e-5:
            breach(
                f"weights from {min(values):.6g} to {max(values):.6g} in image {image}, cell "
                f"{cell}, depth bin {depth_bin}"
            )


@loss_check(
    "a measurement computed in another way than it says: pixels without label or depth that are "
    "counted, bins or cells that are off by one, a maximum over the batch, or counts that overflow",
    example="LossWeightModule(cells=(2, 3))",
)
def check_weight_map_matches_reference(probe: LossProbe) -> None:
    """A LossWeightModule, or a subclass of it, gives the M of the float64 oracle."""
    probe.require_weights()
    owner = weight_owner(probe)
    if not isinstance(owner, LossWeightModule):
        raise CheckSkipped("its weights are not those of a LossWeightModule")
    if probe.task == "multilabel" or getattr(owner, "error", "misclassified") != "misclassified":
        raise CheckSkipped("what it averages are no misclassified pixels, which this oracle counts")
    told = {name: getattr(owner, name) for name in ("fusion", "ignore_index", "log_input")}
    # The loops of the oracle are slow: no image of the usual scenes.
    # Whole scores, of which many are equal: the first of the largest is the prediction.
    ties = probe.scene(size=(9, 10)).code + "\nbatch = batch.scored(torch.round)"
    corners = [probe.scene(size=(17, 20)), Scene(ties)]
    mining = _region_options(owner) | told
    probe.for_all(weights_are_the_oracles, ties=True, corners=corners, mining=mining)


def weights_are_the_oracles(weight: Loss, batch: LossInputs, mining: dict[str, Any]) -> None:
    """Compare the weights with those of the paper in plain loops."""
    logits, target, predicted, true = (
        tensor.cpu().double().numpy()
        for tensor in (batch.logits, batch.target, batch.pred_depth, batch.target_depth)
    )
    settings = reference.Mining(**mining)
    maps = reference.loss_weight(logits, target.astype(int), predicted, true, settings)
    found = weight(batch).detach().cpu()
    expect_same({"the weight": found}, {"the weight": torch.from_numpy(maps.weight)}, 1e-4)
