"""A backbone under labels and depth that are partly missing."""

from __future__ import annotations

from math import nan

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

import lwm_loss.functional as LF
from lwm_loss import MultiTaskOutput

from ..calls import gradients, outputs, run
from ..expect import CheckSkipped, breach, difference, expect_finite, expect_zero
from ..mining_loss import mining_loss
from ..registry import backbone_check
from ..scenes import truth
from ..strategies import MISSING
from ..subjects.network import BackboneProbe


@backbone_check(
    "a hook or a custom autograd function that adds to the gradient or spreads it, a loss of its "
    "own that the network adds to what it returns, or outputs that are not finite (0 times inf)"
)
def check_ignored_pixels_send_no_gradient(probe: BackboneProbe) -> None:
    """Pixels without label and depth send exactly no gradient back through the network.

    Nothing at all arrives at parameters if every pixel is ignored, nothing at the logits of ignored
    pixels, and in evaluation nothing at an image all of whose pixels are ignored.
    """
    logits = probe.require_trainable().logits
    nothing = truth(logits, ignored="target[:]", missing="depth[:]")
    probe.check(nothing_reaches_parameters, nothing, train=True)
    probe.check(nothing_reaches_ignored_logits, train=True)
    if not _mixes_images(probe):
        # Else check_sample_alone_equals_sample_in_batch says so.
        one = truth(logits, ignored="target[1]", missing="depth[1]")
        probe.check(nothing_reaches_ignored_image, one)


def nothing_reaches_parameters(
    model: nn.Module, image: Tensor, target: Tensor, depth: Tensor
) -> None:
    """Look for gradients of the objective when every pixel is ignored."""
    loss = mining_loss(run(model, image), target, depth)
    if not loss.requires_grad:
        raise CheckSkipped("no output carries a gradient, see check_outputs_carry_gradient")
    for name, grad in gradients(model, loss).items():
        expect_zero(grad, f"with every pixel ignored {name} is up to {{}}")


def nothing_reaches_ignored_logits(
    model: nn.Module, image: Tensor, target: Tensor, depth: Tensor
) -> None:
    """Look for gradients of the objective at the logits of ignored pixels."""
    logits = run(model, image).logits
    if logits.requires_grad:
        # Of the logits alone, for the depth branch may start from them.
        loss = mining_loss(MultiTaskOutput(logits), target, depth)
        (grad,) = torch.autograd.grad(loss, logits)
        at_ignored = grad.movedim(1, -1)[target == 255]
        expect_zero(at_ignored, "at ignored pixels a gradient of up to {}")


def nothing_reaches_ignored_image(
    model: nn.Module, image: Tensor, target: Tensor, depth: Tensor
) -> None:
    """Look for gradients of the objective at an image that has no labels and no depth."""
    image.requires_grad_()
    loss = mining_loss(run(model, image), target, depth)
    if loss.requires_grad:
        (grad,) = torch.autograd.grad(loss, image, materialize_grads=True)
        expect_zero(grad[1], "an image without labels and depth gets a gradient of up to {}")


def _mixes_images(probe: BackboneProbe) -> bool:
    """Whether what the first image gives changes with the second."""
    image = probe.image()["image"]
    plain, other = (
        {name: part[:1] for name, part in outputs(probe.fresh(), each).items()}
        for each in (image, torch.stack([image[0], 1 - image[1]]))
    )
    return difference(other, plain, 1e-6) is not None


@backbone_check(
    "a hook or a custom autograd function that averages, normalises or spreads the gradient of the "
    "log-depth, or a branch whose gradient is infinite (0 times inf)"
)
def check_missing_depth_stays_local(probe: BackboneProbe) -> None:
    """Missing true depth in one pixel changes the depth loss of no other pixel, and no gradient.

    The loss is L_d by pixel (Eq. 2) on the predicted log-depth; missing is 0, negative, infinite
    or NaN. All gradients of the objective stay finite.

    Example:
        >>> class WithDepth(torch.nn.Conv2d):
        ...     def forward(self, image):
        ...         scores = super().forward(image)
        ...         return scores[:, 1:], scores[:, 0]
        >>> check_missing_depth_stays_local(WithDepth(3, 6, 1))
    """
    output = probe.require_output()
    if output.log_depth is None:
        raise CheckSkipped("the network predicts no depth")
    size = output.logits.shape[2:]
    if output.log_depth.shape[1:] not in (size, (1, *size)):
        raise CheckSkipped("log_depth does not fit the logits, see check_output_shapes")
    facts = truth(output.logits, missing="depth[0, 0, 0]")

    def hold(y: int, x: int, value: float) -> None:
        y, x = y % size[0], x % size[1]
        probe.check(missing_depth_stays_local, facts, train=True, y=y, x=x, value=value)

    values = st.sampled_from(MISSING)
    place = st.integers(0, 40)
    probe.for_all(hold, place, place, values, corners=[(1, 1, nan), (1, 1, 0.0)])


def missing_depth_stays_local(
    model: nn.Module, image: Tensor, target: Tensor, depth: Tensor, y: int, x: int, value: float
) -> None:
    """Replace the depth of one pixel by a value that means missing."""
    output = run(model, image)
    predicted = output.log_depth
    if predicted is None or not predicted.requires_grad:
        return  # check_outputs_carry_gradient says so
    less, there = depth.clone(), torch.zeros_like(depth, dtype=torch.bool)
    less[1, y, x], there[1, y, x] = value, True
    maps = [LF.log_depth_mse_loss(predicted, d, reduction="none") for d in (depth, less)]
    grads = [torch.autograd.grad(m.sum(), predicted, retain_graph=True)[0] for m in maps]
    for what, (full, gap) in {"loss": maps, "gradient": grads}.items():
        full, gap = full.reshape_as(depth), gap.reshape_as(depth)
        expect_zero(gap[there], f"the pixel whose depth is {value} has a {what}")
        if not torch.equal(full[~there].nan_to_num(), gap[~there].nan_to_num()):
            breach(f"depth {value} in one pixel changed the {what} of another")
    found = gradients(model, mining_loss(output, target, less))
    expect_finite(found, f"with depth {value} in one pixel {{}}")
