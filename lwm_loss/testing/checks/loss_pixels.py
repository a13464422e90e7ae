"""Checks of a loss under labels that are ignored and depth that is missing."""

from __future__ import annotations

import torch
from torch import Tensor

from .._compare import tensor_difference
from ..registry import loss_check
from ..report import CheckSkipped
from ..scenes import Scene, loss_batches
from ..search import breach, for_all, scenario
from ..subjects.loss import LossProbe
from ..subjects.weights import has_weights, weight_code, weight_map
from .loss_values import CLOSE, scenes, value_and_gradients

MISSING = ("nan", "0.0", "-1.0", "inf", "-inf")


@loss_check(
    "an ignored label that is clamped or remapped to a class and never masked again, a mask that "
    "multiplies the scores, or label smoothing over all pixels"
)
def check_ignored_pixels_get_no_gradient(probe: LossProbe) -> None:
    """At ignored pixels the gradient of the scores is exactly 0, and so is every weight.

    Example:
        >>> check_ignored_pixels_get_no_gradient(torch.nn.CrossEntropyLoss())
    """
    probe.require_ignored()
    if probe.kind == "curriculum":
        raise CheckSkipped("a curriculum sees no labels")
    for label in probe.ignored:
        settings = probe.settings._replace(ignore_index=label)
        after = (
            "logits.requires_grad_()\nvalue = {call}\n"
            f"ignored = target == {label}\n"
            "if value.requires_grad:\n"
            "    value.sum().backward()\n"
            "    assert not logits.grad.movedim(1, -1)[ignored].any()\n"
            "if value.ndim == 3:\n"
            "    assert not value[ignored].any()"
        )

        def hold(scene: Scene, after: str = after, label: int = label) -> None:
            with scenario(probe.code(scene, after)):
                inputs = probe.inputs(scene)
                ignored = inputs.target == label
                value, grads = value_and_gradients(probe, probe.copy(), inputs)
                labelled = bool((~ignored).any())
                at_ignored = grads[0].movedim(1, -1)[ignored]
                # A mean over no pixel at all is check_all_ignored_is_zero's business.
                if labelled and bool((at_ignored != 0).any()):
                    worst = float(at_ignored.abs().max())
                    breach(f"a gradient of up to {worst:.3g} at pixels with label {label}")
                if labelled and value.shape == ignored.shape and bool(value[ignored].any()):
                    what = "a weight" if probe.kind == "weighting" else "a loss"
                    breach(f"{what} that is not 0 at pixels with label {label}")

        corners = scenes(probe, ignore_index=label)
        for_all(loss_batches(settings), hold, probe.effort, corners)


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

    Example:
        >>> check_ignored_pixels_do_not_count(torch.nn.CrossEntropyLoss())
    """
    probe.require_ignored()
    if probe.kind == "curriculum":
        raise CheckSkipped("a curriculum sees no labels")
    for label in probe.ignored:
        for scene in scenes(probe, ignore_index=label, ignored=0.3):
            _other_scores(probe, scene, label, "30 - 10 * logits", "other scores")
            # What an ignored label is mapped to, if it is: the first class, or the last.
            ends = [0, probe.num_classes - 1] if probe.num_classes > 2 else [0]
            ruled_out = f"logits.index_fill(1, torch.tensor({ends}, device=logits.device), -inf)"
            _other_scores(probe, scene, label, ruled_out, f"scores of -inf for the classes {ends}")
            _one_more_image(probe, scene, label)
            _other_depth(probe, scene, label)


def _other_scores(probe: LossProbe, scene: Scene, label: int, other: str, which: str) -> None:
    change = (
        f"ignored = (target == {label}).unsqueeze(1)\n"
        f"logits = torch.where(ignored, {other}, logits)"
    )
    after = (
        "value = {call}\n"
        f"{change}\n"
        "again = {call}\n"
        "assert torch.allclose(again, value, rtol=1e-4, atol=1e-6)"
    )
    with scenario(probe.code(scene, after)):
        before, _ = value_and_gradients(probe, probe.copy(), probe.inputs(scene))
        changed = Scene(f"{scene.code}\n{change}")
        value, _ = value_and_gradients(probe, probe.copy(), probe.inputs(changed))
        found = tensor_difference("the loss", value, before, CLOSE)
        if found:
            breach(f"with {which} at ignored pixels {found}")


def _other_depth(probe: LossProbe, scene: Scene, label: int) -> None:
    """R may count depth without a label, so every pixel has the same error."""
    if not has_weights(probe) or not probe.uses("target_depth"):
        return
    before = (
        "target_depth = torch.where(target_depth > 0, 20.0, nan)\n"
        "pred_depth = torch.full_like(pred_depth, 3.5)"
    )
    change = f"target_depth = torch.where(target == {label}, nan, target_depth)"
    call = weight_code(probe)
    after = (
        f"{before}\nweight = {call}\n{change}\nagain = {call}\n"
        f"assert torch.allclose(again[target != {label}], weight[target != {label}], atol=1e-5)"
    )
    with scenario(probe.code(scene, after)):
        plain = Scene(f"{scene.code}\n{before}")
        changed = Scene(f"{plain.code}\n{change}")
        again, weight = (
            weight_map(probe, probe.copy(), probe.inputs(each)).detach().cpu()
            for each in (changed, plain)
        )
        ignored = scene["target"] == label
        again, weight = (torch.where(ignored, 0, each) for each in (again, weight))
        found = tensor_difference("the weight", again, weight, 1e-5)
        if found:
            breach(f"without depth at ignored pixels {found}")


def _one_more_image(probe: LossProbe, scene: Scene, label: int) -> None:
    after = (
        "value = {call}\n"
        "def join(tensor, fill):\n"
        "    return torch.cat([tensor, torch.full_like(tensor[:1], fill)])\n"
        "logits, pred_depth = join(logits, 0.0), join(pred_depth, 1.0)\n"
        f"target, target_depth = join(target, {label}), join(target_depth, nan)\n"
        + ("side_logits = [join(side, 0.0) for side in side_logits]\n" if probe.num_sides else "")
        + "again = {call}\n"
        "again = again[:-1] if again.ndim > 1 else again\n"
        "assert torch.allclose(again, value, rtol=1e-4, atol=1e-6)"
    )

    def join(tensor: Tensor, fill: float) -> Tensor:
        joined = torch.cat([tensor.detach(), torch.full_like(tensor[:1].detach(), fill)])
        return joined.requires_grad_(tensor.requires_grad)

    with scenario(probe.code(scene, after)):
        inputs = probe.inputs(scene)
        before, _ = value_and_gradients(probe, probe.copy(), inputs)
        joined = inputs._replace(
            logits=join(inputs.logits, 0.0),
            target=join(inputs.target, label),
            pred_depth=join(inputs.pred_depth, 1.0),
            target_depth=join(inputs.target_depth, torch.nan),
            side_logits=[join(side, 0.0) for side in inputs.side_logits],
        )
        value, _ = value_and_gradients(probe, probe.copy(), joined)
        if value.ndim > 1:
            value = value[:-1]
        found = tensor_difference("the loss", value, before, CLOSE)
        if found:
            breach(f"with one more image, all of it ignored, {found}")


@loss_check(
    "a mean over no pixel (0 / 0), an early return of a new tensor that has no graph, or a sum of "
    "scores times 0 that overflows"
)
def check_all_ignored_is_zero(probe: LossProbe) -> None:
    """A batch without any label (and without depth) gives 0, with a gradient that is 0 as well.

    Example:
        >>> check_all_ignored_is_zero(torch.nn.CrossEntropyLoss(reduction="sum"))
    """
    probe.require_ignored()
    if probe.kind == "curriculum":
        raise CheckSkipped("a curriculum sees no labels")
    for label in probe.ignored:
        scene = probe.scene(ignored=2.0, missing=2.0, ignore_index=label)
        after = "logits.requires_grad_()\nvalue = {call}\nassert not value.any()\n" + (
            ""
            if probe.kind == "weighting"
            else "value.sum().backward()\nassert not logits.grad.any()"
        )
        with scenario(probe.code(scene, after)):
            inputs = probe.inputs(scene)
            value = probe.call(probe.copy(), inputs).value
            if bool((value != 0).any()):
                worst = float(value[value != 0].flatten()[0])
                breach(f"{worst} for a batch all of whose pixels have the label {label}")
            if probe.kind == "weighting":
                continue
            if not value.requires_grad:
                breach("a loss without a graph, so that backward() fails")
            (grad,) = torch.autograd.grad(value.sum(), inputs.logits, allow_unused=True)
            if grad is not None and bool((grad != 0).any()):
                breach("a gradient that is not 0")


@loss_check(
    "a mask that multiplies (NaN * 0 is NaN), a where() after the log in place of before and after "
    "it (the gradient of the branch not taken is NaN), or one of 0, negative, infinite and NaN "
    "that is not taken for missing"
)
def check_missing_depth_does_not_leak(probe: LossProbe) -> None:
    """However missing depth is written (0, negative, infinite, NaN), it never reaches a gradient.

    The loss and its gradients are finite and the same for all of them, and the gradient of the
    predicted depth is exactly 0 where the true one is missing.

    Example:
        >>> from lwm_loss import LogDepthMSELoss
        >>> check_missing_depth_does_not_leak(LogDepthMSELoss())
    """
    probe.require("target_depth")
    after = (
        "missing = ~(target_depth.isfinite() & (target_depth > 0))\n"
        "results, true_depth = [], target_depth\n"
        "for code in (0.0, nan, -1.0, inf):\n"
        "    logits = logits.detach().requires_grad_()\n"
        "    pred_depth = pred_depth.detach().requires_grad_()\n"
        "    target_depth = torch.where(missing, code, true_depth)\n"
        "    value = {call}\n"
        "    results.append(value.detach())\n"
        "    assert value.isfinite().all(), code\n"
        "    if value.requires_grad:\n"
        "        grads = torch.autograd.grad(value.sum(), [logits, pred_depth], "
        "allow_unused=True)\n"
        "        assert all(grad is None or grad.isfinite().all() for grad in grads), code\n"
        "        assert grads[1] is None or not grads[1][missing].any(), code\n"
        "assert all(torch.allclose(result, results[0]) for result in results)"
    )

    def hold(scene: Scene) -> None:
        depth = scene["target_depth"]
        missing = ~(depth.isfinite() & (depth > 0))
        with scenario(probe.code(scene, after)):
            inputs = probe.inputs(scene)
            known = inputs._replace(target_depth=torch.where(missing, 50.0, inputs.target_depth))
            full, _ = value_and_gradients(probe, probe.copy(), known)
            if not bool(full.isfinite().all()):
                return  # not for want of depth
            first: tuple[Tensor, list[Tensor]] | None = None
            for code in MISSING:
                coded = inputs._replace(
                    target_depth=torch.where(missing, float(code), inputs.target_depth)
                )
                value, grads = value_and_gradients(probe, probe.copy(), coded)
                if not bool(value.isfinite().all()):
                    breach(f"the loss is not finite where depth is missing as {code}")
                for name, grad in zip(("logits", "pred_depth"), grads):
                    if not bool(grad.isfinite().all()):
                        breach(f"the gradient of {name} is not finite with depth missing as {code}")
                if bool((grads[1][missing] != 0).any()):
                    breach(f"pred_depth has a gradient where depth is missing as {code}")
                if first is None:
                    first = value, grads
                names = ("the loss", "the gradient of logits", "the gradient of pred_depth")
                pairs = zip(names, [value, *grads], [first[0], *first[1]])
                for name, now, before in pairs:
                    found = tensor_difference(name, now, before, CLOSE)
                    if found:
                        breach(f"with depth missing as {code}, not as {MISSING[0]}, {found}")

    corners = [*scenes(probe), probe.scene(missing=2.0)]
    for_all(loss_batches(probe.settings), hold, probe.effort, corners)
