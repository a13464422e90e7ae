"""A backbone's gradients: they are there, finite, and reach every parameter."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from lwm_loss import MultiTaskOutput

from ..calls import gradients, parts, projection, run
from ..expect import breach, expect_finite, not_finite
from ..mining_loss import mining_loss
from ..registry import backbone_check
from ..subjects.network import BackboneProbe
from ..warm_up import stir

# Whose unused parameters their user can neither connect nor remove.
LIBRARIES = ("transformers", "timm", "torchvision", "segmentation_models_pytorch")


@backbone_check(
    "a square root, a norm or a log at 0, a division by what vanishes, or a where() whose branch "
    "not taken is infinite",
    requires=BackboneProbe.require_trainable,
    run=partial(BackboneProbe.for_all_pictures, modes=[True]),
)
def check_finite_gradients(
    model: nn.Module, image: Tensor, target: Tensor, depth: Tensor, kind: str
) -> None:
    """The objective of a training step has a finite gradient for every image that may come."""
    output = run(model, image)
    if not not_finite(parts(output)):  # else check_finite_outputs says so
        found = gradients(model, mining_loss(output, target, depth))
        expect_finite(found, f"{{}} for an image of {kind!r}")


@backbone_check(
    "a layer that forward never calls, a .detach(), .data or torch.no_grad() on the way, a value "
    "rebuilt from numbers (torch.tensor(x), .item(), numpy), or a product with 0; freeze on "
    "purpose by requires_grad_(False)",
    requires=BackboneProbe.require_trainable,
    run=partial(BackboneProbe.check, train=True),
)
def check_every_parameter_receives_a_gradient(model: nn.Module, image: Tensor) -> str:
    """Every trainable parameter receives a gradient that is not zero from some output.

    Several passes are made, for stochastic depth may pass over a layer; what is still zero gets a
    pass with stirred parameters and a larger image. Parameters that a model of an installed
    library (transformers, timm, torchvision, segmentation_models_pytorch) holds and does not use
    are named in a remark and do not fail the check as long as the rest of that model is trained.
    """
    waiting = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    reached: set[str] = set()
    for k in range(5):
        if k == 3:
            stir(model)
        model.zero_grad()
        height, width = (side * (1 if k < 4 else 2) for side in image.shape[2:])
        noise = torch.Generator().manual_seed(k)
        try:
            loss = projection(
                run(model, torch.randn(2, 3, height, width, generator=noise).to(image), k)
            )
        except Exception:
            if k < 3:
                raise
            continue  # it need not run at another size, or with other parameters
        if loss.requires_grad:
            torch.autograd.backward(loss)
        for name, parameter in model.named_parameters():
            if parameter.grad is not None and bool((parameter.grad != 0).any()):
                reached.add(name)
        waiting -= reached
        if not waiting:
            return ""
    unused = _library_owned(model, waiting, reached)
    ours = waiting - unused
    if ours:
        names = ", ".join(sorted(ours)[:4]) + (", ..." if len(ours) > 4 else "")
        breach(f"{len(ours)} without a gradient, or with one of exactly 0: {names}")
    return f"unused within an installed library, freeze them: {', '.join(sorted(unused))}"


def _library_owned(model: nn.Module, waiting: set[str], reached: set[str]) -> set[str]:
    """Find what waits for a gradient and is a library's own, in a model that trains."""
    packages = {
        f"{path}." if path else "": type(module).__module__.split(".")[0]
        for path, module in model.named_modules()
    }

    def is_owned(name: str) -> bool:
        """Whether a library made the innermost module around it that torch did not make."""
        around = [place for place in packages if name.startswith(place)]  # from the outside in
        made = [packages[place] for place in around if packages[place] != "torch"]
        root = next((place for place in around if packages[place] in LIBRARIES), None)
        trains = root is not None and any(other.startswith(root) for other in reached)
        return trains and made[-1] in LIBRARIES

    return {name for name in waiting if is_owned(name)}


@backbone_check(
    "an output that is detached, or computed under torch.no_grad() or from detached features: that "
    "branch then teaches the encoder nothing; or images of the batch that are detached",
    requires=BackboneProbe.require_trainable,
    run=partial(BackboneProbe.check, train=True),
)
def check_outputs_carry_gradient(model: nn.Module, image: Tensor) -> None:
    """In training every output carries a gradient, equally far back, from each image of a batch."""
    image.requires_grad_()
    output = run(model, image)
    for name, part in parts(output).items():
        if not part.requires_grad:
            breach(f"{name} does not require a gradient")
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    reach = {}
    for name, part in parts(output).items():
        total = part.float().sum()
        grads = torch.autograd.grad(total, [image, *weights], retain_graph=True, allow_unused=True)
        reach[name] = grads[0] is not None
        if all(grad is None for grad in grads[1:]):
            breach(f"the gradient of {name} reaches no trainable parameter")
    far = [name for name, reaches in reach.items() if reaches]
    for name, reaches in reach.items():
        if far and not reaches:
            breach(f"the gradient of {far[0]} reaches the image, that of {name} does not")
    taught = [_teaches(output.logits, k, weights) for k in range(len(output.logits))]
    if any(taught) and not all(taught):
        breach(f"the logits of image {taught.index(False)} of {len(taught)} have no gradient")


def _teaches(logits: Tensor, k: int, weights: list[nn.Parameter]) -> bool:
    """Whether the logits of one image of the batch have a gradient."""
    total = projection(MultiTaskOutput(logits[k]))
    grads = torch.autograd.grad(total, weights, retain_graph=True, materialize_grads=True)
    return any(bool((grad != 0).any()) for grad in grads)
