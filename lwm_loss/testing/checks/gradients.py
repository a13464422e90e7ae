"""Checks of a backbone's gradients: there, finite, everywhere, and of use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lwm_loss import MultiTaskOutput

from .._backbone import BackboneProbe, parts, stir
from .._inputs import CORNERS, Picture, pictures
from .._objective import mining_loss, truth
from .._property import breach, for_all, scenario
from .._registry import backbone_check
from .._report import CheckSkipped
from .outputs import not_finite

# Whose unused parameters their user can neither connect nor remove.
LIBRARIES = ("transformers", "timm", "torchvision", "segmentation_models_pytorch")

_STEPS = 8
_GAIN = 2e-3
# Gentle first: a deep network without batch norm is thrown far off by the others.
_RATES = (3e-4, 3e-3, 1e-2)


def projection(output: MultiTaskOutput) -> Tensor:
    """A random linear function of all outputs: nothing that they say cancels out."""
    noise = torch.Generator().manual_seed(7)
    total = output.logits.new_zeros((), dtype=torch.float32)
    for part in parts(output).values():
        weight = torch.randn(part.shape, generator=noise).to(part.device)
        total = total + (part.float() * weight).mean()
    return total


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are to be trained; skips the check if there are none."""
    found = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not found:
        raise CheckSkipped("the network has no trainable parameters")
    return found


@backbone_check(
    "a square root, a norm or a log at 0, a division by what vanishes, or a where() whose branch "
    "not taken is infinite"
)
def check_finite_gradients(probe: BackboneProbe) -> None:
    """The objective of a training step has a finite gradient for every image that may come.

    Example:
        >>> check_finite_gradients(torch.nn.Conv2d(3, 5, 1))
    """
    trainable(probe.model)
    facts = truth(probe.require_output().logits)
    statement = (
        "loss = mining_loss(model(image), target, depth)\nloss.backward()\n"
        "for name, parameter in model.named_parameters():\n"
        "    assert parameter.grad is None or parameter.grad.isfinite().all(), name"
    )

    def hold(picture: Picture) -> None:
        scene = probe.image(picture)
        with scenario(_with_loss(probe.code(scene, facts, after=statement, train=True))):
            model = probe.fresh(train=True)
            output = probe.run(model, scene["image"])
            if not_finite(parts(output)):
                return  # check_finite_outputs says so
            loss = mining_loss(output, facts["target"], facts["depth"])
            if not loss.requires_grad:
                return  # check_outputs_carry_gradient says so
            torch.autograd.backward(loss)
            grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
            found = not_finite(grads)
            if found:
                breach(f"the gradient of {found} for an image of {picture.kind!r}")

    for_all(pictures(), hold, probe.effort, CORNERS)


def _with_loss(code: str) -> str:
    return "from lwm_loss.testing import mining_loss\n" + code


@backbone_check(
    "a layer that forward never calls, a .detach(), .data or torch.no_grad() on the way, a value "
    "rebuilt from numbers (torch.tensor(x), .item(), numpy), or a product with 0; freeze on "
    "purpose by requires_grad_(False)"
)
def check_every_parameter_receives_a_gradient(probe: BackboneProbe) -> str:
    """Every trainable parameter receives a gradient that is not zero from some output.

    Several passes are made, for stochastic depth may pass over a layer; what is still zero gets a
    pass with stirred parameters and a larger image. Parameters that a model of an installed
    library (transformers, timm, torchvision, segmentation_models_pytorch) holds and does not use
    are named in a remark and do not fail the check as long as the rest of that model is trained.

    Example:
        >>> check_every_parameter_receives_a_gradient(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_output()
    waiting = set(trainable(probe.model))
    reached: set[str] = set()
    height, width = probe.image_size
    passes = [(seed, False, probe.image_size) for seed in range(3)]
    passes += [(3, True, probe.image_size), (4, True, (2 * height, 2 * width))]
    statement = (
        "output = MultiTaskOutput.of(model(image))\n"
        "parts = [output.logits, output.log_depth, *output.side_logits]\n"
        "sum((part * torch.randn_like(part)).mean() for part in parts if part is not None)"
        ".backward()\n"
        "for name, parameter in model.named_parameters():\n"
        "    if parameter.requires_grad:\n"
        "        assert parameter.grad is not None and parameter.grad.any(), name"
    )
    code = probe.code(probe.image(), after=statement, train=True)
    with scenario(code):
        for seed, stirred, size in passes:
            try:
                found = _reached(probe, seed, stirred, size)
            except Exception:
                if size == probe.image_size and not stirred:
                    raise
                continue  # it need not run at another size, or with other parameters
            reached |= found
            waiting -= found
            if not waiting:
                return ""
        unused, ours = _library_owned(probe.model, waiting, reached)
        if ours:
            names = ", ".join(sorted(ours)[:4]) + (", ..." if len(ours) > 4 else "")
            breach(f"{len(ours)} without a gradient, or with one of exactly 0: {names}")
    return f"unused within an installed library, freeze them: {', '.join(sorted(unused))}"


def _reached(probe: BackboneProbe, seed: int, stirred: bool, size: tuple[int, int]) -> set[str]:
    model = probe.fresh(train=True)
    if stirred:
        stir(model)
    image = probe.image(Picture("noise", seed), size=size)["image"]
    loss = projection(probe.run(model, image, seed))
    if not loss.requires_grad:
        return set()
    torch.autograd.backward(loss)
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and bool((parameter.grad != 0).any())
    }


def _library_owned(
    model: nn.Module, waiting: set[str], reached: set[str]
) -> tuple[set[str], set[str]]:
    """Splits what waits for a gradient into a library's own, in a model that trains, and ours."""
    roots: list[str] = []  # of models that a library made
    owners = {}  # the innermost module of each parameter that torch itself did not make
    for path, module in model.named_modules():
        package = type(module).__module__.split(".")[0]
        prefix = f"{path}." if path else ""
        if package in LIBRARIES and not any(prefix.startswith(root) for root in roots):
            roots.append(prefix)
        if package != "torch":
            owners[prefix] = package
    library = set()
    for name in waiting:
        owner = max((prefix for prefix in owners if name.startswith(prefix)), key=len, default=None)
        root = next((root for root in roots if name.startswith(root)), None)
        if owner is not None and owners[owner] in LIBRARIES and root is not None:
            trains = any(other.startswith(root) for other in reached)
            if trains:
                library.add(name)
    return library, waiting - library


@backbone_check(
    "an output that is detached, or computed under torch.no_grad() or from detached features: that "
    "branch then teaches the encoder nothing; or images of the batch that are detached"
)
def check_outputs_carry_gradient(probe: BackboneProbe) -> None:
    """In training every output carries a gradient, equally far back, from each image of a batch.

    Example:
        >>> check_outputs_carry_gradient(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_output()
    trainable(probe.model)
    scene = probe.image()
    statement = (
        "image.requires_grad_()\noutput = MultiTaskOutput.of(model(image * 1))\n"
        "for part in (output.logits, output.log_depth, *output.side_logits):\n"
        "    if part is not None:\n"
        "        assert part.requires_grad\n"
        "        (grad,) = torch.autograd.grad(part.sum(), image, retain_graph=True, "
        "allow_unused=True)\n"
        "        assert grad is not None\n"
        "for scores in output.logits:\n"
        "    model.zero_grad()\n"
        "    (scores * torch.randn_like(scores)).mean().backward(retain_graph=True)\n"
        "    assert any(p.grad is not None and p.grad.any() for p in model.parameters())"
    )
    with scenario(probe.code(scene, after=statement, train=True)):
        model = probe.fresh(train=True)
        image = scene["image"].requires_grad_()
        # Not the leaf itself, so that a network that writes to its input is not stopped by it.
        output = probe.run(model, image * 1)
        for name, part in parts(output).items():
            if not part.requires_grad:
                breach(f"{name} does not require a gradient")
        weights = list(trainable(model).values())
        reach = {}
        for name, part in parts(output).items():
            grads = torch.autograd.grad(
                part.float().sum(), [image, *weights], retain_graph=True, allow_unused=True
            )
            reach[name] = grads[0] is not None
            if all(grad is None for grad in grads[1:]):
                breach(f"the gradient of {name} reaches no trainable parameter")
        for name, reaches in reach.items():
            for other, goes_on in reach.items():
                if goes_on and not reaches:
                    breach(f"the gradient of {other} reaches the image, that of {name} does not")
        taught = [_teaches(output.logits, k, weights) for k in range(len(output.logits))]
        if any(taught) and not all(taught):
            k = taught.index(False)
            breach(f"the logits of image {k} of {len(taught)} have no gradient")


def _teaches(logits: Tensor, k: int, weights: list[nn.Parameter]) -> bool:
    """Whether the logits of one image of the batch have a gradient."""
    noise = torch.Generator().manual_seed(7)
    one = logits[k].float()
    projected = (one * torch.randn(one.shape, generator=noise).to(one.device)).mean()
    grads = torch.autograd.grad(projected, weights, retain_graph=True, allow_unused=True)
    return any(grad is not None and bool((grad != 0).any()) for grad in grads)


@backbone_check(
    "a gradient of the wrong sign (a reversal layer, a loss already negated), an output that is "
    "detached, parameters replaced in forward, or a batch norm that stays in evaluation"
)
def check_learns_one_batch(probe: BackboneProbe) -> None:
    """A few steps on one batch lower the objective, and the loss of each output by itself.

    Every step draws the same dropout. Adam gets three learning rates, one must do.

    Example:
        >>> check_learns_one_batch(torch.nn.Conv2d(3, 5, 1))
    """
    trainable(probe.model)
    logits = probe.require_output().logits
    if logits.shape[1] == 1:
        raise CheckSkipped("with one class there is nothing to learn")
    scene, facts = probe.image(), truth(logits)
    with torch.no_grad():
        names = list(parts(probe.run(probe.fresh(train=True), scene["image"])))
    for name in ["objective", *names]:
        term = _TERMS[name.split("[")[0]].format(name=name)
        statement = _LEARN.format(term=term, image_size=probe.image_size)
        with scenario(_with_loss(probe.code(scene, facts, after=statement, train=True))):
            found = ""
            for rate in _RATES:
                found = _learn(probe, scene["image"], facts["target"], facts["depth"], name, rate)
                if not found:
                    break
            if found:
                breach(found)


_TERMS = {
    "objective": "mining_loss(output, target, depth)",
    "logits": "F.cross_entropy(output.logits, target, ignore_index=255)",
    "log_depth": "LF.log_depth_mse_loss(output.log_depth, depth)",
    "side_logits": (
        "F.cross_entropy(F.interpolate(output.{name}, target.shape[1:]), target, ignore_index=255)"
    ),
}
_LEARN = (
    "import lwm_loss.functional as LF\nfrom torch.nn import functional as F\n"
    "gains = []\n"
    f"for rate in {_RATES}:\n"
    "    trained, losses = copy.deepcopy(model), []\n"
    "    optimizer = torch.optim.Adam([p for p in trained.parameters() if p.requires_grad], rate)\n"
    f"    for _ in range({_STEPS + 1}):\n"
    "        torch.manual_seed(0)\n"
    "        output = MultiTaskOutput.of(trained(image))\n"
    "        loss = {term}\n"
    "        losses.append(loss.item())\n"
    "        optimizer.zero_grad()\n"
    "        loss.backward()\n"
    "        optimizer.step()\n"
    "    gains.append(losses[0] - min(losses))\n"
    "assert max(gains) > 0, gains"
)


def _learn(
    probe: BackboneProbe, image: Tensor, target: Tensor, depth: Tensor, name: str, rate: float
) -> str:
    """Empty if the loss falls; else what it did."""
    model = probe.fresh(train=True)
    optimizer = torch.optim.Adam(trainable(model).values(), rate)
    first, last = 0.0, 0.0
    for step in range(_STEPS + 1):
        output = probe.run(model, image.clone())
        loss = _loss_of(output, name, target, depth)
        if loss is None:
            return ""
        last = float(loss)
        first = last if step == 0 else first
        if last < (1 - _GAIN) * first or first == 0:
            return ""
        if step < _STEPS:
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return f"the loss of {name} went from {first:.4g} to {last:.4g} in {_STEPS} steps of Adam"


def _loss_of(output: MultiTaskOutput, name: str, target: Tensor, depth: Tensor) -> Tensor | None:
    if name == "objective":
        return mining_loss(output, target, depth)
    part = parts(output)[name].float()
    if name == "log_depth":
        known = depth.isfinite()
        flat = part.squeeze(1) if part.ndim == 4 else part
        if flat.shape != depth.shape:
            return None  # check_output_shapes says so
        gap = flat - torch.where(known, depth, 1).log()
        return torch.where(known, gap, 0).square().sum() / known.sum()
    if name != "logits":
        if part.ndim != 4 or part.shape[:2] != output.logits.shape[:2]:
            return None
        part = nn.functional.interpolate(part, target.shape[1:])
    return nn.functional.cross_entropy(part, target, ignore_index=255)
