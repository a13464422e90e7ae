"""The one-pass cross-entropy as custom operators, so that compilers and autograd see through it."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

from .._bits import is_eager
from .._pixels import map_dtype
from . import chunked, two_classes
from .reference import pixel_cross_entropy as reference
from .settings import Settings

# The schemas are spelt out because older releases of torch cannot read them off the annotations,
# and flat because an operator takes no objects: what follows the tensors makes a `Settings`.
SETTINGS = "Tensor? weight, int ignore_index, float label_smoothing"


def _without_autocast() -> contextlib.AbstractContextManager[None]:
    enabled = torch.is_autocast_enabled("cpu")
    return torch.autocast("cpu", enabled=False) if enabled else contextlib.nullcontext()


def forward_on_cpu(logits: Tensor, target: Tensor, *settings: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Loss and Delta of each pixel, and what backward needs of it; see :mod:`.chunked`."""
    with _without_autocast():
        return chunked.forward(logits, target, Settings(*settings))


def backward_on_cpu(
    grad: Tensor, logits: Tensor, target: Tensor, top: Tensor, *settings: Any
) -> Tensor:
    """Gradient of the logits; see :mod:`.chunked`."""
    with _without_autocast():
        return chunked.backward(grad, logits, target, top, Settings(*settings))


fused_forward = torch.library.custom_op(
    "lwm_loss::pixel_cross_entropy",
    forward_on_cpu,
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor logits, Tensor target, {SETTINGS}) -> (Tensor, Tensor, Tensor)",
)
fused_backward = torch.library.custom_op(
    "lwm_loss::pixel_cross_entropy_backward",
    backward_on_cpu,
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor grad, Tensor logits, Tensor target, Tensor top, {SETTINGS}) -> Tensor",
)


@fused_forward.register_kernel("cuda")
def _(logits: Tensor, target: Tensor, *settings: Any) -> tuple[Tensor, Tensor, Tensor]:
    from . import launch  # here, because a torch without CUDA has no triton

    with torch.cuda.device(logits.device):  # Triton launches on the current one
        return launch.forward(logits, target, Settings(*settings))


@fused_backward.register_kernel("cuda")
def _(grad: Tensor, logits: Tensor, target: Tensor, top: Tensor, *settings: Any) -> Tensor:
    from . import launch

    with torch.cuda.device(logits.device):
        return launch.backward(grad, logits, target, top, Settings(*settings))


@fused_forward.register_fake
def _(logits: Tensor, target: Tensor, *settings: Any) -> tuple[Tensor, Tensor, Tensor]:
    loss = target.new_empty(target.shape, dtype=map_dtype(logits))
    wrong = target.new_empty(target.shape, dtype=torch.bool)
    of_two = loss.device.type == "cpu" and two_classes.fits(logits, target, Settings(*settings))
    return loss, wrong, loss.new_empty(1 if of_two else 2, *loss.shape)


@fused_backward.register_fake
def _(grad: Tensor, logits: Tensor, target: Tensor, top: Tensor, *settings: Any) -> Tensor:
    return torch.empty_like(logits)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, target, weight, ctx.ignore_index, ctx.label_smoothing = inputs
    _, wrong, top = output
    ctx.mark_non_differentiable(wrong, top)
    ctx.set_materialize_grads(False)  # zeros for the two would take as long as the gradient
    ctx.save_for_backward(logits, target, weight, top)


def _backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    if grad is None:  # nobody asked for the loss's own gradient
        return (None,) * 5
    logits, target, weight, top = ctx.saved_tensors
    settings = Settings(weight, ctx.ignore_index, ctx.label_smoothing)
    if torch.is_grad_enabled():
        # Somebody asked for a graph of the gradient itself: the plain form has one.
        loss, _wrong = reference(logits, target, settings)
        (grad_logits,) = torch.autograd.grad(loss, logits, grad, create_graph=True)
    else:
        eager = is_eager(grad) and is_eager(logits)
        run: Any = backward_on_cpu if eager else fused_backward
        grad_logits = run(grad, logits, target, top, *settings)
    return grad_logits, None, None, None, None


fused_forward.register_autograd(_backward, setup_context=_setup_context)


class EagerCrossEntropy(torch.autograd.Function):
    """The forward operator where nothing records it.

    torch's Python around a custom operator takes longer than the loss of a small crop, and its first
    call loads the compiler.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        output = forward_on_cpu(*inputs)
        _setup_context(ctx, inputs, output)
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return _backward(ctx, *grads)
