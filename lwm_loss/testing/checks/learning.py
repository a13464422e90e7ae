"""A check of a backbone that is trained for a few steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lwm_loss import MultiTaskOutput

from ..mining_loss import LOSS, mining_loss, truth
from ..registry import backbone_check
from ..report import CheckSkipped
from ..search import breach, scenario
from ..subjects.network import BackboneProbe, parts
from .gradients import trainable

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

    Example:
        >>> check_learns_one_batch(torch.nn.Conv2d(3, 5, 1))
    """
    trainable(probe.model)
    logits = probe.require_output().logits
    if logits.shape[1] == 1:
        raise CheckSkipped("with one class there is nothing to learn")
    scene, facts = probe.image(), truth(logits)
    with torch.no_grad():
        names = list(parts(probe.run(probe.fresh(train=True), scene["image"])))
    for name in ["objective", *names]:
        term = _TERMS[name.split("[")[0]].format(name=name)
        statement = _LEARN.format(term=term, image_size=probe.image_size)
        with scenario(LOSS + probe.code(scene, facts, after=statement, train=True)):
            found = ""
            for rate in _RATES:
                found = _learn(probe, scene["image"], facts["target"], facts["depth"], name, rate)
                if not found:
                    break
            if found:
                breach(found)


_TERMS = {
    "objective": "mining_loss(output, target, depth)",
    "logits": "F.cross_entropy(output.logits, target, ignore_index=255)",
    "log_depth": "LF.log_depth_mse_loss(output.log_depth, depth)",
    "side_logits": (
        "F.cross_entropy(F.interpolate(output.{name}, target.shape[1:]), target, ignore_index=255)"
    ),
}
_LEARN = (
    "import lwm_loss.functional as LF\nfrom torch.nn import functional as F\n"
    "gains = []\n"
    f"for rate in {_RATES}:\n"
    "    trained, losses = copy.deepcopy(model), []\n"
    "    optimizer = torch.optim.Adam([p for p in trained.parameters() if p.requires_grad], rate)\n"
    f"    for _ in range({_STEPS + 1}):\n"
    "        torch.manual_seed(0)\n"
    "        output = MultiTaskOutput.of(trained(image))\n"
    "        loss = {term}\n"
    "        losses.append(loss.item())\n"
    "        optimizer.zero_grad()\n"
    "        loss.backward()\n"
    "        optimizer.step()\n"
    "    gains.append(losses[0] - min(losses))\n"
    "assert max(gains) > 0, gains"
)


def _learn(
    probe: BackboneProbe, image: Tensor, target: Tensor, depth: Tensor, name: str, rate: float
) -> str:
    """Empty if the loss falls; else what it did."""
    model = probe.fresh(train=True)
    optimizer = torch.optim.Adam(trainable(model).values(), rate)
    first, last = 0.0, 0.0
    for step in range(_STEPS + 1):
        output = probe.run(model, image.clone())
        loss = _loss_of(output, name, target, depth)
        if loss is None:
            return ""
        last = float(loss)
        first = last if step == 0 else first
        if last < (1 - _GAIN) * first or first == 0:
            return ""
        if step < _STEPS:
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return f"the loss of {name} went from {first:.4g} to {last:.4g} in {_STEPS} steps of Adam"


def _loss_of(output: MultiTaskOutput, name: str, target: Tensor, depth: Tensor) -> Tensor | None:
    if name == "objective":
        return mining_loss(output, target, depth)
    part = parts(output)[name].float()
    if name == "log_depth":
        known = depth.isfinite()
        flat = part.squeeze(1) if part.ndim == 4 else part
        if flat.shape != depth.shape:
            return None  # check_output_shapes says so
        gap = flat - torch.where(known, depth, 1).log()
        return torch.where(known, gap, 0).square().sum() / known.sum()
    if name != "logits":
        if part.ndim != 4 or part.shape[:2] != output.logits.shape[:2]:
            return None
        part = nn.functional.interpolate(part, target.shape[1:])
    return nn.functional.cross_entropy(part, target, ignore_index=255)
