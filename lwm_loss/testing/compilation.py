"""`torch.compile` as the checks use it: one graph or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from .expect import CheckSkipped, breach


def expect_no_readback(call: Callable[[Callable[..., Any]], Any]) -> None:
    """Call a function with what makes tensors fake; raise a `Breach` if it asks for a value.

    A compiler can trace what reads a number or picks a number of pixels from a tensor, but on a
    device that stalls all the same.
    """
    try:
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            call(mode.from_tensor)
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        breach(f"it reads values back from a tensor, or indexes by them ({error.func})")


@contextmanager
def compiled(function: Callable[..., Any], backend: str) -> Iterator[Any]:
    """Compile a function as one graph; what is compiled is forgotten before and after.

    Code is compiled for each of its modules only a few times in a process, so that a subject would
    inherit the limit of those before it. Skips the check where `torch.compile` does not run.
    """
    try:
        torch._dynamo.eval_frame.check_if_dynamo_supported()
    except RuntimeError as error:
        raise CheckSkipped(f"torch.compile does not run here: {error}") from error
    torch._dynamo.reset()
    try:
        yield torch.compile(function, backend=backend, fullgraph=True, dynamic=False)
    finally:
        torch._dynamo.reset()
