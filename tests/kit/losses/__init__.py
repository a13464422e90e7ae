"""Healthy losses, and losses that each break one contract on purpose."""

from tests.kit.losses.curricula import *  # noqa: F403
from tests.kit.losses.healthy import *  # noqa: F403
from tests.kit.losses.pixels import *  # noqa: F403
from tests.kit.losses.process import *  # noqa: F403
from tests.kit.losses.values import *  # noqa: F403
from tests.kit.losses.weights import *  # noqa: F403
