"""Checks of what a loss returns, and of what it must not depend on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from .._compare import tensor_difference
from .._criterion import Inputs, LossProbe, class_weight
from .._inputs import Scene, loss_batches
from .._isolation import seed_all
from .._property import breach, for_all, scenario
from .._registry import loss_check
from .._report import CheckSkipped

CLOSE = 1e-5


def value_and_gradients(
    probe: LossProbe, criterion: Any, inputs: Inputs, seed: int = 0
) -> tuple[Tensor, list[Tensor]]:
    """What the loss returns, and its gradients by logits, predicted depth and side outputs."""
    seed_all(seed)
    value = probe.call(criterion, inputs).value
    leaves = inputs.leaves()
    if not value.requires_grad:
        return value, [torch.zeros_like(leaf) for leaf in leaves]
    grads = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
    return value.detach(), [
        torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, grads)
    ]


def scenes(probe: LossProbe, **options: Any) -> Iterator[Scene]:
    """The plain batches that are never left out: of several sizes, with everything in them."""
    for seed, (images, size) in enumerate([(2, (6, 8)), (3, (5, 7)), (2, (24, 24))]):
        yield probe.scene(seed=seed, images=images, size=size, **options)


@loss_check(
    "a loss that returns a number, a list or a tensor of integers, a map at another resolution, or "
    "an unexpected signature: criterion(logits, target[, pred_depth, target_depth])"
)
def check_loss_output(probe: LossProbe) -> None:
    r"""A loss returns a finite floating point tensor: a scalar, (B, \*S), (B, 1, \*S) or (B, C, \*S).

    A weighting and a curriculum return (B, \*S).

    Example:
        >>> check_loss_output(nn.CrossEntropyLoss())
    """
    channels = [1, probe.num_classes] if probe.kind == "criterion" else []
    after = (
        "loss = {call}\nprint(loss.shape, loss.dtype)\n"
        "batch, *size = target.shape\n"
        f"shapes = [(batch, *size), *((batch, c, *size) for c in {channels})]\n"
        + ("shapes += [(), (1,)]\n" if channels else "")
        + "assert tuple(loss.shape) in shapes and loss.isfinite().all()"
    )
    if probe.error is not None:
        with scenario(probe.code(probe.scene(ignored=0.0, missing=0.0), after)):
            raise probe.error
    probe.ready()
    for images in (1, 2):
        scene = probe.scene(images=images, ignored=0.0, missing=0.0)
        with scenario(probe.code(scene, after)):
            inputs = probe.inputs(scene)
            value = probe.call(probe.copy(), inputs).value
            if not value.is_floating_point():
                breach(f"a tensor of dtype {value.dtype}")
            batch, *size = inputs.target.shape
            shapes: list[tuple[int, ...]] = [(batch, *size)]
            if probe.kind == "criterion":
                shapes += [(), (1,), *((batch, c, *size) for c in channels)]
            if tuple(value.shape) not in shapes:
                breach(f"shape {tuple(value.shape)} in place of one of {shapes}")
            if not bool(value.isfinite().all()):
                breach(f"{value.flatten()[~value.flatten().isfinite()][0].item()} on a plain batch")


@loss_check(
    "a reduction that is not applied to every term, a mean over other pixels than the labelled "
    "ones, or a factor that only one of the reductions has"
)
def check_reductions_agree(probe: LossProbe) -> None:
    """``"sum"`` is the sum of ``"none"``; ``"mean"`` is their mean where every pixel counts alike.

    Where the loss has reductions: an attribute or an argument ``reduction``. A mean of an image
    given twice is that of the image.

    Example:
        >>> check_reductions_agree(nn.CrossEntropyLoss())
    """
    probe.ready()
    reduced = {name: _with_reduction(probe, name) for name in ("none", "mean", "sum")}
    if any(call is None for call in reduced.values()):
        raise CheckSkipped("it has no reductions")
    after = (
        "def reduced(name):\n"
        "    criterion.reduction = name  # or pass reduction=name\n"
        "    return {call}\n"
        "assert torch.allclose(reduced('sum'), reduced('none').sum(), rtol=1e-4)"
    )
    weighted = any(class_weight(part) for part in _parts(probe.criterion))

    def hold(scene: Scene) -> None:
        with scenario(probe.code(scene, after)):
            values = {}
            for name, call in reduced.items():
                assert call is not None
                values[name] = call(probe.inputs(scene))
            if values["sum"].numel() != 1 or values["mean"].numel() != 1:
                breach(f"sum of shape {tuple(values['sum'].shape)}")
            found = tensor_difference(
                "the sum", values["sum"].reshape(()), values["none"].sum(), 1e-4
            )
            if found:
                breach(f"{found}, the sum of what reduction='none' returns")

    def hold_mean(scene: Scene) -> None:
        after = (
            "criterion.reduction = 'none'\neach = {call}\n"
            "criterion.reduction = 'mean'\nmean = {call}\n"
            "assert torch.allclose(mean, each.mean(), rtol=1e-4)"
        )
        with scenario(probe.code(scene, after)):
            inputs = probe.inputs(scene)
            each, mean = _call(reduced["none"], inputs), _call(reduced["mean"], inputs)
            found = tensor_difference("the mean", mean.reshape(()), each.mean(), 1e-4)
            # Per pixel and per class are both in use: the mean over pixels of a sum over classes.
            if found and each.ndim == inputs.logits.ndim:
                over_pixels = each.sum() / inputs.target.numel()
                found = tensor_difference("the mean", mean.reshape(()), over_pixels, 1e-4)
            if found and not weighted:
                breach(f"{found}, the mean of what reduction='none' returns")

    for_all(loss_batches(probe.settings), hold, probe.effort, scenes(probe))
    for scene in scenes(probe, ignored=0.0, missing=0.0):
        hold_mean(scene)


def _call(call: Callable[[Inputs], Tensor] | None, inputs: Inputs) -> Tensor:
    assert call is not None
    return call(inputs)


def _with_reduction(probe: LossProbe, name: str) -> Callable[[Inputs], Tensor] | None:
    """The loss with this reduction, if it has reductions."""
    criterion = probe.copy()
    if isinstance(getattr(criterion, "reduction", None), str):
        criterion.reduction = name
        return lambda inputs: probe.call(criterion, inputs).value.detach()
    function = criterion.forward if isinstance(criterion, nn.Module) else criterion
    try:
        takes = "reduction" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        takes = False
    if not takes:
        return None
    return lambda inputs: probe.call(criterion, inputs, reduction=name).value.detach()


def _parts(criterion: Any) -> list[Any]:
    return list(criterion.modules()) if isinstance(criterion, nn.Module) else [criterion]


@loss_check(
    "a weight by position in the batch, a state that the first image fills, or an index of regions "
    "that counts images wrongly"
)
def check_batch_permutation(probe: LossProbe) -> None:
    """The order of the images in a batch changes neither the loss nor a gradient.

    Example:
        >>> check_batch_permutation(nn.CrossEntropyLoss())
    """
    probe.ready()
    after = (
        "value = {call}\n"
        "logits, target, pred_depth, target_depth = (\n"
        "    x.flip(0) for x in (logits, target, pred_depth, target_depth))\n"
        + ("side_logits = [side.flip(0) for side in side_logits]\n" if probe.num_sides else "")
        + "again = {call}\n"
        "again = again.flip(0) if again.ndim > 1 else again\n"
        "assert torch.allclose(again, value, rtol=1e-4, atol=1e-6, equal_nan=True)"
    )

    def hold(scene: Scene) -> None:
        with scenario(probe.code(scene, after)):
            plain = probe.inputs(scene)
            turned = _mapped(plain, lambda x: x.flip(0))
            _compare(probe, plain, turned, lambda x: x.flip(0), "in another order of the images")

    strategy = loss_batches(probe.settings, min_images=2)
    for_all(strategy, hold, probe.effort, scenes(probe))


def _mapped(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """All tensors changed, as leaves."""

    def leaf(tensor: Tensor) -> Tensor:
        return change(tensor.detach()).clone().requires_grad_(tensor.requires_grad)

    *tensors, sides = inputs
    leaves: list[Any] = [leaf(tensor) for tensor in tensors]
    return Inputs._make([*leaves, [leaf(side) for side in sides]])


def _compare(
    probe: LossProbe,
    plain: Inputs,
    changed: Inputs,
    undo: Callable[[Tensor], Tensor],
    when: str,
    prepare: Callable[[Any], None] | None = None,
) -> None:
    """Value and gradients of both inputs must agree once the change is undone."""
    other = probe.copy()
    if prepare is not None:
        prepare(other)
    value, grads = value_and_gradients(probe, probe.copy(), plain)
    value_changed, grads_changed = value_and_gradients(probe, other, changed)
    if value_changed.ndim > 1:
        value_changed = undo(value_changed)
    found = tensor_difference("the loss", value_changed, value, CLOSE)
    names = ["logits", "pred_depth", *(f"side_logits[{k}]" for k in range(len(grads) - 2))]
    for name, before, now in zip(names, grads, grads_changed):
        words = f"the gradient of {name}"
        found = found or tensor_difference(words, undo(now), before, 10 * CLOSE)
    if found:
        breach(f"{when} {found}")


@loss_check(
    "a class that is treated apart (class 0 as background), an argmax with ties, or ignored labels "
    "that are mapped to a class"
)
def check_class_permutation(probe: LossProbe) -> None:
    """Classes under other numbers, in scores and labels alike, change nothing.

    Class weights (``weight``, ``class_weight``, ``class_weights``, ``alpha``) move with them.

    Example:
        >>> check_class_permutation(nn.CrossEntropyLoss())
    """
    probe.require("logits", "target")
    if any(0 <= label < probe.num_classes for label in probe.ignored):
        raise CheckSkipped("one of the classes is ignored, so that they are not alike")
    after = (
        "value = {call}\n"
        "classes = logits.shape[1]\n"
        "logits = logits.roll(-1, 1)\n"
        + ("side_logits = [side.roll(-1, 1) for side in side_logits]\n" if probe.num_sides else "")
        + "inside = (target >= 0) & (target < classes)\n"
        "target = torch.where(inside, (target - 1) % classes, target)\n"
        "again = {call}\n"
        "again = again.roll(1, 1) if again.ndim == 4 else again\n"
        "assert torch.allclose(again, value, rtol=1e-4, atol=1e-6, equal_nan=True)"
    )

    def hold(scene: Scene) -> None:
        with scenario(probe.code(scene, after)):
            plain = probe.inputs(scene)
            classes = probe.num_classes
            inside = (plain.target >= 0) & (plain.target < classes)
            changed = _mapped(plain, lambda x: x.clone())
            changed = changed._replace(
                logits=plain.logits.detach().roll(-1, 1).requires_grad_(),
                target=torch.where(inside, (plain.target - 1) % classes, plain.target),
                side_logits=[s.detach().roll(-1, 1).requires_grad_() for s in plain.side_logits],
            )
            _compare(
                probe,
                plain,
                changed,
                lambda x: x.roll(1, 1) if x.ndim == 4 and x.shape[1] == classes else x,
                "with other numbers for the classes",
                _roll_class_weights,
            )

    for_all(loss_batches(probe.settings), hold, probe.effort, scenes(probe))


def _roll_class_weights(criterion: Any) -> None:
    for part in _parts(criterion):
        found = class_weight(part)
        if found is not None:
            _, weight = found
            with torch.no_grad():
                weight.copy_(weight.roll(-1).clone())


@loss_check(
    "a maximum, a quantile or a ranking over the batch in place of over each image (R, an OHEM "
    "threshold), region numbers without the number of the image, or statistics kept in a buffer"
)
def check_images_do_not_influence_each_other(probe: LossProbe) -> None:
    """Scores and depth of one image change neither gradient nor weights of another image.

    Labels, and which depth is known, stay: a mean over the batch may count them.

    Example:
        >>> check_images_do_not_influence_each_other(nn.CrossEntropyLoss())
    """
    probe.ready()
    after = (
        "def gradient(logits, pred_depth, target_depth):\n"
        "    logits = logits.detach().clone().requires_grad_()\n"
        "    value = {call}\n"
        "    if value.ndim > 1:\n"
        "        return value[0]\n"
        "    return torch.autograd.grad(value, logits)[0][0]\n"
        "def others(tensor, change):\n"
        "    return torch.cat([tensor[:1], change(tensor[1:])])\n"
        "known = target_depth.isfinite() & (target_depth > 0)\n"
        "depth = torch.where(known, 1 + (7.3 * target_depth) % 200, target_depth)\n"
        "first = gradient(logits, pred_depth, target_depth)\n"
        "second = gradient(others(logits, lambda x: x.roll(1, 1) * 1.5),\n"
        "                  others(pred_depth, lambda x: 3 - x),\n"
        "                  torch.cat([target_depth[:1], depth[1:]]))\n"
        "assert torch.allclose(first, second, rtol=1e-4, atol=1e-7, equal_nan=True)"
    )

    def hold(scene: Scene) -> None:
        with scenario(probe.code(scene, after)):
            plain = probe.inputs(scene)
            depth = plain.target_depth
            known = depth.isfinite() & (depth > 0)
            moved = torch.where(known, 1 + (7.3 * depth) % 200, depth)

            def others(tensor: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
                tensor = tensor.detach()
                return torch.cat([tensor[:1], change(tensor[1:])]).requires_grad_()

            changed = Inputs(
                others(plain.logits, lambda x: x.roll(1, 1) * 1.5),
                plain.target,
                others(plain.pred_depth, lambda x: 3 - x),
                torch.cat([depth[:1], moved[1:]]),
                [others(side, lambda x: x.roll(1, 1) * 1.5) for side in plain.side_logits],
            )
            value, grads = value_and_gradients(probe, probe.copy(), plain)
            now, grads_now = value_and_gradients(probe, probe.copy(), changed)
            if value.ndim > 1:
                found = tensor_difference("the map", now[:1], value[:1], CLOSE)
                if found:
                    breach(f"with other scores and depth in the other images {found}")
            for name, before, after_change in zip(("logits", "pred_depth"), grads, grads_now):
                words = f"the gradient of {name}"
                found = tensor_difference(words, after_change[:1], before[:1], 10 * CLOSE)
                if found:
                    breach(f"with other scores and depth in the other images {found}")

    strategy = loss_batches(probe.settings, min_images=2)
    for_all(strategy, hold, probe.effort, scenes(probe))


@loss_check(
    "a log of a softmax in place of log_softmax, a power below 1 of what reaches 0 (focal loss "
    "with gamma < 1), or an exp of a loss"
)
def check_saturated_logits_stay_finite(probe: LossProbe) -> None:
    """Scores of any size, right or wrong beyond doubt, give a finite loss and finite gradients.

    Example:
        >>> check_saturated_logits_stay_finite(nn.CrossEntropyLoss())
    """
    probe.require("logits", "target")
    after = (
        "logits = ({scale} * logits).requires_grad_()\n"
        "value = {call}\n"
        "assert value.isfinite().all()\n"
        "if value.requires_grad:\n"
        "    value.sum().backward()\n"
        "    assert logits.grad.isfinite().all()"
    )

    def hold(drawn: tuple[int, float]) -> None:
        seed, scale = drawn
        scene = probe.scene(seed=seed, size=(3, 4), missing=0.0, ignored=0.0)
        with scenario(probe.code(scene, after.replace("{scale}", repr(scale)))):
            inputs = probe.inputs(scene)
            inputs = inputs._replace(logits=(scale * inputs.logits).detach().requires_grad_())
            value, grads = value_and_gradients(probe, probe.copy(), inputs)
            if not bool(value.isfinite().all()):
                breach(f"the loss is not finite for scores of up to {scale:g}")
            if not bool(grads[0].isfinite().all()):
                breach(f"the gradient of the scores is not finite for scores of up to {scale:g}")

    scales = st.sampled_from([0.0, 1.0, 20.0, 100.0, 1e4])
    corners = [(0, scale) for scale in (0.0, 20.0, 100.0, 1e4)]
    for_all(st.tuples(st.integers(0, 50), scales), hold, probe.effort, corners)


@loss_check(
    "a loss that is detached or rebuilt from numbers, an argmax in the way of the gradient, or "
    "weights that are 0 everywhere"
)
def check_labelled_pixels_get_a_gradient(probe: LossProbe) -> None:
    """A loss of labelled pixels has a gradient that reaches the scores, and is not 0.

    Example:
        >>> check_labelled_pixels_get_a_gradient(nn.CrossEntropyLoss())
    """
    probe.require("logits", "target")
    if probe.kind != "criterion":
        raise CheckSkipped(f"a {probe.kind} needs no gradient")
    after = (
        "logits.requires_grad_()\n({call}).sum().backward()\n"
        "assert logits.grad is not None and logits.grad.any()"
    )
    plain = list(scenes(probe))
    with scenario(probe.code(plain[0], after)):
        for scene in plain:
            inputs = probe.inputs(scene)
            value = probe.call(probe.copy(), inputs).value
            if not value.requires_grad:
                breach("the loss does not require a gradient")
            (grad,) = torch.autograd.grad(value.sum(), inputs.logits, allow_unused=True)
            if grad is not None and bool((grad != 0).any()):
                return
        breach("the gradient of the scores is 0 everywhere")
