"""What the tests of the kit have in common."""

from __future__ import annotations

import pytest
from hypothesis import Phase

from lwm_loss.testing import search


@pytest.fixture
def unshrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report a failure as it was drawn: shrinking it takes most of the time of a check."""
    monkeypatch.setattr(search, "PHASES", (Phase.generate,))
