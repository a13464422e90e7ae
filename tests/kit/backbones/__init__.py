"""Healthy networks, and networks that each break one contract on purpose."""

from tests.kit.backbones.copies import *  # noqa: F403
from tests.kit.backbones.deployment import *  # noqa: F403
from tests.kit.backbones.evaluation import *  # noqa: F403
from tests.kit.backbones.gradients import *  # noqa: F403
from tests.kit.backbones.healthy import *  # noqa: F403
from tests.kit.backbones.outputs import *  # noqa: F403
from tests.kit.backbones.side_effects import *  # noqa: F403
