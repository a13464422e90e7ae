"""Work on every frame of a data set, in several processes, with a progress bar."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from examples.rgbd.data.dataset import FrameSource
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.progress import progress_bar

T = TypeVar("T")
_CHUNK = 4

_work: Callable[[int], Any]


def _end_with_parent() -> None:
    """End this process when the one that started it is gone.

    A pool's workers wait for work for ever if their parent is killed: they hold the other end of
    their queue themselves.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _bind(function: Callable[[FrameSource, int], Any], dataset: FrameSource) -> None:
    """Give a worker process its function and data once, not with every frame."""
    global _work
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def work(index: int) -> Any:
        return function(dataset, index)

    _work = work


def _call(index: int) -> Any:
    return _work(index)


def for_each_frame(
    function: Callable[[FrameSource, int], T],
    dataset: FrameSource,
    workers: int,
    description: str,
) -> Iterator[T]:
    """The results of `function(dataset, index)` for all frames, in order.

    Args:
        function: a function that can be pickled.
        dataset: the frames.
        workers: processes beside this one; 0 works in this one.
        description: what the progress bar says.

    Raises:
        DataError: the first that the function raises, or that a worker was killed; frames behind
            it are not begun.
    """
    total = len(dataset)
    bar = progress_bar(total=total, description=description, unit="frame")
    with bar:
        if workers < 1:
            for index in range(total):
                yield function(dataset, index)
                bar.update()
            return
        pool = ProcessPoolExecutor(
            min(workers, -(-total // _CHUNK)),
            multiprocessing.get_context("spawn"),
            _bind,
            (function, dataset),
        )
        try:
            for result in pool.map(_call, range(total), chunksize=_CHUNK):
                yield result
                bar.update()
        except BrokenProcessPool:
            raise DataError(
                f"Expected {workers} processes to read the {description} frames, but one was "
                "killed: did memory run out? Run it again with fewer workers."
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
