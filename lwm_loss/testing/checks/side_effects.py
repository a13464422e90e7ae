"""Checks of what a forward must leave alone: its input, the network, and the process."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from hypothesis import strategies as st
from torch import nn

from .._isolation import global_settings, random_states, restore_settings, seed_all
from ..registry import backbone_check
from ..scenes import Picture, pictures
from ..search import breach, for_all, scenario
from ..subjects.network import BackboneProbe


@backbone_check(
    "an operation in place on the image (x -= mean, x.div_(255), nn.ReLU(inplace=True) as the "
    "first layer)"
)
def check_input_is_not_modified(probe: BackboneProbe) -> None:
    """A forward does not write to the image it is given, in training or evaluation.

    Example:
        >>> check_input_is_not_modified(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_output()
    statement = "before = image.clone()\nmodel(image)\nassert torch.equal(image, before)"

    def hold(drawn: tuple[Picture, int, bool]) -> None:
        picture, batch, train = drawn
        scene = probe.image(picture, batch=batch)
        with scenario(probe.code(scene, after=statement, train=train)), torch.no_grad():
            image = scene["image"]
            before = image.clone()
            try:
                probe.run(probe.fresh(train=train), image)
            except Exception:
                if batch == 1:
                    return  # check_output_shapes says so
                raise
            changed = int((image != before).sum())
            if changed:
                breach(f"{changed} of {image.numel()} values of the image were overwritten")

    strategy = st.tuples(pictures(("noise", "bytes")), st.integers(1, 3), st.booleans())
    corners = [(Picture(), batch, train) for batch in (1, 2) for train in (False, True)]
    for_all(strategy, hold, probe.effort, corners)


@backbone_check(
    "weights that forward clips, normalises or averages in place, an optimiser step or a backward "
    "inside of forward"
)
def check_forward_keeps_parameters(probe: BackboneProbe) -> None:
    """A forward changes no parameter, gives none a gradient, and freezes or thaws none.

    Example:
        >>> check_forward_keeps_parameters(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_output()
    scene = probe.image()
    statement = (
        "before = {n: (p.detach().clone(), p.requires_grad) for n, p in model.named_parameters()}\n"
        "model(image)\n"
        "for name, parameter in model.named_parameters():\n"
        "    assert torch.equal(parameter, before[name][0]), name\n"
        "    assert parameter.requires_grad == before[name][1] and parameter.grad is None, name"
    )
    for train in (False, True):
        with scenario(probe.code(scene, after=statement, train=train)):
            model = probe.fresh(train=train)
            before = {
                name: (p.detach().clone(), p.requires_grad) for name, p in model.named_parameters()
            }
            probe.run(model, scene["image"].clone())
            now = dict(model.named_parameters())
            if list(now) != list(before):
                breach("the parameters after a forward are others than before")
            mode = "training" if train else "evaluation"
            for name, parameter in now.items():
                value, requires_grad = before[name]
                if not torch.equal(parameter.detach(), value):
                    breach(f"{name} was changed by a forward in {mode}")
                if parameter.grad is not None or parameter.requires_grad != requires_grad:
                    breach(f"a forward in {mode} changed the gradient of {name}")


@backbone_check(
    "torch.manual_seed, torch.set_grad_enabled, set_default_dtype or a flag of torch.backends set in "
    "forward for good, in place of a generator or a context manager"
)
def check_forward_keeps_global_state(probe: BackboneProbe) -> None:
    """A forward leaves the random seeds and the settings of the process alone.

    Gradient mode, default dtype, threads, autocast, determinism, anomaly mode, cuDNN's flags and
    the precision of float32 products.

    Example:
        >>> check_forward_keeps_global_state(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_output()
    scene = probe.image()
    statement = GLOBAL_STATE.replace("{call}", "model(image)")
    for train in (False, True):
        with scenario(probe.code(scene, after=statement, train=train)):
            model = probe.fresh(train=train)
            found = changed_state(partial(_forward, model, scene["image"]))
            if found:
                breach(f"a forward in {'training' if train else 'evaluation'} {found}")


GLOBAL_STATE = (
    "import random\nimport numpy as np\n"
    "def settings():\n"
    "    return (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads(),\n"
    "            torch.is_anomaly_enabled(), torch.are_deterministic_algorithms_enabled(),\n"
    "            torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark,\n"
    "            torch.backends.cudnn.deterministic)\n"
    "before, states = settings(), []\n"
    "for seed in (1, 2):\n"
    "    torch.manual_seed(seed), random.seed(seed), np.random.seed(seed)\n"
    "    {call}\n"
    "    numpy_state = np.random.get_state()[1].tolist()\n"
    "    states.append((torch.get_rng_state().tolist(), random.getstate(), numpy_state))\n"
    "assert settings() == before\n"
    "assert all(one != two for one, two in zip(*states)), 'seeded'\n"
    "with torch.no_grad():\n"
    "    {call}\n"
    "    assert not torch.is_grad_enabled()"
)


def _forward(model: nn.Module, image: torch.Tensor) -> None:
    model(image.clone())


def changed_state(call: Callable[[], object]) -> str | None:
    """What a call does to the process, in words."""
    after_seed = []
    for seed, with_gradients in ((1, True), (2, False)):
        with torch.set_grad_enabled(with_gradients):
            before = global_settings()
            seed_all(seed)
            call()
            now = global_settings()
            restore_settings(before)
        for name, value in before.items():
            if now[name] != value:
                return f"changed the {name} from {value} to {now[name]}"
        after_seed.append(random_states())
    for name, state in after_seed[0].items():
        if state == after_seed[1][name]:
            return f"seeded {name}"
    return None
