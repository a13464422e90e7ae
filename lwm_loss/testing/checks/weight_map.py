"""Checks of the map of loss weights M."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from lwm_loss import LossWeightModule

from .. import reference
from .._compare import tensor_difference
from ..registry import loss_check
from ..report import CheckSkipped
from ..scenes import Scene, loss_batches
from ..search import breach, for_all, for_any, scenario
from ..subjects.loss import LossProbe
from ..subjects.weights import (
    weight_bound,
    weight_code,
    weight_map,
    weight_owner,
    weights_use_depth,
    weights_use_scores,
)
from .loss_values import CLOSE, scenes, value_and_gradients


def _require_weights(probe: LossProbe) -> None:
    """Skips a check of weights if there are none."""
    probe.ready()
    if probe.kind == "curriculum":
        raise CheckSkipped("a curriculum is given its weights")
    weight_map(probe, probe.copy(), probe.inputs(probe.scene(ignored=0.0)))


def _weights(probe: LossProbe, scene: Scene) -> Tensor:
    return weight_map(probe, probe.copy(), probe.inputs(scene)).detach()


@loss_check(
    "a measurement that is not detached: the depth error of the prediction itself, or a soft error "
    "rate taken from the softmax"
)
def check_weight_map_is_detached(probe: LossProbe) -> None:
    """No gradient flows through the weights: neither into the scores nor into the predicted depth.

    The map requires no gradient. Of a loss that keeps its map to itself, the gradient of the
    predicted depth must not depend on the scores, as those of L_d do not.

    Example:
        >>> from lwm_loss import LossWeightModule
        >>> check_weight_map_is_detached(LossWeightModule())
    """
    probe.ready()
    if probe.kind == "curriculum":
        raise CheckSkipped("a curriculum is given its weights")
    scene = probe.scene()
    applies = False
    if probe.kind == "weighting" or hasattr(probe.criterion, "weighting"):
        applies = True
        after = "logits.requires_grad_()\npred_depth.requires_grad_()\nweight = {weight}\n"
        after = after.format(weight=weight_code(probe)) + "assert not weight.requires_grad"
        with scenario(probe.code(scene, after)):
            if weight_map(probe, probe.copy(), probe.inputs(scene)).requires_grad:
                breach("the map requires a gradient")
    if probe.kind == "criterion" and probe.uses("logits", "pred_depth"):
        applies = True
        for plain in scenes(probe):
            _depth_gradient_ignores_scores(probe, plain)
    if not applies:
        raise CheckSkipped("it has no weight map")


def _depth_gradient_ignores_scores(probe: LossProbe, scene: Scene) -> None:
    after = (
        "def gradient(logits):\n"
        "    predicted = pred_depth.detach().clone().requires_grad_()\n"
        "    value = {call}\n"
        "    (grad,) = torch.autograd.grad(value.sum(), predicted, allow_unused=True)\n"
        "    return torch.zeros_like(predicted) if grad is None else grad\n"
        "logits.requires_grad_()\n"
        "assert torch.allclose(gradient(logits), gradient(logits.roll(1, 1)), atol=1e-6)"
    )
    code = probe.code(scene, "{call}")
    code = code.removesuffix(probe.call_code) + after.replace(
        "{call}",
        probe.call_code.replace("pred_depth", "predicted", 1)
        if "pred_depth=" not in probe.call_code
        else probe.call_code.replace("=pred_depth", "=predicted"),
    )
    with scenario(code):
        inputs = probe.inputs(scene)
        other = inputs._replace(logits=inputs.logits.detach().roll(1, 1).requires_grad_())
        _, grads = value_and_gradients(probe, probe.copy(), inputs)
        _, others = value_and_gradients(probe, probe.copy(), other)
        found = tensor_difference("the gradient of pred_depth", others[1], grads[1], 10 * CLOSE)
        if found:
            breach(f"with other scores {found}")


@loss_check("an error without abs(), a log-ratio, or a centred or standardised map")
def check_weight_map_is_non_negative(probe: LossProbe) -> None:
    """No weight is negative, and every one is finite.

    Example:
        >>> from lwm_loss import LossWeightModule
        >>> check_weight_map_is_non_negative(LossWeightModule())
    """
    _require_weights(probe)
    after = f"weight = {weight_code(probe)}\nassert (weight >= 0).all() and weight.isfinite().all()"

    def hold(scene: Scene) -> None:
        with scenario(probe.code(scene, after)):
            weight = _weights(probe, scene)
            if not bool((weight >= 0).all() and weight.isfinite().all()):
                worst = float(weight.min()) if not weight.isnan().any() else float("nan")
                breach(f"a weight of {worst:.6g}")

    for_all(loss_batches(probe.settings), hold, probe.effort, scenes(probe))


@loss_check(
    "an R that is not divided by its maximum, a maximum that includes pixels without depth, or a "
    "rate that is divided by other pixels than it counts"
)
def check_weight_map_is_bounded(probe: LossProbe) -> None:
    """Weights are at most 2 for the fusion ``"sum"`` and at most 1 for any other.

    Of weights that use depth and name no ``fusion`` none may exceed 2; ``max_weight`` sets another
    bound.

    Example:
        >>> from lwm_loss import LossWeightModule
        >>> check_weight_map_is_bounded(LossWeightModule(fusion="max"))
    """
    _require_weights(probe)
    bound = weight_bound(probe)
    if bound is None:
        raise CheckSkipped("nothing says how large its weights may be: pass max_weight")
    after = f"weight = {weight_code(probe)}\nassert weight.max() <= {bound} + 1e-5, weight.max()"

    def hold(scene: Scene) -> None:
        with scenario(probe.code(scene, after)):
            largest = float(_weights(probe, scene).max())
            if largest > bound + 1e-5:
                breach(f"a weight of {largest:.6g} where at most {bound:g} is allowed")

    for_all(loss_batches(probe.settings), hold, probe.effort, scenes(probe))


@loss_check(
    "an error rate by pixel or smoothed in place of by region, cells from a rounded size "
    "(x // (W // w)), bins from the edge of another range, or counts in half precision"
)
def check_error_rate_is_constant_on_regions(probe: LossProbe) -> None:
    """Where every pixel has the same depth error, weights are constant on each depth-aware region.

    Z is one rate for the labelled pixels with depth of a region (Eq. 3). Regions are those of
    ``cells``, ``bin_size`` and ``depth_range`` of the weighting, or else the defaults.

    Example:
        >>> from lwm_loss import LossWeightModule
        >>> check_error_rate_is_constant_on_regions(LossWeightModule())
    """
    _require_weights(probe)
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
    for seed, size in enumerate([(24, 24), (19, 26)]):
        for depth in depths:
            plain = probe.scene(seed=seed, size=size, depth=depth, missing=0.1)
            code = f"{plain.code}\nknown = target_depth.nan_to_num(1.0)\npred_depth = "
            for_any(
                partial(_constant_on_regions, probe, Scene(code + same), options)
                for same in _SAME_ERROR[probe.told_logs]
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


def _constant_on_regions(probe: LossProbe, scene: Scene, options: dict[str, Any]) -> None:
    after = (
        "from lwm_loss.testing import reference\n"
        f"weight = {weight_code(probe)}\n"
        f"regions = reference.depth_aware_regions(target_depth.numpy(), **{options!r})\n"
        "members = {}\n"
        "for pixel, region in regions.items():\n"
        f"    if target[pixel] != {probe.settings.ignore_index}:\n"
        "        members.setdefault(region, []).append(float(weight[pixel]))\n"
        "for region, weights in members.items():\n"
        "    assert max(weights) - min(weights) < 1e-5, region"
    )
    with scenario(probe.code(scene, after)):
        weight = _weights(probe, scene).cpu()
        regions = reference.depth_aware_regions(scene["target_depth"].numpy(), **options)
        members: dict[reference.Region, list[tuple[int, ...]]] = {}
        for pixel, region in regions.items():
            if int(scene["target"][pixel]) not in probe.ignored:
                members.setdefault(region, []).append(pixel)
        for (image, cell, bin_), pixels in members.items():
            values = torch.stack([weight[pixel] for pixel in pixels])
            if float(values.max() - values.min()) > 1e-5:
                breach(
                    f"weights from {float(values.min()):.6g} to {float(values.max()):.6g} in image "
                    f"{image}, cell {cell}, depth bin {bin_}"
                )


@loss_check(
    "a measurement computed in another way than it says: pixels without label or depth that are "
    "counted, bins or cells that are off by one, a maximum over the batch, or counts that overflow"
)
def check_weight_map_matches_reference(probe: LossProbe) -> None:
    """A LossWeightModule, or a subclass of it, gives the M of the float64 oracle.

    Example:
        >>> from lwm_loss import LossWeightModule
        >>> check_weight_map_matches_reference(LossWeightModule(cells=(2, 3)))
    """
    _require_weights(probe)
    owner = weight_owner(probe)
    if not isinstance(owner, LossWeightModule):
        raise CheckSkipped("its weights are not those of a LossWeightModule")
    settings = reference.Mining(
        **_region_options(owner),
        fusion=owner.fusion,
        ignore_index=owner.ignore_index,
        log_input=owner.log_input,
    )
    after = (
        "from lwm_loss.testing import reference\n"
        f"weight = {weight_code(probe)}\n"
        "arrays = [x.detach().double().numpy() for x in (logits, pred_depth, target_depth)]\n"
        "maps = reference.loss_weight(\n"
        f"    arrays[0], target.numpy(), *arrays[1:], reference.{settings!r})\n"
        "assert abs(weight.numpy() - maps.weight).max() < 1e-4"
    )

    def hold(scene: Scene) -> None:
        with scenario(probe.code(scene, after)):
            weight = _weights(probe, scene).cpu()
            logits, predicted, true = (
                scene[name].double().numpy() for name in ("logits", "pred_depth", "target_depth")
            )
            labels = scene["target"].numpy()
            maps = reference.loss_weight(logits, labels, predicted, true, settings)
            found = tensor_difference("the weight", weight, torch.from_numpy(maps.weight), 1e-4)
            if found:
                breach(found)

    # The loops of the oracle are slow: no image of the usual scenes.
    corners = [probe.scene(size=(17, 20)), _ties(probe)]
    for_all(loss_batches(probe.settings, ties=True), hold, probe.effort, corners)


def _ties(probe: LossProbe) -> Scene:
    """Whole scores, of which many are equal: the first of the largest is the prediction."""
    scene = probe.scene(size=(9, 10))
    scene.values["logits"] = scene["logits"].round()
    scene.code += "\nlogits = logits.round()"
    return scene
