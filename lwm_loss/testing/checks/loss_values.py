"""What a loss returns."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from lwm_loss import HardPixelLoss, HardPixelMiningLoss

from ..calls import Loss, LossInputs
from ..expect import CheckSkipped, breach, difference, expect_finite, expect_same
from ..isolation import seed_all
from ..registry import loss_check
from ..search import for_all, for_any
from ..subjects.loss import LossProbe
from ..subjects.signature import class_weights, has_reductions

CLOSE = 1e-5


def require_no_chance(probe: LossProbe) -> None:
    """Skip the check if the loss draws at random, which no other call could repeat."""
    probe.require_output()
    batch = probe.scene()["batch"]
    if difference(probe.loss.value(batch, seed=1), probe.loss.value(batch), 1e-6):
        raise CheckSkipped("it draws at random, see check_loss_is_deterministic")


@loss_check(
    "a loss that returns a number, a list or a tensor of integers, a map at another resolution, or "
    "an unexpected signature: criterion(logits, target[, pred_depth, target_depth])",
    requires=None,
)
def check_loss_output(probe: LossProbe) -> None:
    r"""A loss returns a finite floating point tensor: a scalar, (B, \*S), (B, 1, \*S) or (B, C, \*S).

    A weighting and a curriculum return (B, \*S).
    """
    channels = [1, probe.num_classes] if probe.kind == "criterion" else []
    for images in (1, 2):
        scene = probe.scene(images=images, ignored=0.0, missing=0.0)
        probe.check(value_is_a_loss, scene, channels=channels)
    if probe.error is not None:
        raise probe.error  # it failed once, and then no more


def value_is_a_loss(loss: Loss, batch: LossInputs, channels: list[int]) -> None:
    """Look at type, dtype, shape and values of what a plain batch gives."""
    value: Any = loss(batch.differentiable().mapped(torch.clone))
    if not isinstance(value, Tensor):
        breach(f"a {type(value).__name__} in place of a tensor, or of terms with their `total`")
    if not value.is_floating_point():
        breach(f"a tensor of dtype {value.dtype}")
    images, *size = batch.target.shape
    shapes: list[tuple[int, ...]] = [(images, *size)]
    if channels:
        shapes += [(), (1,), *((images, c, *size) for c in channels)]
    if tuple(value.shape) not in shapes:
        breach(f"shape {tuple(value.shape)} in place of one of {shapes}")
    expect_finite({"the loss": value}, "{} on a plain batch")


@loss_check(
    "a reduction that is not applied to every term, a mean over other pixels than the labelled "
    "ones, or a factor that only one of the reductions has"
)
def check_reductions_agree(probe: LossProbe) -> None:
    """``"sum"`` is the sum of ``"none"``; ``"mean"`` is their mean where every pixel counts alike.

    Where the loss has reductions: an attribute or an argument ``reduction``. A mean of an image
    given twice is that of the image.
    """
    if not has_reductions(probe.criterion):
        raise CheckSkipped("it has no reductions")
    probe.for_all(sum_is_the_sum_of_none)
    if not class_weights(probe.criterion):
        for scene in probe.scenes(ignored=0.0, missing=0.0):
            probe.check(mean_is_the_mean_of_none, scene)


def sum_is_the_sum_of_none(loss: Loss, batch: LossInputs) -> None:
    """Compare the reductions on any batch."""
    each, total, mean = (_reduced(loss, batch, name) for name in ("none", "sum", "mean"))
    if total.numel() != 1 or mean.numel() != 1:
        breach(f"sum of shape {tuple(total.shape)}, mean of shape {tuple(mean.shape)}")
    sentence = "{}, the sum of what reduction='none' returns"
    expect_same({"the sum": total.reshape(())}, {"the sum": each.sum()}, 1e-4, sentence)


def mean_is_the_mean_of_none(loss: Loss, batch: LossInputs) -> None:
    """Compare the reductions on a batch in which every pixel counts alike."""
    each = _reduced(loss, batch, "none")
    mean = {"the mean": _reduced(loss, batch, "mean").reshape(())}
    # Per pixel and per class are both in use: the mean over pixels of a sum over classes.
    over_pixels = {"the mean": each.sum() / batch.target.numel()}
    if each.ndim != batch.logits.ndim or difference(mean, over_pixels, 1e-4):
        sentence = "{}, the mean of what reduction='none' returns"
        expect_same(mean, {"the mean": each.mean()}, 1e-4, sentence)


def _reduced(loss: Loss, batch: LossInputs, reduction: str) -> Tensor:
    seed_all(0)
    one = loss.copied().criterion
    if not isinstance(getattr(one, "reduction", None), str):
        return loss.of(partial(one, reduction=reduction))(batch.mapped(torch.clone))
    # Put back, for what cannot be copied is the subject itself.
    own, one.reduction = one.reduction, reduction
    try:
        return loss.of(one)(batch.mapped(torch.clone))
    finally:
        one.reduction = own


@loss_check(
    "a mean of weighted losses over the number of pixels in place of the sum of their class weights",
    example="torch.nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0]))",
)
def check_class_weights_are_relative(probe: LossProbe) -> None:
    """Class weights times a constant change nothing: a mean is divided by the sum of the weights.

    Of the losses of this library around a criterion with class weights, and of any loss with
    ``reduction="mean"`` that has some.
    """
    probe.require_roles("logits", "target")
    if not class_weights(probe.criterion):
        raise CheckSkipped("it has no class weights")
    library = isinstance(probe.criterion, (HardPixelLoss, HardPixelMiningLoss))
    if not library and getattr(probe.criterion, "reduction", None) != "mean":
        raise CheckSkipped("it does not say that it is a mean")
    for scene in probe.scenes():
        probe.check(scaled_class_weights_change_nothing, scene)


def scaled_class_weights_change_nothing(loss: Loss, batch: LossInputs) -> None:
    """Triple the class weights of a copy."""
    expected = loss.results(batch)
    heavier = loss.copied()
    for weight in class_weights(heavier.criterion):
        weight.data.mul_(3)
    sentence = "with three times the class weights {}"
    expect_same(heavier.results(batch), expected, 10 * CLOSE, sentence)


@loss_check(
    "a log of a softmax in place of log_softmax, a power below 1 of what reaches 0 (focal loss "
    "with gamma < 1), or an exp of a loss"
)
def check_saturated_logits_stay_finite(probe: LossProbe) -> None:
    """Scores of any size, right or wrong beyond doubt, give a finite loss and finite gradients."""
    probe.require_roles("logits", "target")

    def hold(drawn: tuple[int, float]) -> None:
        seed, scale = drawn
        scene = probe.scene(seed=seed, size=(3, 4), missing=0.0, ignored=0.0)
        probe.check(finite_for_large_scores, scene, scale=scale)

    scales = st.sampled_from([0.0, 1.0, 20.0, 100.0, 1e4])
    corners = [(0, scale) for scale in (0.0, 20.0, 100.0, 1e4)]
    for_all(st.tuples(st.integers(0, 50), scales), hold, probe.effort, corners)


def finite_for_large_scores(loss: Loss, batch: LossInputs, scale: float) -> None:
    """Multiply the scores."""
    results = loss.results(batch._replace(logits=scale * batch.logits))
    checked = {name: results[name] for name in ("the loss", "the gradient of logits")}
    expect_finite(checked, f"{{}} for scores of up to {scale:g}")


@loss_check(
    "a loss that is detached or rebuilt from numbers, an argmax in the way of the gradient, or "
    "weights that are 0 everywhere"
)
def check_labelled_pixels_get_a_gradient(probe: LossProbe) -> None:
    """A loss of labelled pixels has a gradient that reaches the scores, and is not 0."""
    probe.require_roles("logits", "target")
    if probe.kind != "criterion":
        raise CheckSkipped(f"a {probe.kind} needs no gradient")
    for_any(partial(probe.check, scores_get_a_gradient, scene) for scene in probe.scenes())


def scores_get_a_gradient(loss: Loss, batch: LossInputs) -> None:
    """Follow the gradient of the loss back to the scores."""
    logits = batch.logits.clone().requires_grad_()
    value = loss(batch._replace(logits=logits))
    if not value.requires_grad:
        breach("the loss does not require a gradient")
    (grad,) = torch.autograd.grad(value.sum(), logits, materialize_grads=True)
    if not bool((grad != 0).any()):
        breach("the gradient of the scores is 0 everywhere")
