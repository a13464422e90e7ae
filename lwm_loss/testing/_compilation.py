"""`torch.compile` as the checks use it: one graph or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ._report import CheckSkipped


def require_compiler() -> None:
    """Skips the check where this Python or platform has no `torch.compile`."""
    try:
        torch._dynamo.eval_frame.check_if_dynamo_supported()
    except RuntimeError as error:
        raise CheckSkipped(f"torch.compile does not run here: {error}") from error


@contextmanager
def trace(function: Callable[..., Any], backend: str) -> Iterator[Any]:
    """The function compiled as one graph; what is compiled is forgotten before and after.

    Code is compiled for each of its modules only a few times in a process, so that a subject would
    inherit the limit of those before it.
    """
    torch._dynamo.reset()
    try:
        yield torch.compile(function, backend=backend, fullgraph=True, dynamic=False)
    finally:
        torch._dynamo.reset()
