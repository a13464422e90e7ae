"""A loss under labels that are ignored and depth that is missing."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import torch

from ..calls import Loss, LossInputs
from ..expect import breach, difference, expect_finite, expect_same, expect_zero, not_finite
from ..registry import loss_check
from ..subjects.loss import LossProbe
from .loss_values import CLOSE

MISSING = (nan, 0.0, -1.0, inf, -inf)


@loss_check(
    "an ignored label that is clamped or remapped to a class and never masked again, a mask that "
    "multiplies the scores, or label smoothing over all pixels"
)
def check_ignored_pixels_get_no_gradient(probe: LossProbe) -> None:
    """At ignored pixels the gradient of the scores is exactly 0, and so is every weight."""
    what = "a weight" if probe.kind == "weighting" else "a loss"
    for label in probe.require_ignored():
        settings = probe.settings._replace(ignore_index=label)
        probe.for_all(ignored_pixels_get_nothing, settings=settings, label=label, what=what)


def ignored_pixels_get_nothing(loss: Loss, batch: LossInputs, label: int, what: str) -> None:
    """Look at the gradient of the scores where they are ignored, and at a map."""
    ignored = batch.target == label
    if bool(ignored.all()):
        return  # a mean over no pixel at all is check_all_ignored_is_zero's business
    results = loss.results(batch)
    at_ignored = results["the gradient of logits"].movedim(1, -1)[ignored]
    expect_zero(at_ignored, f"a gradient of up to {{}} at pixels with label {label}")
    value = results["the loss"]
    if value.shape == ignored.shape:
        expect_zero(value[ignored], f"{what} that is not 0 at pixels with label {label}")


@loss_check(
    "a mean over all pixels in place of the labelled ones, a softmax, a sum or a maximum that "
    "includes ignored pixels, a mask that multiplies (inf * 0 is NaN), an ignored label that is "
    "mapped to a class, or an error rate of all pixels with depth"
)
def check_ignored_pixels_do_not_count(probe: LossProbe) -> None:
    """Ignored pixels do not count: neither what is there nor how many there are changes the loss.

    Their scores are replaced, and classes ruled out there (a score of -inf); their depth goes
    missing, which no weight elsewhere may show; and an image without label and depth joins the
    batch.
    """
    weighs = probe.has_weights() and probe.uses("target_depth")
    for label in probe.require_ignored():
        for scene in probe.scenes(ignore_index=label, ignored=0.3):
            for rule_out in (False, True):
                probe.check(ignored_scores_do_not_count, scene, label=label, rule_out=rule_out)
            probe.check(ignored_image_does_not_count, scene, label=label)
            if weighs:
                probe.check(ignored_depth_does_not_count, scene, label=label)


def _ends(batch: LossInputs) -> list[int]:
    """What an ignored label is mapped to, if it is: the first class, or the last."""
    last = batch.logits.shape[1] - 1
    return [0, last] if last > 1 else [0]


def ignored_scores_do_not_count(loss: Loss, batch: LossInputs, label: int, rule_out: bool) -> None:
    """Replace the scores of ignored pixels, or rule classes out there."""
    ruled_out = _ends(batch) if rule_out else []
    which = f"scores of -inf for the classes {ruled_out}" if ruled_out else "other scores"
    found = loss.value(_rescored(batch, label, ruled_out))
    expect_same(found, loss.value(batch), CLOSE, f"with {which} at ignored pixels {{}}")


def _rescored(batch: LossInputs, label: int, ruled_out: list[int]) -> LossInputs:
    """Replace the scores of ignored pixels by others, or by -inf for classes that are ruled out."""
    logits, other = batch.logits, 30 - 10 * batch.logits
    if ruled_out:
        other = logits.index_fill(1, torch.tensor(ruled_out, device=logits.device), -inf)
    ignored = (batch.target == label).unsqueeze(1)
    return batch._replace(logits=torch.where(ignored, other, logits))


def ignored_image_does_not_count(loss: Loss, batch: LossInputs, label: int) -> None:
    """Append an image without label and depth to the batch."""
    more = batch.scored(torch.zeros_like)._replace(
        target=torch.full_like(batch.target, label),
        pred_depth=torch.ones_like(batch.pred_depth),
        target_depth=torch.full_like(batch.target_depth, nan),
    )
    joined = batch.paired(more, lambda ours, theirs: torch.cat([ours, theirs[:1]]))
    found = {name: x[:-1] if x.ndim > 1 else x for name, x in loss.value(joined).items()}
    expect_same(found, loss.value(batch), CLOSE, "with one more image, all of it ignored, {}")


def ignored_depth_does_not_count(weight: Loss, batch: LossInputs, label: int) -> None:
    """Remove the depth of ignored pixels. R may count it, so every pixel has the same error."""
    ignored = batch.target == label
    even = batch._replace(
        target_depth=torch.where(batch.target_depth > 0, 20.0, nan),
        pred_depth=torch.full_like(batch.pred_depth, 3.5),
    )
    less = even._replace(target_depth=torch.where(ignored, nan, even.target_depth))
    found, expected = (
        {"the weight": torch.where(ignored, 0, weight.copied()(each).detach())}
        for each in (less, even)
    )
    expect_same(found, expected, 1e-5, "without depth at ignored pixels {}")


@loss_check(
    "a softmax whose derivative at an ignored pixel is multiplied by 0 (NaN * 0 is NaN; torch's own "
    "cross-entropy does that), or a criterion whose derivative is infinite there",
    example="LossWeightModule()",
)
def check_non_finite_ignored_pixels_stay_out(probe: LossProbe) -> None:
    """Scores that are not finite at ignored pixels reach neither the loss nor a gradient.

    There they are NaN, infinite, or so sure of a wrong class that a derivative is infinite; loss and
    gradients are those of the batch without them, and exactly 0 at ignored pixels. Where classes
    that are ruled out there change the loss, check_ignored_pixels_do_not_count says so.
    """
    for label in probe.require_ignored():
        for scene in probe.scenes(ignore_index=label, ignored=0.3):
            for filled, classes in ((nan, None), (inf, None), (-inf, None), (inf, 1), (-120.0, 1)):
                options: dict[str, Any] = {"label": label, "filled": filled, "classes": classes}
                probe.check(ignored_scores_stay_out, scene, **options)


def ignored_scores_stay_out(
    loss: Loss, batch: LossInputs, label: int, filled: float, classes: int | None
) -> None:
    """Replace the scores of ignored pixels in the first classes, or in all of them."""
    if difference(loss.value(_rescored(batch, label, _ends(batch))), loss.value(batch), CLOSE):
        return  # check_ignored_pixels_do_not_count says so
    ignored, logits = batch.target == label, batch.logits.clone()
    logits[:, :classes] = logits[:, :classes].masked_fill(ignored.unsqueeze(1), filled)
    found = loss.results(batch._replace(logits=logits))
    sentence = f"with scores of {filled} at ignored pixels {{}}"
    expect_finite(found, sentence)
    expect_same(found, loss.results(batch), 10 * CLOSE, sentence)


@loss_check(
    "a mean over no pixel (0 / 0), an early return of a new tensor that has no graph, or a sum of "
    "scores times 0 that overflows",
    example='torch.nn.CrossEntropyLoss(reduction="sum")',
)
def check_all_ignored_is_zero(probe: LossProbe) -> None:
    """A batch without any label (and without depth) gives 0, with a gradient that is 0 as well."""
    for label in probe.require_ignored():
        scene = probe.scene(ignored=2.0, missing=2.0, ignore_index=label)
        is_cost = probe.kind == "criterion"
        probe.check(nothing_costs_nothing, scene, label=label, is_cost=is_cost)


def nothing_costs_nothing(loss: Loss, batch: LossInputs, label: int, is_cost: bool) -> None:
    """Look at value and gradient of a batch without labels and depth."""
    logits = batch.logits.clone().requires_grad_()
    value = loss(batch._replace(logits=logits))
    if bool((value != 0).any()):
        worst = float(value[value != 0].flatten()[0])
        breach(f"{worst} for a batch all of whose pixels have the label {label}")
    if is_cost:
        if not value.requires_grad:
            breach("a loss without a graph, so that backward() fails")
        (grad,) = torch.autograd.grad(value.sum(), logits, allow_unused=True)
        expect_zero(grad, "a gradient that is not 0")


@loss_check(
    "a mask that multiplies (NaN * 0 is NaN), a where() after the log in place of before and after "
    "it (the gradient of the branch not taken is NaN), or one of 0, negative, infinite and NaN "
    "that is not taken for missing",
    example="LogDepthMSELoss()",
    requires=lambda probe: probe.require_roles("target_depth"),
    run=lambda probe, body: probe.for_all(body, corners=[*probe.scenes(), probe.scene(missing=2)]),
)
def check_missing_depth_does_not_leak(loss: Loss, batch: LossInputs) -> None:
    """However missing depth is written (0, negative, infinite, NaN), it never reaches a gradient.

    The loss and its gradients are finite and the same for all of them, and the gradient of the
    predicted depth is exactly 0 where the true one is missing.
    """
    depth = batch.target_depth
    missing = ~(depth.isfinite() & (depth > 0))
    known = batch._replace(target_depth=torch.where(missing, 50.0, depth))
    if not_finite(loss.value(known)):
        return  # not for want of depth
    first = None
    for code in MISSING:
        results = loss.results(batch._replace(target_depth=torch.where(missing, code, depth)))
        expect_finite(results, f"{{}} with depth missing as {code}")
        at_missing = results["the gradient of pred_depth"][missing]
        expect_zero(at_missing, f"pred_depth has a gradient where depth is missing as {code}")
        first = first or results
        sentence = f"with depth missing as {code}, not as {MISSING[0]}, {{}}"
        expect_same(results, first, CLOSE, sentence)
