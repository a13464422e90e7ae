"""Checks of a backbone's gradients: there, finite, everywhere, and of use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lwm_loss import MultiTaskOutput

from ..mining_loss import LOSS, mining_loss, truth
from ..registry import backbone_check
from ..report import CheckSkipped
from ..scenes import CORNERS, Picture, pictures
from ..search import breach, for_all, scenario
from ..subjects.network import BackboneProbe, parts
from ..warm_up import stir
from .outputs import not_finite

# Whose unused parameters their user can neither connect nor remove.
LIBRARIES = ("transformers", "timm", "torchvision", "segmentation_models_pytorch")


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
        with scenario(LOSS + probe.code(scene, facts, after=statement, train=True)):
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
