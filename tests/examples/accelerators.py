"""The state that accelerate keeps for a whole process."""

from __future__ import annotations

from accelerate.state import AcceleratorState, GradientState, PartialState


def forget_accelerator() -> None:
    """Let the next run in this process make an accelerator of its own."""
    for state in (AcceleratorState, PartialState, GradientState):
        state._reset_state()
