"""Every check by itself.

A check of a backbone is called as ``check(model, num_classes, image_size)``, a check of a loss as
``check(criterion, num_classes)``. It returns None if the contract in its first line holds, raises
:class:`~lwm_loss.testing.ContractError` if it does not, and
:class:`~lwm_loss.testing.CheckSkipped` if it does not apply.
"""

# Reports are in the order of these imports: first what must hold before anything else can.
# isort: skip_file
# ruff: noqa: F403

from ..registry import REGISTRIES
from .outputs import *
from .side_effects import *
from .evaluation import *
from .gradients import *
from .learning import *
from .privileged import *
from .copies import *
from .deployment import *
from .loss_values import *
from .loss_direction import *
from .loss_invariances import *
from .loss_pixels import *
from .weight_map import *
from .loss_deployment import *
from .loss_process import *
from .curriculum import *

__all__ = [name for registry in REGISTRIES for name in registry.checks]


def __dir__() -> list[str]:
    return sorted(__all__)
