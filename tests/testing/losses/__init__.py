"""Healthy losses, and losses that each break one contract on purpose."""

from tests.testing.losses.curricula import *  # noqa: F403
from tests.testing.losses.healthy import *  # noqa: F403
from tests.testing.losses.pixels import *  # noqa: F403
from tests.testing.losses.process import *  # noqa: F403
from tests.testing.losses.values import *  # noqa: F403
from tests.testing.losses.weights import *  # noqa: F403
