"""The optimiser, and how its learning rate goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from examples.rgbd.options.groups import OptimisationOptions

_POLY_POWER = 0.9
_WARM_UP = 0.15


def build_optimizer(groups: Sequence[dict[str, Any]], options: OptimisationOptions) -> Optimizer:
    """SGD with momentum (the paper's) or AdamW over groups that bring their learning rates.

    Fused: one pass over each weight, where the plain form takes several and reads a count to Python.
    """
    if options.optimizer == "adamw":
        return AdamW(groups, lr=options.lr, weight_decay=options.weight_decay, fused=True)
    return SGD(
        groups,
        lr=options.lr,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        fused=True,
    )


class Schedule:
    """One face for schedules that move after each step and for the one that moves after an epoch.

    Args:
        optimizer: whose learning rates are moved.
        options: which schedule.
        steps: of the whole run.
    """

    def __init__(self, optimizer: Optimizer, options: OptimisationOptions, steps: int) -> None:
        self._plateau: ReduceLROnPlateau | None = None
        self._by_step: LRScheduler | None = None
        if options.schedule == "plateau":
            self._plateau = ReduceLROnPlateau(optimizer, factor=0.1, patience=options.patience)
        elif options.schedule == "one-cycle":
            self._by_step = OneCycleLR(
                optimizer,
                max_lr=[group["lr"] for group in optimizer.param_groups],
                total_steps=steps + 1,
                pct_start=_WARM_UP,
                cycle_momentum=False,
            )
        elif options.schedule == "poly":
            self._by_step = LambdaLR(
                optimizer, lambda step: max(1 - step / steps, 0) ** _POLY_POWER
            )

    def after_step(self) -> None:
        """Call after each step of the optimiser."""
        if self._by_step is not None:
            self._by_step.step()

    def after_epoch(self, loss: float) -> None:
        """Call after each epoch with the loss that the plateau watches."""
        if self._plateau is not None:
            self._plateau.step(loss)

    def state_dict(self) -> dict[str, Any]:
        """The state, of numbers, strings and lists alone."""
        scheduler = self._plateau or self._by_step
        return {} if scheduler is None else dict(scheduler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state."""
        scheduler = self._plateau or self._by_step
        if scheduler is not None:
            scheduler.load_state_dict(state)
