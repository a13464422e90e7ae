"""A backbone that is saved or copied."""

from __future__ import annotations

import copy
import io
import pickle
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from ..calls import copied, gradients, outputs, parts, projection, run
from ..copying import expect_whole_copy, graph_leaves, load_state
from ..expect import CheckSkipped, breach, expect_same
from ..registry import backbone_check
from ..scenes import Scene
from ..subjects.hidden_state import lost_values
from ..subjects.network import BackboneProbe


@backbone_check(
    "a tensor kept as a plain attribute or in a list in place of a parameter or a buffer, a random "
    "or learnt buffer with persistent=False, a Python number that training changes, or a "
    "state_dict() or load_state_dict() that leaves keys out"
)
def check_state_dict_round_trip(probe: BackboneProbe) -> None:
    """A network that loads the state of a trained one gives what that one gives.

    The trained one has other parameters, has seen batches in training, and has other values in all
    hidden places that are drawn at random when it is built.
    """
    if not probe.copyable:
        raise CheckSkipped("a network that cannot be copied is alone, see check_deep_copy")
    lost = lost_values(probe.fresh(warm=False), probe.require_output().logits.shape[1])
    changes = [hidden.change for hidden in lost] or ["pass"]
    disturb = Scene("\n    ".join(["def disturb(model):", *changes]))
    names = ", ".join(f"{h.owner}.{h.path}".lstrip(".") for h in lost)
    lacks = f"; the state_dict lacks {names}" if names else ""
    probe.check(state_is_whole, disturb, train=True, warm=False, lacks=lacks)


def state_is_whole(
    model: nn.Module, image: Tensor, disturb: Callable[[nn.Module], None], lacks: str
) -> None:
    """Change a network as training does, and load its state into one that has not changed."""
    new = copied(model).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.add_(0.1 * parameter.abs().mean() * torch.randn_like(parameter))
        for _ in range(2):
            run(model, image)
        disturb(model)
    load_state(new, model)
    expected = outputs(model.eval(), image)
    expect_same(outputs(new, image), expected, 1e-5, f"{{}} after the state was loaded{lacks}")


@backbone_check(
    "a lock, a file or a generator kept as an attribute, a tensor of the last forward kept with its "
    "graph, a lambda or a hook that holds on to the original network, or a __deepcopy__ or "
    "__getstate__ that forgets or shares a part"
)
def check_deep_copy(probe: BackboneProbe) -> None:
    """A deep copy gives what the original gives, after training too, and shares nothing with it."""
    probe.check(deep_copy_is_whole, original=True)
    probe.check(deep_copy_gives_the_same, train=True)


def deep_copy_is_whole(model: nn.Module) -> None:
    """Compare a copy with the network itself, without running either."""
    expect_whole_copy(model, copy.deepcopy(model))


def deep_copy_gives_the_same(model: nn.Module, image: Tensor) -> None:
    """Copy a network after a step of training, and change it."""
    gradients(model, projection(run(model, image)))
    twin = copy.deepcopy(model)
    before = outputs(model.eval(), image)
    expect_same(outputs(twin.eval(), image), before, 1e-5, "from the copy {}")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.add_(0.1)
    changed = "when the original changes, from the copy {}"
    expect_same(outputs(twin, image), before, 1e-5, changed)
    used = [
        {leaf for part in parts(run(each, image)).values() for leaf in graph_leaves(part)}
        for each in (model, twin)
    ]
    if used[0] & used[1]:
        breach("the copy still uses a parameter of the original")


@backbone_check(
    "a lambda or a function defined within a function kept as an attribute, a hook of that kind, a "
    "lock, a file or a generator, or a __getstate__ that forgets a part"
)
def check_pickle(probe: BackboneProbe) -> None:
    """A pickled network comes back and gives what the original gives, after training too.

    Hooks that transformers puts on its own modules at the first call are left out: they are local
    functions, which pickle refuses, and not the network's own. A network with a class that stands
    inside a function, or in a ``__main__`` that is not there, is skipped: pickle finds classes by
    their names.
    """
    for module in probe.model.modules():
        _require_name(type(module))
    probe.check(pickle_is_whole, original=True)
    probe.in_both_modes(pickle_gives_the_same)


def _require_name(kind: type) -> None:
    """Skip the check if no import finds a class."""
    where = "inside a function" if "<locals>" in kind.__qualname__ else "in __main__"
    main = sys.modules.get("__main__")
    lost = kind.__module__ == "__main__" and getattr(main, kind.__qualname__, None) is not kind
    if lost or "<locals>" in kind.__qualname__:
        raise CheckSkipped(
            f"the class {kind.__name__} stands {where}, where pickle does not find it: no fault of "
            "the network"
        )


def pickle_is_whole(model: nn.Module) -> None:
    """Compare a pickled copy with the network itself, without running either."""
    expect_whole_copy(model, _through_pickle(model))


def pickle_gives_the_same(model: nn.Module, image: Tensor) -> None:
    """Pickle a network, in training after a step."""
    if model.training:
        gradients(model, projection(run(model, image)))
    twin = _through_pickle(model)
    expected = outputs(model.eval(), image)
    expect_same(outputs(twin.eval(), image), expected, 1e-5, "from the pickled copy {}")


def _through_pickle(model: nn.Module) -> nn.Module:
    hooks: list[Any] = []

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> int | None:
            own = isinstance(value, FunctionType) and value.__module__.startswith("transformers.")
            if not own or "<locals>" not in value.__qualname__:
                return None
            hooks.append(value)
            return len(hooks) - 1

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, number: Any) -> Any:
            return hooks[number]

    file = io.BytesIO()
    Pickler(file).dump(model)
    file.seek(0)
    twin: nn.Module = Unpickler(file).load()
    return twin
