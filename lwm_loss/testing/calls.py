"""How checks call a network or a loss; the printed code of a failure imports it from here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from lwm_loss import MultiTaskOutput

from .copying import deep_copy
from .isolation import global_settings, restore_settings, seed_all

T = TypeVar("T")


def copied(subject: T) -> T:
    """Copy a subject; return the subject itself if it cannot be copied."""
    try:
        return deep_copy(subject)
    except Exception:
        return subject


# --- networks -----------------------------------------------------------------------------------


def run(model: nn.Module, image: Tensor, seed: int = 0) -> MultiTaskOutput:
    """Run a network on a copy of an image, always with the same random numbers.

    Global settings that the network changes are restored, so that only
    ``check_forward_keeps_global_state`` reports them.
    """
    settings = global_settings()
    seed_all(seed)
    try:
        return MultiTaskOutput.of(model(image.clone()))
    finally:
        restore_settings(settings)


def outputs(model: nn.Module, image: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Run a network without gradients and return copies of its outputs by name."""
    with torch.no_grad():
        return {name: part.clone() for name, part in parts(run(model, image, seed)).items()}


def parts(output: MultiTaskOutput) -> dict[str, Tensor]:
    """Return the tensors of an output by name: those that there are."""
    named = {"logits": output.logits}
    if output.log_depth is not None:
        named["log_depth"] = output.log_depth
    named.update((f"side_logits[{k}]", side) for k, side in enumerate(output.side_logits))
    return named


def projection(output: MultiTaskOutput) -> Tensor:
    """Return a random linear function of all outputs, in which nothing cancels out."""
    noise = torch.Generator().manual_seed(7)
    total = output.logits.new_zeros((), dtype=torch.float32)
    for part in parts(output).values():
        weight = torch.randn(part.shape, generator=noise).to(part.device)
        total = total + (part.float() * weight).mean()
    return total


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """Return the gradients of a loss that arrive at parameters, by name; none if it has no graph."""
    if loss.requires_grad:
        torch.autograd.backward(loss)
    return {
        f"the gradient of {n}": p.grad for n, p in model.named_parameters() if p.grad is not None
    }


# --- losses -------------------------------------------------------------------------------------


class LossInputs(NamedTuple):
    r"""The tensors that a loss is given.

    Attributes:
        logits: class scores (B, C, \*S).
        target: labels (B, \*S).
        pred_depth: predicted depth (B, \*S), in logs if the loss wants them.
        target_depth: true depth (B, \*S).
        side_logits: class scores at half the size.
    """

    logits: Tensor
    target: Tensor
    pred_depth: Tensor
    target_depth: Tensor
    side_logits: list[Tensor]

    def mapped(self, change: Callable[[Tensor], Tensor]) -> LossInputs:
        """Change every tensor."""
        return self.paired(self, lambda ours, _: change(ours))

    def paired(self, other: LossInputs, join: Callable[[Tensor, Tensor], Tensor]) -> LossInputs:
        """Join every tensor with that of another batch."""
        return LossInputs(
            join(self.logits, other.logits),
            join(self.target, other.target),
            join(self.pred_depth, other.pred_depth),
            join(self.target_depth, other.target_depth),
            [join(ours, theirs) for ours, theirs in zip(self.side_logits, other.side_logits)],
        )

    def predicted(self, change: Callable[[Tensor], Tensor]) -> LossInputs:
        """Change what a network predicts: scores and depth."""
        return self.scored(change)._replace(pred_depth=change(self.pred_depth))

    def scored(self, change: Callable[[Tensor], Tensor]) -> LossInputs:
        """Change the scores, those of the side outputs too."""
        sides = [change(side) for side in self.side_logits]
        return self._replace(logits=change(self.logits), side_logits=sides)

    def differentiable(self) -> LossInputs:
        """Return a batch whose predictions are copies that require a gradient."""
        return self.predicted(lambda tensor: tensor.detach().clone().requires_grad_())

    def leaves(self) -> dict[str, Tensor]:
        """What a loss may be differentiated by, by name."""
        named = {"logits": self.logits, "pred_depth": self.pred_depth}
        named.update((f"side_logits[{k}]", side) for k, side in enumerate(self.side_logits))
        return named


def score(logits: Tensor) -> Tensor:
    """Return the logit (B, 1, ...) of the second of two classes, for a loss of the binary task."""
    return logits[:, 1:] - logits[:, :1]


def entries(target: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Return labels (B, ...) as entries (B, C, ...), for a loss of the multilabel task."""
    ignored = (target == ignore_index).unsqueeze(1)
    classes = torch.arange(num_classes, device=target.device)
    found = target.unsqueeze(1) == classes.reshape(-1, *[1] * (target.ndim - 1))
    return torch.where(ignored, ignore_index, found.long())


class Loss(NamedTuple):
    """A loss and how it is called.

    Attributes:
        criterion: the loss.
        call: calls a loss on a batch, and takes the value out of what it returns.
    """

    criterion: Any
    call: Callable[[Any, LossInputs], Tensor]

    def __call__(self, batch: LossInputs) -> Tensor:
        """Call the loss itself."""
        return self.call(self.criterion, batch)

    def of(self, criterion: Any) -> Loss:
        """Return another loss that is called in the same way."""
        return self._replace(criterion=criterion)

    def copied(self) -> Loss:
        """Return a copy, to be called in place of the loss itself."""
        return self.of(copied(self.criterion))

    def results(
        self, batch: LossInputs, seed: int = 0, *, copies: bool = True
    ) -> dict[str, Tensor]:
        """Return the value and its gradients by predictions, by name.

        A copy of the loss is called, unless ``copies`` is False. It is given copies of the batch,
        so that only ``check_loss_inputs_are_not_modified`` reports a loss that writes to its inputs.
        """
        seed_all(seed)
        leaves = batch.differentiable()
        value = (self.copied() if copies else self)(leaves.mapped(torch.clone))
        named = leaves.leaves()
        grads = [torch.zeros_like(leaf) for leaf in named.values()]
        if value.requires_grad:
            grads = [
                *torch.autograd.grad(value.sum(), list(named.values()), materialize_grads=True)
            ]
        found = {f"the gradient of {name}": grad for name, grad in zip(named, grads)}
        return {"the loss": value.detach(), **found}

    def value(self, batch: LossInputs, seed: int = 0) -> dict[str, Tensor]:
        """Return the value of a copy alone, by name."""
        return {"the loss": self.results(batch, seed)["the loss"]}
