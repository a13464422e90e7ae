"""Compare a copy of a module with its original, and find what the two share."""

from __future__ import annotations

import copy
import io
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .expect import breach, expect_same

T = TypeVar("T")


def deep_copy(subject: T) -> T:
    """Copy a subject as ``copy.deepcopy`` does; of a module in half the time.

    A module has a dozen dictionaries of hooks, nearly all of them empty, which are most of what a deep
    copy looks into. The copy gets empty ones of its own.
    """
    memo: dict[int, Any] = {}
    if isinstance(subject, nn.Module):
        memo = {
            id(value): OrderedDict()
            for module in subject.modules()
            for value in vars(module).values()
            if type(value) is OrderedDict and not value
        }
    return copy.deepcopy(subject, memo)


def load_state(model: nn.Module, other: nn.Module) -> None:
    """Load the state of another module, from a file."""
    file = io.BytesIO()
    torch.save(other.state_dict(), file)
    file.seek(0)
    model.load_state_dict(torch.load(file, weights_only=False))


def expect_whole_copy(original: nn.Module, twin: nn.Module) -> None:
    """Raise a `Breach` if a copy differs from its original, or shares something with it.

    Neither is run: types, states, and the numbers and words kept as attributes are compared.
    """
    if type(twin) is not type(original):
        breach(f"the copy of a {type(original).__name__} is a {type(twin).__name__}")
    ours, theirs = original.state_dict(), twin.state_dict()
    if list(ours) != list(theirs):
        names = sorted(set(ours) ^ set(theirs))
        breach(f"the states of copy and original do not both hold {', '.join(names[:4])}")
    for name, value in ours.items():
        if not isinstance(value, Tensor) or value.numel() == 0:
            continue
        expect_same({name: theirs[name]}, {name: value}, 0.0, "in the copy {}")
        if value.device.type != "meta" and value.data_ptr() == theirs[name].data_ptr():
            breach(f"the copy shares {name} with the original")
    for path, part in original.named_modules():
        try:
            other = twin.get_submodule(path)
        except AttributeError:
            breach(f"the copy lacks {path}")
        for name, value in vars(part).items():
            if isinstance(value, (int, float, str)) and not name.startswith("_"):
                found = getattr(other, name, value)
                if found != value and value == value:
                    attribute = f"{path}.{name}".lstrip(".")
                    breach(f"in the copy {attribute} is {found!r} in place of {value!r}")


def graph_leaves(tensor: Tensor) -> set[int]:
    """Return the ids of the tensors that a result's gradient arrives at.

    Example:
        >>> import torch
        >>> weight = torch.ones(2, requires_grad=True)
        >>> graph_leaves(2 * weight) == {id(weight)}
        True
    """
    found, seen = set(), set()
    nodes: list[Any] = [tensor.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        nodes += [parent for parent, _ in node.next_functions]
    return found


def is_tied(original: nn.Module, twin: nn.Module, outputs: Iterable[Tensor]) -> bool:
    """Tell whether a copy holds, or its outputs come from, a tensor of its original."""
    ours = {id(tensor) for tensor in (*original.parameters(), *original.buffers())}
    theirs = {id(tensor) for tensor in (*twin.parameters(), *twin.buffers())}
    return bool(ours & theirs.union(*(graph_leaves(output) for output in outputs)))
