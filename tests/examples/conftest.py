"""What the tests of the examples have in common."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty working directory, and no accelerator that an earlier run has set up."""
    from tests.examples.accelerators import forget_accelerator

    monkeypatch.chdir(tmp_path)
    yield
    forget_accelerator()


@pytest.fixture(scope="module")
def tiny_encoders() -> Iterator[None]:
    """``--backbone tiny`` and its kin: a step of training without the millions of weights."""
    from tests.examples.network_support import register_tiny_encoders

    with pytest.MonkeyPatch.context() as patch:
        register_tiny_encoders(patch)
        yield
