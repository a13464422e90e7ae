"""The map of files in docs/design.rst is that of the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def mapped(folder: str) -> set[str]:
    """The names that the map lists under a folder; two may share a line."""
    page = (ROOT / "docs" / "design.rst").read_text(encoding="utf-8")
    block = re.search(rf"^   {folder}/\n((?:     .*\n)+)", page, re.M)
    assert block is not None, folder
    return {
        name.rstrip("/")
        for line in block[1].splitlines()
        for name in re.match(r" +((?:\S+  ?)+)", line)[0].split()  # type: ignore[index]
        if re.fullmatch(r"\w+(\.py|/)", name)
    }


@pytest.mark.parametrize("folder", ["lwm_loss", "examples"])
def test_map_lists_every_file_and_no_other(folder: str) -> None:
    there = {
        path.name
        for path in (ROOT / folder).iterdir()
        if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))
    }
    assert mapped(folder) | {"__init__.py"} == there
