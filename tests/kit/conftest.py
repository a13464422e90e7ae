"""What the tests of the kit have in common."""

from __future__ import annotations

import pytest
from hypothesis import Phase

from lwm_loss.testing import search
from lwm_loss.testing.registry import backbone_check, loss_check
from tests.kit.leaving_out import leave_out


@pytest.fixture
def unshrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report a failure as it was drawn: shrinking it takes most of the time of a check."""
    monkeypatch.setattr(search, "PHASES", (Phase.generate,))


@pytest.fixture
def without_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the two checks that take as long as all others together."""
    leave_out(monkeypatch, backbone_check, "check_torch_compile")
    leave_out(monkeypatch, loss_check, "check_loss_torch_compile")
