"""Is a copy of a module what the module is, and a thing of its own?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from ._compare import tensor_difference

# The same as a snippet, for `{name}` and its copy `twin`.
LIKENESS = (
    "ours, theirs = {name}.state_dict(), twin.state_dict()\n"
    "assert type(twin) is type({name}) and list(ours) == list(theirs)\n"
    "for name, value in ours.items():\n"
    "    if isinstance(value, torch.Tensor) and value.numel():\n"
    "        assert torch.equal(value.nan_to_num(), theirs[name].nan_to_num()), name\n"
    "        assert value.data_ptr() != theirs[name].data_ptr(), name\n"
    "for path, part in {name}.named_modules():\n"
    "    for name, value in vars(part).items():\n"
    "        if isinstance(value, (int, float, str)) and not name.startswith('_'):\n"
    "            assert getattr(twin.get_submodule(path), name, value) == value, name"
)


def unlike(original: nn.Module, twin: nn.Module) -> str | None:
    """How a copy differs from its original, or what it shares with it, in words.

    Neither is run: types, states, and the numbers and words kept as attributes are compared.
    """
    if type(twin) is not type(original):
        return f"the copy of a {type(original).__name__} is a {type(twin).__name__}"
    ours, theirs = original.state_dict(), twin.state_dict()
    if list(ours) != list(theirs):
        names = sorted(set(ours) ^ set(theirs))
        return f"the states of copy and original do not both hold {', '.join(names[:4])}"
    for name, value in ours.items():
        if not isinstance(value, Tensor) or value.numel() == 0:
            continue
        words = tensor_difference(name, theirs[name], value, 0.0)
        if words:
            return f"in the copy {words}"
        if value.device.type != "meta" and value.data_ptr() == theirs[name].data_ptr():
            return f"the copy shares {name} with the original"
    for path, part in original.named_modules():
        try:
            other = twin.get_submodule(path)
        except AttributeError:
            return f"the copy lacks {path}"
        for name, value in vars(part).items():
            if isinstance(value, (int, float, str)) and not name.startswith("_"):
                found = getattr(other, name, value)
                if found != value and value == value:
                    attribute = f"{path}.{name}".lstrip(".")
                    return f"in the copy {attribute} is {found!r} in place of {value!r}"
    return None


def graph_leaves(tensor: Tensor) -> set[int]:
    """The ids of the tensors that a result's gradient arrives at.

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
    """Whether a copy holds, or its outputs come from, a parameter or buffer of its original."""
    ours = {id(tensor) for tensor in (*original.parameters(), *original.buffers())}
    theirs = {id(tensor) for tensor in (*twin.parameters(), *twin.buffers())}
    return bool(ours & theirs.union(*(graph_leaves(output) for output in outputs)))
