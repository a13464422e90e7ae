"""The folder of the page "Your own data" holds what the rooms are, as `init` and the loaders read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from examples import folder_of_rooms
from examples.rgbd.data import GeneratedRooms


def test_rooms_are_written_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder_of_rooms.write_rooms(tmp_path, 2, size=(24, 32))
    rooms = GeneratedRooms("train", 2, size=(24, 32))
    image, label, metres = rooms[1][:3]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "rgb" / "room001.png")), image)
    stored = np.asarray(Image.open(tmp_path / "seg" / "room001.png")).astype(int)
    assert np.array_equal(np.where(stored == 0, 255, stored - 1), label)
    millimetres = np.asarray(Image.open(tmp_path / "depth" / "room001.png"))
    assert np.abs(millimetres / 1000 - metres).max() <= 0.5e-3 + 1e-6
    assert tuple((tmp_path / "classes.txt").read_text().split()) == rooms.classes
    assert "2 rooms" in capsys.readouterr().out
