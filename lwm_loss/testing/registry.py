"""Every check is a public function, and has its place in a list that the runner goes through."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from torch import nn

from ._isolation import isolated
from .report import ContractError
from .search import Breach
from .subjects.loss import LossProbe
from .subjects.network import BackboneProbe

Probe = TypeVar("Probe", BackboneProbe, LossProbe)


class Check(NamedTuple, Generic[Probe]):
    """One contract: its name, what it says, how it is usually broken, and how to find out.

    ``body`` may return a remark, for a contract that holds with a reservation.
    """

    name: str
    contract: str
    usual_cause: str
    body: Callable[[Probe], str | None]

    def __call__(self, probe: Probe) -> str:  # type: ignore[misc]
        """Checks a subject.

        Raises:
            ContractError: the contract is broken.
            CheckSkipped: the check does not apply.
        """
        with isolated(small=probe.small):
            try:
                return self.body(probe) or ""
            except Breach as error:
                raise ContractError(
                    self.name, self.contract, error.finding, error.reproduce, self.usual_cause
                ) from error.__cause__
            finally:
                probe.restore()


class BackboneCheckFunction(Protocol):
    """A check of a backbone, as it is called by itself."""

    __name__: str

    def __call__(
        self,
        model: nn.Module,
        num_classes: int | None = None,
        image_size: tuple[int, int] = (48, 64),
        *,
        resize: str | None = None,
        max_examples: int = 4,
        seed: int | None = None,
    ) -> None: ...


class LossCheckFunction(Protocol):
    """A check of a loss, as it is called by itself."""

    __name__: str

    def __call__(
        self,
        criterion: Callable[..., Any],
        num_classes: int | None = None,
        *,
        ignore_index: int | None = None,
        kind: str = "auto",
        max_weight: float | None = None,
        max_examples: int = 25,
        seed: int | None = None,
    ) -> None: ...


BACKBONE_CHECKS: dict[str, Check[BackboneProbe]] = {}
LOSS_CHECKS: dict[str, Check[LossProbe]] = {}


def backbone_check(
    usual_cause: str,
) -> Callable[[Callable[[BackboneProbe], str | None]], BackboneCheckFunction]:
    """Registers a check of a backbone and gives it its public form."""

    def register(body: Callable[[BackboneProbe], str | None]) -> BackboneCheckFunction:
        check = Check(body.__name__, _contract(body), usual_cause, body)
        BACKBONE_CHECKS[check.name] = check

        def function(
            model: nn.Module,
            num_classes: int | None = None,
            image_size: tuple[int, int] = (48, 64),
            *,
            resize: str | None = None,
            max_examples: int = 4,
            seed: int | None = None,
        ) -> None:
            check(
                BackboneProbe(
                    model,
                    num_classes,
                    image_size,
                    resize=resize,
                    max_examples=max_examples,
                    seed=seed,
                )
            )

        _dress(function, body, usual_cause)
        return function

    return register


def loss_check(
    usual_cause: str,
) -> Callable[[Callable[[LossProbe], str | None]], LossCheckFunction]:
    """Registers a check of a loss and gives it its public form."""

    def register(body: Callable[[LossProbe], str | None]) -> LossCheckFunction:
        check = Check(body.__name__, _contract(body), usual_cause, body)
        LOSS_CHECKS[check.name] = check

        def function(
            criterion: Callable[..., Any],
            num_classes: int | None = None,
            *,
            ignore_index: int | None = None,
            kind: str = "auto",
            max_weight: float | None = None,
            max_examples: int = 25,
            seed: int | None = None,
        ) -> None:
            check(
                LossProbe(
                    criterion,
                    num_classes,
                    ignore_index=ignore_index,
                    kind=kind,
                    max_weight=max_weight,
                    max_examples=max_examples,
                    seed=seed,
                )
            )

        _dress(function, body, usual_cause)
        return function

    return register


def _contract(body: Callable[..., Any]) -> str:
    """The first paragraph of the docstring, on one line and without markup."""
    first = " ".join((inspect.getdoc(body) or "").split("\n\n")[0].split())
    return first.replace("\\*", "*").replace("``", "`")


def _dress(function: Any, body: Any, usual_cause: str) -> None:
    """Name and documentation of the body, with the signature of the function."""
    function.__name__ = body.__name__
    function.__qualname__ = body.__qualname__
    function.__module__ = body.__module__
    # Without docstrings (python -OO) there is nothing to add to.
    if body.__doc__ is not None:
        function.__doc__ = f"{inspect.getdoc(body)}\n\nUsual cause: {usual_cause}."
