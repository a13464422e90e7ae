"""What type checkers read of a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def typed_as(forward: Method) -> Callable[[Callable[..., Any]], Method]:
    """Declare that a method has the type of another one.

    ``torch.nn.Module`` declares that a call takes and returns anything. mypy lets a subclass assign
    ``__call__ = forward``, pyright keeps to the declaration; a method of its own both believe.
    """
    return lambda method: forward
