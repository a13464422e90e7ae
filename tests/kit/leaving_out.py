"""Checks that a test leaves out."""

from __future__ import annotations

from typing import Any

import pytest

from lwm_loss.testing.registry import Registry


def leave_out(monkeypatch: pytest.MonkeyPatch, registry: Registry[..., Any], *names: str) -> None:
    """Take checks out of a registry; afterwards they are back in their places, in order."""
    assert registry.checks.keys() >= set(names)
    kept = {name: check for name, check in registry.checks.items() if name not in names}
    monkeypatch.setattr(registry, "checks", kept)
