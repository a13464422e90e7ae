"""Large memory pages for large new tensors, on Linux."""

from __future__ import annotations

import ctypes
import functools
import mmap
from collections.abc import Callable

from torch import Tensor

# A large page has 2 MiB. Below a few of them there is nothing to gain.
LEAST_BYTES = 8 << 20


@functools.cache
def _madvise() -> Callable[[int, int, int], int] | None:
    """The C library's `madvise`, or None where it or large pages are missing."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    try:
        function = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    function.restype = ctypes.c_int
    call: Callable[[int, int, int], int] = function
    return call


def prefer_large_pages(tensor: Tensor) -> Tensor:
    """Ask the system to back a new tensor on the CPU with large pages; returns the tensor.

    Memory of this size comes fresh from the system, which clears it page by page when it is first
    written. With pages of 4 KiB the faults take longer than the gradient that is written. The call
    is advice: a system that does not follow it loses nothing.
    """
    advise = _madvise()
    if advise is not None and tensor.nbytes >= LEAST_BYTES:
        start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        advise(start, tensor.data_ptr() + tensor.nbytes - start, mmap.MADV_HUGEPAGE)
    return tensor
