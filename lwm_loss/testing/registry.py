"""Every check is a public function that registers itself once."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from .expect import Breach
from .isolation import isolated
from .report import ContractError
from .subjects.loss import LossProbe
from .subjects.network import BackboneProbe

P = ParamSpec("P")
Probe = TypeVar("Probe", BackboneProbe, LossProbe)


@dataclass(frozen=True)
class Check(Generic[Probe]):
    """One contract of a kind of subject.

    Attributes:
        name: that of its function.
        contract: what must hold, in one sentence.
        usual_cause: how the contract is usually broken.
        section: what this check and others are about: the first line of their module.
        body: raises a `Breach`; may return a remark, if the contract holds with a reservation.
        requires: skips the check for a subject without what it needs.
    """

    name: str
    contract: str
    usual_cause: str
    section: str
    body: Callable[[Probe], str | None]
    requires: Callable[[Probe], object] | None

    def __call__(self, probe: Probe) -> str:
        """Check a subject.

        Raises:
            ContractError: the contract is broken.
            CheckSkipped: the check does not apply.
        """
        with isolated(small=probe.small):
            try:
                if self.requires is not None:
                    self.requires(probe)
                return self.body(probe) or ""
            except Breach as error:
                raise ContractError(
                    self.name, self.contract, error.finding, error.reproduce, self.usual_cause
                ) from error.__cause__
            finally:
                probe.restore()


def require_output(probe: BackboneProbe | LossProbe) -> None:
    """Skip the check if the subject does not run: what it returns is what most checks look at."""
    probe.require_output()


class Registry(Generic[P, Probe]):
    """The checks of one kind of subject, by name, in the order in which they are defined.

    As a decorator it registers a check and gives it its public form: a function with the arguments
    of the probe.
    """

    def __init__(self, probe: Callable[P, Probe], example: str) -> None:
        self.example = example  # a healthy subject
        self.probe: Callable[P, Probe] = probe
        self.checks: dict[str, Check[Probe]] = {}

    def __call__(
        self,
        usual_cause: str,
        example: str | None = None,
        *,
        requires: Callable[[Probe], object] | None = require_output,
        run: Callable[[Probe, Callable[..., Any]], Any] | None = None,
    ) -> Callable[[Callable[..., str | None]], Callable[P, None]]:
        """Return the decorator of a check that is usually broken in this way.

        ``example`` is the code of arguments that pass it, in place of the registry's. ``requires``
        skips it for a subject without what it needs. ``run``, a method of the probe, runs it as the
        body of a check; without it the check is given the probe, and runs one body or several.
        """
        passes = example or self.example
        name = passes.partition("(")[0]
        needed = "" if "." in name else f"    >>> from lwm_loss import {name}\n"

        def register(body: Callable[..., str | None]) -> Callable[P, None]:
            doc = inspect.getdoc(body) or ""  # none under python -OO
            contract = " ".join(doc.split("\n\n")[0].split())
            contract = contract.replace("\\*", "*").replace("``", "`")
            section = (sys.modules[body.__module__].__doc__ or "").partition("\n")[0]
            judge = body if run is None else lambda probe: run(probe, body)
            check = Check(body.__name__, contract, usual_cause, section, judge, requires)
            self.checks[check.name] = check

            @functools.wraps(body, assigned=("__module__", "__name__", "__qualname__"))
            def function(*args: P.args, **kwargs: P.kwargs) -> None:
                check(self.probe(*args, **kwargs))

            if doc and ">>>" not in doc:
                doc += f"\n\nExample:\n{needed}    >>> {check.name}({passes})"
            public: Any = function
            public.__doc__ = doc and f"{doc}\n\nUsual cause: {usual_cause}."
            public.__signature__ = inspect.signature(self.probe, eval_str=True).replace(
                return_annotation=None
            )
            return function

        return register

    @property
    def options(self) -> set[str]:
        """The names of the options that its checks have in common."""
        return {*inspect.signature(self.probe).parameters} - {"model", "criterion", "num_classes"}


backbone_check = Registry(BackboneProbe, "torch.nn.Conv2d(3, 5, 1)")
loss_check = Registry(LossProbe, 'torch.nn.CrossEntropyLoss(reduction="none")')
REGISTRIES: tuple[Registry[Any, Any], ...] = (backbone_check, loss_check)
