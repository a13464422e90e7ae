"""Masks as integers as wide as the floats that they mask, and comparisons on a CPU.

torch's arithmetic is vectorised on a CPU, but not its `where` and `masked_fill_`, nor comparisons
that write bools, which take several times as long. A bitwise mask takes any float, NaN and infinity
too; numpy compares with vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd import forward_ad

INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


def narrow_labels(target: Tensor, ignore_index: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The labels in integers as wide as a float of the dtype, and 1 where they are real, else 0.

    An ignored label may wrap; the second tensor is right all the same.
    """
    integer = INTEGERS[dtype]
    label = target.contiguous().to(integer)
    limits = torch.iinfo(integer)
    if limits.min <= ignore_index <= limits.max:
        return label, torch.ne(label, ignore_index, out=torch.empty_like(label))
    return label, (target != ignore_index).to(integer).contiguous()


def zero_where_ignored(values: Tensor, mask: Tensor) -> Tensor:
    """Set a map to 0 at ignored pixels, in place, whatever it holds there.

    ``mask`` has all bits of the labelled pixels and none of the ignored ones.
    """
    values.view(mask.dtype).bitwise_and_(mask)
    return values


def as_bool(flags: Tensor) -> Tensor:
    """Integers that are 0 or 1, as bools."""
    return flags.to(torch.uint8).view(torch.bool)


def is_eager(tensor: Tensor) -> bool:
    """Whether this is a plain CPU tensor whose operations run at once and are not recorded.

    torch has no public tests for most of this.
    """
    return (
        not torch.compiler.is_compiling()
        and type(tensor) is Tensor
        and tensor.is_cpu
        and forward_ad._current_level < 0
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        and not torch._C._functorch.is_legacy_batchedtensor(tensor)  # of `is_grads_batched`
    )


def array_of(tensor: Tensor) -> npt.NDArray[Any] | None:
    """The values as an array, to compare; None for tensors that numpy cannot or must not read."""
    if tensor.dtype == torch.bfloat16 or not is_eager(tensor):
        return None
    array: npt.NDArray[Any] = tensor.detach().resolve_neg().numpy()
    return array


def keep(values: Tensor, pixels: Tensor) -> Tensor:
    """``torch.where(pixels, values, 0)``: exactly 0 elsewhere, and so is the gradient."""
    fast = values.dtype in INTEGERS and values.shape == pixels.shape
    if not (fast and is_eager(values) and is_eager(pixels)):
        return torch.where(pixels, values, 0)
    if values.requires_grad and torch.is_grad_enabled():
        kept: Tensor = _Keep.apply(values, pixels)  # type: ignore[no-untyped-call]
        return kept
    return _masked(values, pixels)


def _masked(values: Tensor, pixels: Tensor) -> Tensor:
    # All bits of a value times 1 or 0.
    return values.view(INTEGERS[values.dtype]).mul(pixels).view(values.dtype)


class _Keep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, pixels: Tensor) -> Tensor:
        ctx.save_for_backward(pixels)
        return _masked(values, pixels)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return keep(grad, ctx.saved_tensors[0]), None
