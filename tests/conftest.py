"""One thread, one seed, and the hypothesis profiles: derandomised in CI, random elsewhere, few
examples in the short run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

KIT = tuple(f"lwm_loss.testing.{name}" for name in ("checks", "runner", "strategies"))


def pytest_configure(config: pytest.Config) -> None:
    """Prepare a process that runs tests; that of pytest-xdist which only hands them out does not."""
    if not config.getoption("numprocesses", None) or hasattr(config, "workerinput"):
        prepare_environment()
        load_profile(short="not slow" in config.getoption("markexpr"))


def prepare_environment() -> None:
    """Import the library, and set what is read when other modules are imported."""
    import torch

    # Before the doctests of a single file of it make a second module of that file.
    import lwm_loss  # noqa: F401

    # Before anything imports triton: that is when it decides whether to interpret its kernels.
    if not torch.cuda.is_available():
        os.environ.setdefault("TRITON_INTERPRET", "1")

    # A compiled graph that another version of an operator left on disk is no test of this one.
    for cache in ("FX_GRAPH", "AUTOGRAD"):
        os.environ.setdefault(f"TORCHINDUCTOR_{cache}_CACHE", "0")


def load_profile(*, short: bool) -> None:
    """Load a profile of hypothesis before any test is made; the short run draws few examples."""
    from hypothesis import HealthCheck, settings

    # Drawing a whole batch is slower than hypothesis' idea of a draw; a slow machine is no fault.
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    dev = settings(deadline=None, suppress_health_check=slow, print_blob=True)
    settings.register_profile("dev", dev)
    settings.register_profile("ci", dev, derandomize=True)
    settings.register_profile("short", dev, derandomize=True, max_examples=8)
    settings.load_profile("short" if short else "ci" if os.environ.get("CI") else "dev")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the doctests of the kit as slow: each runs a whole check, or shrinks a whole batch."""
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.name.startswith(KIT):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Images of fifty pixels gain nothing from a thread pool, and one thread is reproducible."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random state, whatever ran before it."""
    import torch

    torch.manual_seed(0)
