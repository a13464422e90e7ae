"""What a forward must leave alone: its input, the network, and global state."""

from __future__ import annotations

from functools import partial

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from ..calls import run
from ..expect import Breach, breach
from ..isolation import expect_settings_kept
from ..registry import backbone_check
from ..scenes import Picture, pictures
from ..subjects.network import BackboneProbe


@backbone_check(
    "an operation in place on the image (x -= mean, x.div_(255), nn.ReLU(inplace=True) as the "
    "first layer)"
)
def check_input_is_not_modified(probe: BackboneProbe) -> None:
    """A forward does not write to the image it is given, in training or evaluation."""

    def hold(picture: Picture, batch: int, train: bool) -> None:
        try:
            probe.check(image_stays, probe.image(picture, batch=batch), train=train)
        except Breach as error:
            if error.__cause__ is None or batch > 1:  # else check_output_shapes says so
                raise

    corners = [(Picture(), batch, train) for batch in (1, 2) for train in (False, True)]
    kinds = pictures(("noise", "bytes"))
    probe.for_all(hold, kinds, st.integers(1, 3), st.booleans(), corners=corners)


def image_stays(model: nn.Module, image: Tensor) -> None:
    """Compare the image with a copy that was made before the forward."""
    before = image.clone()
    with torch.no_grad():
        model(image)
    changed = int((image != before).sum())
    if changed:
        breach(f"{changed} of {image.numel()} values of the image were overwritten")


@backbone_check(
    "weights that forward clips, normalises or averages in place, an optimiser step or a backward "
    "inside of forward",
    run=BackboneProbe.in_both_modes,
)
def check_forward_keeps_parameters(model: nn.Module, image: Tensor) -> None:
    """A forward changes no parameter, gives none a gradient, and freezes or thaws none."""
    before = {n: (p.detach().clone(), p.requires_grad) for n, p in model.named_parameters()}
    run(model, image)
    if [name for name, _ in model.named_parameters()] != list(before):
        breach("the parameters after a forward are others than before")
    mode = "training" if model.training else "evaluation"
    for name, parameter in model.named_parameters():
        value, requires_grad = before[name]
        if not torch.equal(parameter.detach(), value):
            breach(f"{name} was changed by a forward in {mode}")
        if parameter.grad is not None or parameter.requires_grad != requires_grad:
            breach(f"a forward in {mode} changed the gradient of {name}")


@backbone_check(
    "torch.manual_seed, torch.set_grad_enabled, set_default_dtype or a flag of torch.backends set in "
    "forward for good, in place of a generator or a context manager",
    run=BackboneProbe.in_both_modes,
)
def check_forward_keeps_global_state(model: nn.Module, image: Tensor) -> None:
    """A forward leaves the random seeds and the settings of the process alone.

    Gradient mode, default dtype, threads, autocast, determinism, anomaly mode, cuDNN's flags and
    the precision of float32 products.
    """
    mode = "training" if model.training else "evaluation"
    expect_settings_kept(partial(model, image.clone()), f"a forward in {mode}")
