"""Processes that begin with torch and the library imported: one server imports, and forks them."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp

START = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
multiprocessing.set_forkserver_preload(
    ["torch._dynamo", "lwm_loss.testing", "pytest"]
)  # DDP: dynamo


# A machine with ten jobs for each core needs minutes for what else takes seconds.
PATIENCE = 300.0


def start(worker: Callable[..., None], args: tuple[Any, ...], count: int) -> None:
    """Call ``worker(rank, *args)`` in each of some processes, and raise what one of them raises."""
    started = mp.start_processes(worker, args, count, join=False, start_method=START)
    deadline = time.monotonic() + PATIENCE
    try:
        while not started.join(timeout=1):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count} processes did not end within {PATIENCE:.0f} s")
    finally:
        for process in started.processes:
            process.kill()


def start_group(main: Callable[[Sequence[str]], None], args: Sequence[str], count: int) -> str:
    """Call ``main(args)`` in processes that find one another as those of torchrun do.

    Returns:
        What the first process printed.
    """
    said = Path("said.txt").absolute()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start(_member, (main, list(args), count, port, said), count)
    return said.read_text()


def _member(
    rank: int,
    main: Callable[[Sequence[str]], None],
    args: list[str],
    count: int,
    port: int,
    said: Path,
) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(count),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    if sys.platform == "linux":
        # Otherwise the address that the name of the machine stands for, reachable or not.
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    faulthandler.dump_traceback_later(PATIENCE - 20, repeat=True)
    path = said if rank == 0 else Path(os.devnull)
    with path.open("w") as file, contextlib.redirect_stdout(file):
        main(args)
    faulthandler.cancel_dump_traceback_later()
