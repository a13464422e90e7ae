"""Checks of options and of single arguments, and the one sentence in which each fails."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

PIXEL = "pixel"
Cells = Sequence[int] | str
# Older releases of torch do not tell.
is_exporting = getattr(torch.compiler, "is_exporting", lambda: False)


def fail(expected: str, got: str, hint: str | None = None) -> ValueError:
    """The one sentence in which every wrong value is reported."""
    end = f": {hint}" if hint else "."
    return ValueError(f"Expected {expected}, but got {got}{end}")


def require_tensor(value: Any, name: str) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"Expected `{name}` to be a torch.Tensor, but got {type(value).__name__}.")


def require_choice(value: Any, name: str, choices: Iterable[str]) -> None:
    known = list(choices)
    if value not in known:
        raise fail(f"`{name}` to be one of {known}", repr(value))


def require_finite(value: Any, name: str, *, minimum: float = 0.0, strict: bool = False) -> float:
    """A finite number that is at least ``minimum`` (greater than it if ``strict``)."""
    bound = f"{'greater than' if strict else 'at least'} {minimum:g}"
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"Expected `{name}` to be a number, but got {type(value).__name__}.")
    if not math.isfinite(value) or value < minimum or (strict and value == minimum):
        raise fail(f"`{name}` to be finite and {bound}", repr(value))
    return float(value)


def require_int(value: Any, name: str, *, minimum: int | None = None) -> int:
    """An int, also one of numpy's, which arrays and tables of options yield."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"Expected `{name}` to be an int, but got {type(value).__name__}.")
    if minimum is not None and value < minimum:
        raise fail(f"`{name}` to be at least {minimum}", repr(value))
    return int(value)


def require_ignore_index(value: Any, name: str = "ignore_index") -> int:
    """A label as int64 holds it."""
    if not -(1 << 63) <= require_int(value, name) < 1 << 63:
        raise fail(f"`{name}` to fit into 64 bits", repr(value))
    return int(value)


def require_bool(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"Expected `{name}` to be True or False, but got {value!r}.")
    return value


def require_object(value: Any, name: str, expected: str) -> None:
    """Refuse what cannot be called on tensors: None, a number, a string, or a class."""
    if isinstance(value, type):
        raise TypeError(
            f"Expected `{name}` to be {expected}, but got the class {value.__name__}: "
            f"did you mean {value.__name__}(...)?"
        )
    if not callable(value):
        plain = isinstance(value, (str, int, float))
        got = f"{type(value).__name__} {value!r}" if plain else type(value).__name__
        raise TypeError(f"Expected `{name}` to be {expected}, but got {got:.80}.")


def is_transformed(tensor: Tensor) -> bool:
    """Whether a torch.func transform such as vmap or grad wraps the tensor.

    torch has no public test for this.
    """
    if torch.compiler.is_compiling():
        return False
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(tensor))


def can_read(tensor: Tensor) -> bool:
    """Whether the values may be read: a real CPU tensor, neither traced nor transformed.

    A subclass that only adds to torch functions (MONAI's MetaTensor) holds its values like a tensor;
    one that takes over dispatch (a fake or a functional tensor) may hold none.
    """
    own_dispatch = type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__
    if torch.compiler.is_compiling() or own_dispatch:
        return False
    return tensor.device.type == "cpu" and not is_transformed(tensor)


def same_size(one: torch.Size, other: torch.Size) -> bool:
    """Whether two sizes are equal, or in an exported graph: whether they are so by construction.

    Elsewhere the answer may become a guard. An export with dynamic sizes refuses what it cannot
    prove, such as that half a height never equals the height. Interpolation to a size that is equal
    after all changes nothing.
    """
    if is_exporting():
        from torch.fx.experimental.symbolic_shapes import statically_known_true  # loads sympy

        return all(statically_known_true(a == b) for a, b in zip(one, other))
    return one == other


def require_same_device(reference: Tensor, name: str, **others: Tensor | None) -> None:
    for other_name, other in others.items():
        if other is None:
            continue
        require_tensor(other, other_name)
        if other.device != reference.device:
            raise fail(
                f"`{other_name}` on the device of `{name}`, {reference.device}",
                str(other.device),
                f"did you forget {other_name}.to({str(reference.device)!r})?",
            )


def require_class_weight(weight: Any, logits: Tensor) -> None:
    """Raise unless class weights are one for each class of the scores, on their device."""
    require_tensor(weight, "weight")
    require_same_device(logits, "logits", weight=weight)
    classes = logits.shape[1]
    if weight.shape != (classes,):
        raise fail(
            f"`weight` to hold one weight for each of the {classes} classes of the scores, "
            f"shape ({classes},)",
            f"shape {shape_of(weight)}",
        )


def require_depth(value: Any, name: str) -> Tensor:
    """Raise unless the value is a floating point tensor."""
    require_tensor(value, name)
    depth: Tensor = value
    if not depth.is_floating_point():
        raise TypeError(
            f"Expected `{name}` to be floating point, but got dtype {depth.dtype}: "
            f"did you mean {name}.float()?"
        )
    return depth


def require_mask(value: Any, name: str) -> Tensor:
    """Raise unless the value is a bool tensor."""
    require_tensor(value, name)
    mask: Tensor = value
    if mask.dtype != torch.bool:
        raise TypeError(
            f"Expected `{name}` to be bool, but got dtype {mask.dtype}: did you mean {name}.bool()?"
        )
    return mask


def shape_of(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def check_cells(cells: Any) -> tuple[int, ...] | str:
    """A grid (h, w) or (d, h, w) of at least one cell an axis, or ``"pixel"``."""
    if cells == PIXEL:
        return PIXEL
    if isinstance(cells, str) or not isinstance(cells, Sequence) or len(cells) not in (2, 3):
        raise fail('`cells` to be (h, w), (d, h, w) or "pixel"', repr(cells))
    return tuple(require_int(count, "cells", minimum=1) for count in cells)


def check_depth_range(depth_range: Any) -> tuple[float, float]:
    if not isinstance(depth_range, Sequence) or len(depth_range) != 2:
        raise fail("`depth_range` to be a pair (low, high)", repr(depth_range))
    low = require_finite(depth_range[0], "depth_range")
    high = require_finite(depth_range[1], "depth_range")
    if not low < high:
        raise fail("`depth_range` to be (low, high) with low < high", repr(depth_range))
    return low, high
