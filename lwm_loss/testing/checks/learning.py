"""A backbone that is trained for a few steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lwm_loss.functional as LF
from lwm_loss import MultiTaskOutput

from ..calls import outputs, parts, run
from ..expect import CheckSkipped, breach
from ..mining_loss import mining_loss
from ..registry import backbone_check
from ..subjects.network import BackboneProbe

_STEPS = 8
_GAIN = 2e-3
# Gentle first: a deep network without batch norm is thrown far off by the others.
_RATES = (3e-4, 3e-3, 1e-2)


@backbone_check(
    "a gradient of the wrong sign (a reversal layer, a loss already negated), an output that is "
    "detached, parameters replaced in forward, or a batch norm that stays in evaluation"
)
def check_learns_one_batch(probe: BackboneProbe) -> None:
    """A few steps on one batch lower the objective, and the loss of each output by itself.

    Every step draws the same dropout. Adam gets three learning rates, one must do.
    """
    if probe.require_trainable().logits.shape[1] == 1:
        raise CheckSkipped("with one class there is nothing to learn")
    for name in ["objective", *outputs(probe.fresh(train=True), probe.image()["image"])]:
        probe.check(loss_falls, train=True, name=name)


def loss_falls(model: nn.Module, image: Tensor, target: Tensor, depth: Tensor, name: str) -> None:
    """Train by each learning rate from the same start, until the loss falls."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    start = [weight.detach().clone() for weight in weights]
    words = ""
    for rate in _RATES:
        with torch.no_grad():
            for weight, value in zip(weights, start):
                weight.copy_(value)
        optimizer = torch.optim.Adam(weights, rate)
        losses: list[float] = []
        for _ in range(_STEPS + 1):
            loss = _loss_of(run(model, image), name, target, depth)
            if loss is None:
                return  # check_output_shapes says so
            losses.append(float(loss))
            if losses[-1] < (1 - _GAIN) * losses[0] or losses[0] == 0:
                return
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        words = f"from {losses[0]:.4g} to {losses[-1]:.4g} in {_STEPS} steps of Adam"
    breach(f"the loss of {name} went {words}")


def _loss_of(output: MultiTaskOutput, name: str, target: Tensor, depth: Tensor) -> Tensor | None:
    """The loss of one output by itself; None if its shape does not fit."""
    if name == "objective":
        return mining_loss(output, target, depth)
    part = parts(output)[name].float()
    if name == "log_depth":
        flat = part.squeeze(1) if part.ndim == 4 else part
        return LF.log_depth_mse_loss(flat, depth) if flat.shape == depth.shape else None
    if name != "logits":
        if part.ndim != 4 or part.shape[:2] != output.logits.shape[:2]:
            return None
        part = F.interpolate(part, target.shape[1:])
    return F.cross_entropy(part, target, ignore_index=255)
