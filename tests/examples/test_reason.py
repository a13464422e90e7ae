"""What another library's exception says, within one's own sentence."""

from __future__ import annotations

import pytest

from examples.rgbd.reason import reason_of


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("cannot read\n   the  header."), "cannot read the header"),
        (KeyError("depths"), "depths"),
        (KeyError(), "KeyError"),
        (EOFError(), "EOFError"),
        (ValueError(""), "ValueError"),
    ],
)
def test_a_reason_is_one_line(error: Exception, said: str) -> None:
    assert reason_of(error) == said


def test_a_long_reason_is_cut_at_a_word() -> None:
    assert reason_of(RuntimeError("word " * 100), most=18) == "word word [...]"
