"""Property tests for the networks and losses that people bring.

``check_backbone`` and ``check_loss`` run every check on one subject, ``parametrize_with_checks``
makes a test of each. ``checks`` holds them one by one, ``strategies`` draws batches for hypothesis,
and ``reference`` is the paper in plain float64 loops, the oracle of the library's own tests.

Needs the extra ``testing``.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import checks, reference, strategies
    from .mining_loss import mining_loss
    from .report import CheckResult, CheckSkipped, ContractError, Report
    from .resized import Resized
    from .runner import check_backbone, check_loss, parametrize_with_checks
    from .warm_up import warm_up

if find_spec("hypothesis") is None:
    raise ImportError(
        "Expected hypothesis to be installed for lwm_loss.testing, but it is not: "
        "did you mean `pip install lwm-loss[testing]`?"
    )

__all__ = [
    "CheckResult",
    "CheckSkipped",
    "ContractError",
    "Report",
    "Resized",
    "check_backbone",
    "check_loss",
    "checks",
    "mining_loss",
    "parametrize_with_checks",
    "reference",
    "strategies",
    "warm_up",
]

# Loaded on first use: the oracle alone needs neither torch nor hypothesis.
_HOMES = {
    "CheckResult": "report",
    "CheckSkipped": "report",
    "ContractError": "report",
    "Report": "report",
    "Resized": "resized",
    "warm_up": "warm_up",
    "mining_loss": "mining_loss",
    "check_backbone": "runner",
    "check_loss": "runner",
    "parametrize_with_checks": "runner",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_HOMES.get(name, name)}", __name__)
    return getattr(module, name) if name in _HOMES else module


def __dir__() -> list[str]:
    return sorted(__all__)
