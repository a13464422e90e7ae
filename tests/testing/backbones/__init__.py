"""Healthy networks, and networks that each break one contract on purpose."""

from tests.testing.backbones.copies import *  # noqa: F403
from tests.testing.backbones.deployment import *  # noqa: F403
from tests.testing.backbones.evaluation import *  # noqa: F403
from tests.testing.backbones.gradients import *  # noqa: F403
from tests.testing.backbones.healthy import *  # noqa: F403
from tests.testing.backbones.outputs import *  # noqa: F403
from tests.testing.backbones.side_effects import *  # noqa: F403
