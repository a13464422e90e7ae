"""Checks of a backbone under labels and depth that are partly missing."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

import lwm_loss.functional as LF
from lwm_loss import MultiTaskOutput

from .._compare import difference
from ..mining_loss import LOSS, mining_loss, truth
from ..registry import backbone_check
from ..report import CheckSkipped
from ..scenes import Scene
from ..search import breach, for_all, scenario
from ..subjects.network import BackboneProbe, parts
from .gradients import trainable


@backbone_check(
    "a hook or a custom autograd function that adds to the gradient or spreads it, a loss of its "
    "own that the network adds to what it returns, or outputs that are not finite (0 times inf)"
)
def check_ignored_pixels_send_no_gradient(probe: BackboneProbe) -> None:
    """Pixels without label and depth send exactly no gradient back through the network.

    Nothing at all arrives at parameters if every pixel is ignored, nothing at the logits of ignored
    pixels, and in evaluation nothing at an image all of whose pixels are ignored.

    Example:
        >>> check_ignored_pixels_send_no_gradient(torch.nn.Conv2d(3, 5, 1))
    """
    trainable(probe.model)
    logits = probe.require_output().logits
    _nothing_to_learn(probe, truth(logits, ignored="target[:]", missing="depth[:]"))
    _some_ignored(probe, truth(logits))
    _one_image_ignored(probe, truth(logits, ignored="target[1]", missing="depth[1]"))


def _nothing_to_learn(probe: BackboneProbe, facts: Scene) -> None:
    scene = probe.image()
    statement = (
        "mining_loss(model(image), target, depth).backward()\n"
        "for name, parameter in model.named_parameters():\n"
        "    assert parameter.grad is None or not parameter.grad.any(), name"
    )
    with scenario(LOSS + probe.code(scene, facts, after=statement, train=True)):
        model = probe.fresh(train=True)
        loss = mining_loss(
            probe.run(model, scene["image"].clone()), facts["target"], facts["depth"]
        )
        if not loss.requires_grad:
            raise CheckSkipped("no output carries a gradient, see check_outputs_carry_gradient")
        torch.autograd.backward(loss)
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and bool((parameter.grad != 0).any()):
                worst = float(parameter.grad.abs().max())
                breach(f"with every pixel ignored {name} has a gradient of up to {worst:.3g}")


def _some_ignored(probe: BackboneProbe, facts: Scene) -> None:
    scene = probe.image()
    statement = (
        "output = MultiTaskOutput.of(model(image))\n"
        "output.logits.retain_grad()\n"
        "mining_loss(output.logits, target, depth).backward()\n"
        "assert not output.logits.grad.movedim(1, -1)[target == 255].any()"
    )
    with scenario(LOSS + probe.code(scene, facts, after=statement, train=True)):
        output = probe.run(probe.fresh(train=True), scene["image"].clone())
        if not output.logits.requires_grad:
            return
        # Of the logits alone, for the depth branch may start from them.
        loss = mining_loss(MultiTaskOutput(output.logits), facts["target"], facts["depth"])
        (grad,) = torch.autograd.grad(loss, output.logits)
        at_ignored = grad.movedim(1, -1)[facts["target"] == 255]
        if bool((at_ignored != 0).any()):
            breach(f"at ignored pixels a gradient of up to {float(at_ignored.abs().max()):.3g}")


def _one_image_ignored(probe: BackboneProbe, facts: Scene) -> None:
    scene = probe.image()
    statement = (
        "image.requires_grad_()\n"
        "mining_loss(model(image * 1), target, depth).backward()\n"
        "assert not image.grad[1].any()"
    )
    with scenario(LOSS + probe.code(scene, facts, after=statement)):
        if _mixes_images(probe, scene["image"]):
            return  # check_sample_alone_equals_sample_in_batch says so
        image = scene["image"].requires_grad_()
        output = probe.run(probe.fresh(), image * 1)
        loss = mining_loss(output, facts["target"], facts["depth"])
        if not loss.requires_grad:
            return
        (grad,) = torch.autograd.grad(loss, image, allow_unused=True)
        if grad is not None and bool((grad[1] != 0).any()):
            worst = float(grad[1].abs().max())
            breach(f"an image without labels and depth gets a gradient of up to {worst:.3g}")


def _mixes_images(probe: BackboneProbe, image: torch.Tensor) -> bool:
    """Whether what the first image gives changes with the second."""
    with torch.no_grad():
        plain, other = (
            {name: part[:1] for name, part in parts(probe.run(probe.fresh(), each)).items()}
            for each in (image.clone(), torch.stack([image[0], 1 - image[1]]))
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
    log_depth = probe.require_output().log_depth
    if log_depth is None:
        raise CheckSkipped("the network predicts no depth")
    logits = probe.require_output().logits
    size = logits.shape[2:]
    if log_depth.shape[1:] not in (size, (1, *size)):
        raise CheckSkipped("log_depth does not fit the logits, see check_output_shapes")
    scene = probe.image()
    statement = (
        "import lwm_loss.functional as LF\n"
        "log_depth = MultiTaskOutput.of(model(image)).log_depth\n"
        "full = LF.log_depth_mse_loss(log_depth, depth, reduction='none')\n"
        "less = depth.clone()\n"
        "less[1, {y}, {x}] = {value}\n"
        "loss = LF.log_depth_mse_loss(log_depth, less, reduction='none')\n"
        "others = torch.ones_like(depth, dtype=torch.bool)\n"
        "others[1, {y}, {x}] = False\n"
        "assert torch.equal(loss[others], full[others])\n"
        "a, b = (torch.autograd.grad(x.sum(), log_depth, retain_graph=True)[0] "
        "for x in (full, loss))\n"
        "assert torch.equal(a.reshape_as(depth)[others], b.reshape_as(depth)[others])\n"
        "mining_loss(model(image), target, less).backward()\n"
        "for name, parameter in model.named_parameters():\n"
        "    assert parameter.grad is None or parameter.grad.isfinite().all(), name"
    )

    def hold(drawn: tuple[int, int, str]) -> None:
        row, column, value = drawn
        y, x = row % size[0], column % size[1]
        facts = truth(logits, missing="depth[0, 0, 0]")
        after = statement.format(y=y, x=x, value=value)
        with scenario(LOSS + probe.code(scene, facts, after=after, train=True)):
            model = probe.fresh(train=True)
            output = probe.run(model, scene["image"].clone())
            predicted, depth = output.log_depth, facts["depth"]
            if predicted is None or not predicted.requires_grad:
                return  # check_outputs_carry_gradient says so
            less = depth.clone()
            less[1, y, x] = float(value)
            there = torch.zeros_like(depth, dtype=torch.bool)
            there[1, y, x] = True
            maps = [LF.log_depth_mse_loss(predicted, d, reduction="none") for d in (depth, less)]
            grads = [torch.autograd.grad(m.sum(), predicted, retain_graph=True)[0] for m in maps]
            for what, (full, gap) in {"loss": maps, "gradient": grads}.items():
                full, gap = full.reshape_as(depth), gap.reshape_as(depth)
                if bool((gap[there] != 0).any()):
                    breach(f"the pixel whose depth is {value} has a {what}")
                if not torch.equal(full[~there].nan_to_num(), gap[~there].nan_to_num()):
                    breach(f"depth {value} in one pixel changed the {what} of another")
            loss = mining_loss(output, facts["target"], less)
            torch.autograd.backward(loss)
            for name, parameter in model.named_parameters():
                if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
                    breach(f"depth {value} in one pixel makes the gradient of {name} not finite")

    values = st.sampled_from(["0.0", "-1.0", "nan", "inf", "-inf"])
    strategy = st.tuples(st.integers(0, 40), st.integers(0, 40), values)
    for_all(strategy, hold, probe.effort, [(1, 1, "nan"), (1, 1, "0.0")])
