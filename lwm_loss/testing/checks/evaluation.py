"""Checks of a backbone in evaluation: a function of one image, and of nothing else."""

from __future__ import annotations

import inspect

import torch
from hypothesis import strategies as st
from torch import nn

from .._compare import difference
from ..registry import backbone_check
from ..report import CheckSkipped
from ..scenes import Picture, pictures
from ..search import breach, for_all, scenario
from ..subjects.network import OUTPUTS, BackboneProbe, parts

LIVELY = ("noise", "bright", "half black", "one black", "unlike")


@backbone_check(
    "depth as a required argument or a fourth channel of the input, an attribute that only a "
    "training step sets, or a branch that evaluation lacks"
)
def check_depth_not_needed_at_test_time(probe: BackboneProbe) -> None:
    """In evaluation ``model(image)`` runs: nothing but the image is needed at test time.

    Example:
        >>> check_depth_not_needed_at_test_time(torch.nn.Conv2d(3, 5, 1))
    """
    scene = probe.image()
    with scenario(probe.code(scene, after="model(image)", warm=False)), torch.no_grad():
        model = probe.fresh(warm=False)
        required = _required(model)
        if len(required) > 1:
            breach(f"forward requires {', '.join(required)} where there is the image alone")
        try:
            model(scene["image"])
        except Exception:
            if probe.size_that_runs() is None:
                raise
            # Of another size it takes an image alone: check_output_shapes speaks of that.


def _required(model: nn.Module) -> list[str]:
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]


@backbone_check(
    "batch norm left in training or without running statistics, a mean or a maximum over the "
    "batch, or a reshape that mixes batch and channels"
)
def check_sample_alone_equals_sample_in_batch(probe: BackboneProbe) -> None:
    """In evaluation an image alone gives what it gives within a batch of other images.

    Example:
        >>> check_sample_alone_equals_sample_in_batch(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_output()
    if _is_random(probe):
        raise CheckSkipped("it is random in evaluation, see check_eval_is_deterministic")
    statement = OUTPUTS + (
        "fresh = copy.deepcopy(model)\n"
        "together = [part[{k}:{end}] for part in outputs(model, image)]\n"
        "alone = outputs(fresh, image[{k}:{end}])\n"
        "assert gap(alone, together) <= 1e-3, gap(alone, together)"
    )

    def hold(drawn: tuple[Picture, int]) -> None:
        picture, batch = drawn
        scene = probe.image(picture, batch=batch)
        image = scene["image"]
        with scenario(probe.code(scene, after=statement.format(k=0, end=1))), torch.no_grad():
            together = parts(probe.run(probe.fresh(), image.clone()))
        # Each of them: the one that sets a maximum over the batch is the same without the others.
        for k in range(batch):
            code = probe.code(scene, after=statement.format(k=k, end=k + 1))
            with scenario(code), torch.no_grad():
                alone = parts(probe.run(probe.fresh(), image[k : k + 1].clone()))
                within = {name: part[k : k + 1] for name, part in together.items()}
                if [part.shape for part in alone.values()] != [
                    part.shape for part in within.values()
                ]:
                    return  # check_output_shapes says so
                found = difference(alone, within, 1e-3)
                if found:
                    breach(f"for image {k} of {batch} alone {found}")

    strategy = st.tuples(pictures(LIVELY), st.integers(2, 4))
    for_all(strategy, hold, probe.effort, [(Picture("noise"), 2), (Picture("unlike"), 3)])


def _is_random(probe: BackboneProbe) -> bool:
    """Whether calls with different random states differ."""
    image = probe.image()["image"]
    with torch.no_grad():
        first, *others = (
            parts(probe.run(probe.fresh(), image.clone(), seed)) for seed in range(_CALLS)
        )
    return any(difference(other, first, 1e-5) for other in others)


# Stochastic depth drops a branch for few of the images, and in few of the calls.
_CALLS = 9


@backbone_check(
    "F.dropout without training=self.training, noise that is added in evaluation too, or something "
    "that a forward counts, averages or caches"
)
def check_eval_is_deterministic(probe: BackboneProbe) -> None:
    """Two calls in evaluation on the same image are equal, whatever the random state.

    Example:
        >>> check_eval_is_deterministic(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_output()
    statement = OUTPUTS + (
        "first = outputs(model, image)\n"
        f"for seed in range(1, {_CALLS}):\n"
        "    again = outputs(model, image, seed)\n"
        "    assert gap(again, first) <= 1e-5, gap(again, first)"
    )

    def hold(drawn: tuple[Picture, int]) -> None:
        picture, calls = drawn
        scene = probe.image(picture)
        with scenario(probe.code(scene, after=statement)), torch.no_grad():
            model = probe.fresh()
            first = _cloned(probe, model, scene["image"])
            for seed in range(1, calls):
                found = difference(_cloned(probe, model, scene["image"], seed), first, 1e-5)
                if found:
                    breach(f"in call {seed + 1} {found}")

    strategy = st.tuples(pictures(LIVELY), st.just(2))
    for_all(strategy, hold, probe.effort, [(Picture(), _CALLS)])


def _cloned(
    probe: BackboneProbe, model: nn.Module, image: torch.Tensor, seed: int = 0
) -> dict[str, torch.Tensor]:
    """The outputs by name, safe from what a later call writes."""
    output = probe.run(model, image.clone(), seed)
    return {name: part.clone() for name, part in parts(output).items()}


@backbone_check(
    "a tensor cached by a forward (of another image or another size), a counter or a running mean "
    "outside of training, or a buffer that is returned and written again"
)
def check_no_state_between_calls(probe: BackboneProbe) -> None:
    """In evaluation a call leaves nothing behind: neither later nor earlier results depend on it.

    Example:
        >>> check_no_state_between_calls(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_output()
    statement = OUTPUTS + (
        "fresh = copy.deepcopy(model)\n"
        "output = MultiTaskOutput.of(model(image))\n"
        "first = [part for part in (output.logits, output.log_depth, *output.side_logits)\n"
        "         if part is not None]\n"
        "kept = [part.detach().clone() for part in first]\n"
        "assert gap(outputs(model, other), outputs(fresh, other)) <= 1e-5, 'other'\n"
        "assert gap(first, kept) == 0, 'overwritten'\n"
        "assert gap(outputs(model, image), kept) <= 1e-5, 'image again'"
    )
    height, width = probe.image_size

    def hold(drawn: tuple[Picture, bool]) -> None:
        picture, resized = drawn
        scene = probe.image()
        size = (height + 16, width + 16) if resized else probe.image_size
        other = probe.image(picture._replace(seed=picture.seed + 1), size=size, name="other")
        with torch.no_grad():
            try:
                expected = _cloned(probe, probe.fresh(), other["other"])
            except Exception:
                if resized:
                    return  # check_output_shapes says so
                raise
        with scenario(probe.code(scene, other, after=statement)), torch.no_grad():
            model = probe.fresh()
            first = parts(probe.run(model, scene["image"].clone()))
            kept = {name: part.clone() for name, part in first.items()}
            found = difference(_cloned(probe, model, other["other"]), expected, 1e-5)
            if found:
                breach(f"after a call with another image {found}")
            if difference(first, kept, 0.0):
                breach("a later call wrote over an earlier result")
            found = difference(_cloned(probe, model, scene["image"]), kept, 1e-5)
            if found:
                breach(f"when the first image comes again {found}")

    strategy = st.tuples(pictures(LIVELY), st.booleans())
    for_all(strategy, hold, probe.effort, [(Picture(), False), (Picture(), True)])


@backbone_check(
    "a module whose train() or eval() does not do as it is told, F.batch_norm with training=True, "
    "or a running statistic that is updated without asking self.training"
)
def check_eval_keeps_running_statistics(probe: BackboneProbe) -> None:
    """In evaluation every module is in evaluation, and no buffer changes in a forward.

    Example:
        >>> check_eval_keeps_running_statistics(torch.nn.Conv2d(3, 5, 1))
    """
    probe.require_output()
    scene = probe.image(Picture("bright"))
    statement = (
        "for name, module in model.named_modules():\n"
        "    assert not module.training, name\n"
        "before = {n: b.clone() for n, b in model.named_buffers()}\n"
        "model(image)\n"
        "for name, buffer in model.named_buffers():\n"
        "    assert torch.equal(buffer, before[name]), name\n"
        "for name, module in model.named_modules():\n"
        "    assert not module.training, name"
    )
    with scenario(probe.code(scene, after=statement)):
        model = probe.fresh(train=True).eval()
        _all_in_evaluation(model, "after model.eval()")
        before = {name: buffer.clone() for name, buffer in model.named_buffers()}
        with torch.no_grad():
            probe.run(model, scene["image"])
        _all_in_evaluation(model, "after a forward")
        now = dict(model.named_buffers())
        if list(now) != list(before):
            breach("a forward in evaluation added or removed a buffer")
        for name, buffer in now.items():
            if buffer.shape != before[name].shape or not torch.equal(buffer, before[name]):
                breach(f"the buffer {name} was changed by a forward in evaluation")


def _all_in_evaluation(model: nn.Module, when: str) -> None:
    for name, module in model.named_modules():
        if module.training:
            breach(f"{name or 'the network'} ({type(module).__name__}) is in training {when}")
