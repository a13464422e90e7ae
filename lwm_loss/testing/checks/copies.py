"""Checks of a backbone that is saved or copied."""

from __future__ import annotations

import copy
import io
import pickle
from types import FunctionType
from typing import Any

import torch
from torch import nn

from .._compare import difference
from .._copies import LIKENESS, graph_leaves, unlike
from ..registry import backbone_check
from ..report import CheckSkipped
from ..scenes import Scene
from ..search import breach, scenario
from ..subjects.hidden_state import lost_values
from ..subjects.network import OUTPUTS, BackboneProbe, parts
from .gradients import projection


@backbone_check(
    "a tensor kept as a plain attribute or in a list in place of a parameter or a buffer, a random "
    "or learnt buffer with persistent=False, a Python number that training changes, or a "
    "state_dict() or load_state_dict() that leaves keys out"
)
def check_state_dict_round_trip(probe: BackboneProbe) -> None:
    """A network that loads the state of a trained one gives what that one gives.

    The trained one has other parameters, has seen batches in training, and has other values in all
    hidden places that are drawn at random when it is built.

    Example:
        >>> check_state_dict_round_trip(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_output()
    if not probe.copyable:
        raise CheckSkipped("a network that cannot be copied is alone, see check_deep_copy")
    scene = probe.image()
    trained, new = probe.fresh(warm=False, train=True), probe.fresh(warm=False)
    lost = lost_values(trained, probe.num_classes)
    lines = [hidden.change for hidden in lost]
    statement = "\n".join(
        [
            "new = copy.deepcopy(model)",
            "model.train()",
            "with torch.no_grad():",
            "    for parameter in model.parameters():",
            "        parameter.add_(0.1 * parameter.abs().mean() * torch.randn_like(parameter))",
            "    for _ in range(2):",
            "        model(image)",
            *lines,
            "file = io.BytesIO()",
            "torch.save(model.state_dict(), file)",
            "file.seek(0)",
            "new.load_state_dict(torch.load(file, weights_only=False))",
            "assert gap(outputs(new.eval(), image), outputs(model.eval(), image)) <= 1e-5",
        ]
    )
    statement = OUTPUTS + statement
    code = "import io\n" + probe.code(scene, after=statement, warm=False)
    with scenario(code), torch.no_grad():
        for parameter in trained.parameters():
            if parameter.is_floating_point():
                step = torch.randn_like(parameter) * parameter.abs().mean()
                parameter.add_(0.1 * step)
        for _ in range(2):
            probe.run(trained, scene["image"].clone())
        exec("\n".join(lines), {"model": trained})
        file = io.BytesIO()
        torch.save(trained.state_dict(), file)
        file.seek(0)
        new.load_state_dict(torch.load(file, weights_only=False))
        expected = parts(probe.run(trained.eval(), scene["image"].clone()))
        found = difference(parts(probe.run(new, scene["image"].clone())), expected, 1e-5)
        if found:
            names = ", ".join(f"{h.owner}.{h.path}".lstrip(".") for h in lost)
            where = f"; the state_dict lacks {names}" if names else ""
            breach(f"{found} after the state was loaded{where}")


@backbone_check(
    "a lock, a file or a generator kept as an attribute, a tensor of the last forward kept with its "
    "graph, a lambda or a hook that holds on to the original network, or a __deepcopy__ or "
    "__getstate__ that forgets or shares a part"
)
def check_deep_copy(probe: BackboneProbe) -> None:
    """A deep copy gives what the original gives, after training too, and shares nothing with it.

    Example:
        >>> check_deep_copy(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_output()
    scene = probe.image()
    statement = OUTPUTS + (
        "model.train()\n"
        "MultiTaskOutput.of(model(image)).logits.sum().backward()\n"
        "twin = copy.deepcopy(model)\n"
        "before = outputs(model.eval(), image)\n"
        "assert gap(outputs(twin.eval(), image), before) <= 1e-5\n"
        "with torch.no_grad():\n"
        "    for parameter in model.parameters():\n"
        "        parameter.add_(0.1)\n"
        "assert gap(outputs(twin, image), before) <= 1e-5\n"
        "from lwm_loss.testing._copies import graph_leaves\n"
        "used = [graph_leaves(MultiTaskOutput.of(x(image)).logits) for x in (model, twin)]\n"
        "assert not used[0] & used[1]"
    )
    likeness = "twin = copy.deepcopy(model)\n" + LIKENESS.format(name="model")
    with scenario(probe.code(after=likeness, warm=False)):
        found = unlike(probe.model, copy.deepcopy(probe.model))
        if found:
            breach(found)
    with scenario(probe.code(scene, after=statement)):
        model = probe.fresh(train=True)
        _train_once(probe, model, scene["image"])
        twin = copy.deepcopy(model)
        with torch.no_grad():
            before = parts(probe.run(model.eval(), scene["image"].clone()))
            found = difference(parts(probe.run(twin.eval(), scene["image"].clone())), before, 1e-5)
            if found:
                breach(f"from the copy {found}")
            for parameter in model.parameters():
                if parameter.is_floating_point():
                    parameter.add_(0.1)
            found = difference(parts(probe.run(twin, scene["image"].clone())), before, 1e-5)
            if found:
                breach(f"when the original changes, from the copy {found}")
        used = [
            {leaf for part in _outputs(probe, each, scene) for leaf in graph_leaves(part)}
            for each in (model, twin)
        ]
        if used[0] & used[1]:
            breach("the copy still uses a parameter of the original")


def _outputs(probe: BackboneProbe, model: nn.Module, scene: Scene) -> list[torch.Tensor]:
    return list(parts(probe.run(model, scene["image"].clone())).values())


def _train_once(probe: BackboneProbe, model: nn.Module, image: torch.Tensor) -> None:
    loss = projection(probe.run(model, image.clone()))
    if loss.requires_grad:
        torch.autograd.backward(loss)


@backbone_check(
    "a lambda, a function or a class defined within a function kept as an attribute, a hook of "
    "that kind, a lock, a file or a generator, or a __getstate__ that forgets a part"
)
def check_pickle(probe: BackboneProbe) -> None:
    """A pickled network comes back and gives what the original gives, after training too.

    Hooks that transformers puts on its own modules at the first call are left out: they are local
    functions, which pickle refuses, and not the network's own.

    Example:
        >>> check_pickle(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_output()
    scene = probe.image()
    statement = OUTPUTS + (
        "import pickle\n"
        "for trained in (False, True):\n"
        "    if trained:\n"
        "        model.train()\n"
        "        MultiTaskOutput.of(model(image)).logits.sum().backward()\n"
        "    twin = pickle.loads(pickle.dumps(model))\n"
        "    assert gap(outputs(twin.eval(), image), outputs(model.eval(), image)) <= 1e-5"
    )
    likeness = "import pickle\ntwin = pickle.loads(pickle.dumps(model))\n"
    likeness += LIKENESS.format(name="model")
    with scenario(probe.code(after=likeness, warm=False)):
        found = unlike(probe.model, _through_pickle(probe.model))
        if found:
            breach(found)
    with scenario(probe.code(scene, after=statement)):
        for trained in (False, True):
            model = probe.fresh(train=trained)
            if trained:
                _train_once(probe, model, scene["image"])
            twin = _through_pickle(model)
            with torch.no_grad():
                expected = parts(probe.run(model.eval(), scene["image"].clone()))
                output = parts(probe.run(twin.eval(), scene["image"].clone()))
            found = difference(output, expected, 1e-5)
            if found:
                breach(f"from the pickled copy {found}")


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
