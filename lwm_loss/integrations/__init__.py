"""Callbacks that set a curriculum from the state of a trainer.

Each module imports its framework when it is imported itself, and the library imports none of them.
"""

from __future__ import annotations

from typing import Any

from .._checks import require_object
from ..curriculum import SelfPacedCurriculum


def require_curriculum(value: Any) -> SelfPacedCurriculum:
    """Refuse what has no epoch to set, when the callback is built and not in the first step."""
    require_object(value, "curriculum", "a SelfPacedCurriculum")
    if not hasattr(value, "set_epoch"):
        held = isinstance(getattr(value, "curriculum", None), SelfPacedCurriculum)
        hint = ": did you mean its `curriculum`?" if held else "."
        raise TypeError(
            f"Expected `curriculum` to be a SelfPacedCurriculum, but got {type(value).__name__}{hint}"
        )
    curriculum: SelfPacedCurriculum = value
    return curriculum
