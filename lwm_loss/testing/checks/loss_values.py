"""Checks of what a loss returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from .._compare import tensor_difference
from .._isolation import seed_all
from ..registry import loss_check
from ..report import CheckSkipped
from ..scenes import Scene, loss_batches
from ..search import breach, for_all, scenario
from ..subjects.loss import Inputs, LossProbe
from ..subjects.signature import class_weight

CLOSE = 1e-5


def value_and_gradients(
    probe: LossProbe, criterion: Any, inputs: Inputs, seed: int = 0
) -> tuple[Tensor, list[Tensor]]:
    """What the loss returns, and its gradients by logits, predicted depth and side outputs."""
    seed_all(seed)
    # Copies, so that of a loss that writes to its inputs one check alone speaks.
    value = probe.call(criterion, inputs.cloned()).value
    leaves = inputs.leaves()
    if not value.requires_grad:
        return value, [torch.zeros_like(leaf) for leaf in leaves]
    grads = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
    return value.detach(), [
        torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, grads)
    ]


def require_no_chance(probe: LossProbe) -> None:
    """Skips the check if the loss draws at random, which no other call could repeat."""
    inputs = probe.inputs(probe.scene())
    first, second = (value_and_gradients(probe, probe.copy(), inputs, seed)[0] for seed in (0, 1))
    if tensor_difference("the loss", second, first, 1e-6):
        raise CheckSkipped("it draws at random, see check_loss_is_deterministic")


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
        + "assert tuple(loss.shape) in shapes and loss.isfinite().all()\n"
        + "assert loss.is_floating_point()"
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
    weighted = any(class_weight(part) for part in modules_of(probe.criterion))

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
    criterion = probe.criterion
    has_attribute = isinstance(getattr(criterion, "reduction", None), str)
    if not has_attribute:
        function = criterion.forward if isinstance(criterion, nn.Module) else criterion
        try:
            takes = "reduction" in inspect.signature(function).parameters
        except (TypeError, ValueError):
            takes = False
        if not takes:
            return None

    def reduced(inputs: Inputs) -> Tensor:
        seed_all(0)
        one = probe.copy()
        if not has_attribute:
            return probe.call(one, inputs.cloned(), reduction=name).value.detach()
        # Put back, for what cannot be copied is the subject itself.
        own, one.reduction = one.reduction, name
        try:
            return probe.call(one, inputs.cloned()).value.detach()
        finally:
            one.reduction = own

    return reduced


def modules_of(criterion: Any) -> list[Any]:
    """A loss and all modules within it."""
    return list(criterion.modules()) if isinstance(criterion, nn.Module) else [criterion]


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
