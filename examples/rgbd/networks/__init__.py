"""Networks that predict labels and, as a second task, depth: the rows of the paper's Table I."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from examples.rgbd.networks.names import *  # noqa: F403


def __getattr__(name: str) -> Any:
    # Once it is asked for: the package's command parses its line before torch is imported.
    if not name.startswith("_"):
        names = importlib.import_module(f"{__name__}.names")
        if name in names.__all__:
            return getattr(names, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
