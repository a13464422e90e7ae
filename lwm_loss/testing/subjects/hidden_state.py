"""What a network knows without telling its `state_dict`."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..isolation import seed_all
from .signature import named_parameters

CLASSES = ("num_classes", "n_classes", "nclass", "classes", "num_labels", "out_channels")
# Arguments that may well download something.
HEAVY = ("pretrain", "weight", "checkpoint")


class Hidden(NamedTuple):
    """A tensor or a floating point number that is not in the `state_dict`.

    Attributes:
        owner: the path of the module that holds it.
        path: where the module has it, as code: ``scale``, ``blocks[0].weight``.
        value: the tensor or the number.
        declared: whether it is a buffer that was registered with ``persistent=False``.
    """

    owner: str
    path: str
    value: Tensor | float
    declared: bool = False

    @property
    def change(self) -> str:
        """The statement that gives it another value: an index stays one, in another place."""
        code = f"model.get_submodule({self.owner!r}).{self.path}"
        if not isinstance(self.value, Tensor):
            return f"{code} = {1.5 * self.value + 0.5!r}"
        if self.value.is_floating_point():
            return f"{code}.data.mul_(1.5).add_(0.5)"
        return f"{code}.data.copy_({code}.data.flip(-1))"


def _held_by(module: nn.Module, owner: str) -> Iterator[Hidden]:
    """Find the hidden values of one module, in plain attributes and in what these hold."""
    saved = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    for name in module._non_persistent_buffers_set:
        buffer = module._buffers.get(name)
        if buffer is not None:
            for path, item in _items(name, buffer, depth=0):
                yield Hidden(owner, path, item, declared=True)
    for name, value in vars(module).items():
        if name not in _TORCH_ATTRIBUTES:
            for path, item in _items(name, value, depth=3):
                if id(item) not in saved:
                    yield Hidden(owner, path, item)


_TORCH_ATTRIBUTES = frozenset(vars(nn.Module()))


def _items(path: str, value: Any, depth: int) -> Iterator[tuple[str, Tensor | float]]:
    """The tensors and numbers within a value, with the code of the way to them."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.ndim > 0:  # a count says nothing of itself
            yield path, value
    elif isinstance(value, float):
        yield path, value
    elif isinstance(value, nn.Module):
        for name, parameter in value.named_parameters():
            module, _, leaf = name.rpartition(".")
            yield f"{path}.get_submodule({module!r}).{leaf}", parameter
    elif depth > 0 and isinstance(value, (list, tuple)):
        for k, item in enumerate(value):
            yield from _items(f"{path}[{k}]", item, depth - 1)
    elif depth > 0 and isinstance(value, dict):
        for key, item in value.items():
            yield from _items(f"{path}[{key!r}]", item, depth - 1)


def lost_values(model: nn.Module, num_classes: int) -> list[Hidden]:
    """Find the hidden values that a new network would not have again.

    A module is built anew twice, with two random states, from the arguments that it keeps as
    attributes. What comes out the same is a constant, and needs no saving. Where a module cannot be
    built, a buffer that is declared as not persistent is taken at its word, a plain tensor is not.
    """
    lost = []
    for path, module in model.named_modules():
        held = list(_held_by(module, path))
        if not held:
            continue
        twins = [_rebuilt(module, num_classes, seed) for seed in (1, 2)]
        known = (_held_by(twin, path) for twin in twins if twin is not None)
        values = [{each.path: each.value for each in hidden} for hidden in known]
        lost += [hidden for hidden in held if _is_lost(hidden, values)]
    return lost


def _is_lost(hidden: Hidden, rebuilt: list[dict[str, Tensor | float]]) -> bool:
    ours = hidden.value
    drawn = isinstance(ours, Tensor) and ours.is_floating_point()
    if len(rebuilt) < 2:
        return drawn and not hidden.declared
    if not all(hidden.path in values for values in rebuilt):
        return drawn
    first, second = (values[hidden.path] for values in rebuilt)
    return not _same(first, second) or (isinstance(ours, Tensor) and not _same(ours, first))


def _same(a: Tensor | float, b: Tensor | float) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a.detach().cpu(), b.detach().cpu())
    return not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b


def _rebuilt(module: nn.Module, num_classes: int, seed: int) -> nn.Module | None:
    """Another module of the same class, from the arguments that the module remembers."""
    arguments: dict[str, Any] = {}
    try:
        for parameter in named_parameters(type(module)):
            name = parameter.name
            if any(word in name.lower() for word in HEAVY):
                return None
            if hasattr(module, name):
                arguments[name] = copy.deepcopy(getattr(module, name))
            elif name in CLASSES:
                arguments[name] = num_classes
            elif parameter.default is parameter.empty:
                return None
        seed_all(seed)
        return type(module)(**arguments)
    except Exception:
        return None
