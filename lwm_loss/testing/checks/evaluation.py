"""A network in evaluation: a function of one image, and of nothing else."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from ..calls import copied, outputs, parts, run
from ..expect import Breach, CheckSkipped, breach, difference, expect_same
from ..registry import backbone_check
from ..scenes import Picture, pictures
from ..subjects.network import BackboneProbe
from ..subjects.signature import named_parameters

LIVELY = ("noise", "bright", "half black", "one black", "unlike")


@backbone_check(
    "depth as a required argument or a fourth channel of the input, an attribute that only a "
    "training step sets, or a branch that evaluation lacks",
    requires=None,
)
def check_depth_not_needed_at_test_time(probe: BackboneProbe) -> None:
    """In evaluation ``model(image)`` runs: nothing but the image is needed at test time."""
    try:
        probe.check(image_suffices, warm=False)
    except Breach as error:
        # Of another size it takes an image alone: check_output_shapes speaks of that.
        if error.__cause__ is None or probe.size_that_runs() is None:
            raise


def image_suffices(model: nn.Module, image: Tensor) -> None:
    """Call the network with an image alone."""
    parameters = named_parameters(model.forward)
    required = [each.name for each in parameters if each.default is each.empty]
    if len(required) > 1:
        breach(f"forward requires {', '.join(required)} where there is the image alone")
    with torch.no_grad():
        model(image)


@backbone_check(
    "batch norm left in training or without running statistics, a mean or a maximum over the "
    "batch, or a reshape that mixes batch and channels"
)
def check_sample_alone_equals_sample_in_batch(probe: BackboneProbe) -> None:
    """In evaluation an image alone gives what it gives within a batch of other images."""
    if _is_random(probe):
        raise CheckSkipped("it is random in evaluation, see check_eval_is_deterministic")

    def hold(picture: Picture, batch: int) -> None:
        probe.check(alone_as_in_the_batch, probe.image(picture, batch=batch))

    corners = [(Picture("noise"), 2), (Picture("unlike"), 3)]
    probe.for_all(hold, pictures(LIVELY), st.integers(2, 4), corners=corners)


def alone_as_in_the_batch(model: nn.Module, image: Tensor) -> None:
    """Compare the outputs for each image alone with those for the batch."""
    together = outputs(copied(model), image)
    # Each of them: the one that sets a maximum over the batch is the same without the others.
    for k in range(len(image)):
        alone = outputs(copied(model), image[k : k + 1])
        within = {name: part[k : k + 1] for name, part in together.items()}
        if [part.shape for part in alone.values()] != [part.shape for part in within.values()]:
            return  # check_output_shapes says so
        expect_same(alone, within, 1e-3, f"for image {k} of {len(image)} alone {{}}")


def _is_random(probe: BackboneProbe) -> bool:
    """Whether calls with different random states differ."""
    image = probe.image()["image"]
    first, *others = (outputs(probe.fresh(), image, seed) for seed in range(_CALLS))
    return any(difference(other, first, 1e-5) for other in others)


# Stochastic depth drops a branch for few of the images, and in few of the calls.
_CALLS = 9


@backbone_check(
    "F.dropout without training=self.training, noise that is added in evaluation too, or something "
    "that a forward counts, averages or caches"
)
def check_eval_is_deterministic(probe: BackboneProbe) -> None:
    """Two calls in evaluation on the same image are equal, whatever the random state."""

    def hold(picture: Picture, calls: int) -> None:
        probe.check(calls_agree, probe.image(picture), calls=calls)

    probe.for_all(hold, pictures(LIVELY), st.just(2), corners=[(Picture(), _CALLS)])


def calls_agree(model: nn.Module, image: Tensor, calls: int) -> None:
    """Compare calls on one image under different random states."""
    first = outputs(model, image)
    for seed in range(1, calls):
        expect_same(outputs(model, image, seed), first, 1e-5, f"in call {seed + 1} {{}}")


@backbone_check(
    "a tensor cached by a forward (of another image or another size), a counter or a running mean "
    "outside of training, or a buffer that is returned and written again"
)
def check_no_state_between_calls(probe: BackboneProbe) -> None:
    """In evaluation a call leaves nothing behind: neither later nor earlier results depend on it."""
    height, width = probe.image_size

    def hold(picture: Picture, resized: bool) -> None:
        size = (height + 16, width + 16) if resized else probe.image_size
        other = probe.image(picture._replace(seed=picture.seed + 1), size=size, name="other")
        if resized:
            try:
                outputs(probe.fresh(), other["other"])
            except Exception:
                return  # check_output_shapes says so
        probe.check(calls_leave_nothing_behind, probe.image(), other)

    corners = [(Picture(), False), (Picture(), True)]
    probe.for_all(hold, pictures(LIVELY), st.booleans(), corners=corners)


def calls_leave_nothing_behind(model: nn.Module, image: Tensor, other: Tensor) -> None:
    """Call the network on an image, on another one, and on the first again."""
    expected = outputs(copied(model), other)
    with torch.no_grad():
        first = parts(run(model, image))
    kept = {name: part.clone() for name, part in first.items()}
    expect_same(outputs(model, other), expected, 1e-5, "after a call with another image {}")
    expect_same(first, kept, 0.0, "a later call wrote over an earlier result: {}")
    expect_same(outputs(model, image), kept, 1e-5, "when the first image comes again {}")


@backbone_check(
    "a module whose train() or eval() does not do as it is told, F.batch_norm with training=True, "
    "or a running statistic that is updated without asking self.training",
    run=lambda probe, body: probe.check(body, probe.image(Picture("bright")), train=True),
)
def check_eval_keeps_running_statistics(model: nn.Module, image: Tensor) -> None:
    """In evaluation every module is in evaluation, and no buffer changes in a forward."""
    model.eval()
    _expect_evaluation(model, "after model.eval()")
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    outputs(model, image)
    _expect_evaluation(model, "after a forward")
    now = dict(model.named_buffers())
    if list(now) != list(before):
        breach("a forward in evaluation added or removed a buffer")
    for name, buffer in now.items():
        if buffer.shape != before[name].shape or not torch.equal(buffer, before[name]):
            breach(f"the buffer {name} was changed by a forward in evaluation")


def _expect_evaluation(model: nn.Module, when: str) -> None:
    for name, module in model.named_modules():
        if module.training:
            breach(f"{name or 'the network'} ({type(module).__name__}) is in training {when}")
