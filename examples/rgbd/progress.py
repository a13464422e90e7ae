"""Progress bars: one look for all, gone when they are done, and few lines in a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(
    items: Iterable[Any] | None = None, description: str | None = None, **options: Any
) -> Any:
    """A bar of tqdm.

    Args:
        items: what is worked through; None for a bar that is moved by `update`.
        description: what is done.
        **options: of tqdm, such as `total`, `unit` and `disable`.
    """
    return tqdm(
        items,
        description,
        leave=False,
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 10,
        **options,
    )
