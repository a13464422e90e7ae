"""Property tests for the networks and losses that people bring.

``check_backbone`` and ``check_loss`` run every check on one subject, ``parametrize_with_checks``
makes a test of each. ``checks`` holds them one by one, ``strategies`` draws batches for hypothesis,
and ``reference`` is the paper in plain float64 loops, the oracle of the library's own tests.

Needs the extra ``testing``.
"""

from importlib.util import find_spec

if find_spec("hypothesis") is None:
    raise ImportError(
        "Expected hypothesis to be installed for lwm_loss.testing, but it is not: "
        "did you mean `pip install lwm-loss[testing]`?"
    )

from . import checks, reference, strategies
from .expect import CheckSkipped
from .mining_loss import mining_loss
from .report import CheckResult, ContractError, Report
from .resized import Resized
from .runner import check_backbone, check_loss, parametrize_with_checks
from .warm_up import warm_up

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
