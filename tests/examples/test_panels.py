"""Panels of a run, and the figures made from a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import lwm_loss as lwm
from examples.rgbd.config import NetworkOptions, ObjectiveOptions
from examples.rgbd.data import GeneratedRooms
from examples.rgbd.model import build_model
from examples.rgbd.panels import draw_curriculum, draw_panels, spread

ROOMS = GeneratedRooms("test", 5, size=(32, 48))


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    options = NetworkOptions(backbone="resnet18", width=8)
    return build_model(options, ObjectiveOptions(), len(ROOMS.classes))


def options_for(count: int) -> dict[str, object]:
    return {
        "count": count,
        "image_size": (32, 48),
        "limits": ROOMS.depth_limits,
        "objective": ObjectiveOptions(),
    }


def test_frames_are_spread_evenly() -> None:
    assert spread(10, 1) == [5]
    assert spread(10, 2) == [2, 7]
    assert spread(3, 8) == [0, 1, 2]
    assert spread(5, 0) == []


def test_panels_are_drawn_and_the_network_goes_on_training(
    network: torch.nn.Module, tmp_path: Path
) -> None:
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    files = draw_panels(
        network,
        ROOMS,
        tmp_path,
        "epoch-001",
        "held out",
        classes=ROOMS.classes,
        palette=ROOMS.palette,
        curriculum=lwm.SelfPacedCurriculum(5),
        **options_for(2),
    )
    assert [file.name for file in files] == [
        "epoch-001-room-test-00001.png",
        "epoch-001-room-test-00003.png",
    ]
    pictures = [np.asarray(Image.open(file)) for file in files]
    assert all(picture.std() > 20 for picture in pictures)
    assert sorted(tmp_path.iterdir()) == files
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_curriculum_lets_more_of_m_in_from_picture_to_picture(
    network: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[np.ndarray] = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.imshow", lambda self, values, **options: drawn.append(values)
    )
    (file,) = draw_curriculum(
        network, ROOMS, tmp_path, "test", epochs=(0, 3, 6), length=6, **options_for(1)
    )
    assert file.name == "kept-room-test-00002.png"
    _, first, middle, last = drawn
    assert (first > 0).sum() < (middle > 0).sum() < (last > 0).sum()
    assert (np.where(first > 0, first, last) == last).all()
    assert (np.where(middle > 0, middle, last) == last).all()


def test_a_network_without_depth_cannot_be_drawn(tmp_path: Path) -> None:
    plain = build_model(
        NetworkOptions(backbone="resnet18", width=8), ObjectiveOptions(objective="s"), 13
    )
    with pytest.raises(ValueError, match="depth branch"):
        draw_curriculum(plain, ROOMS, tmp_path, "test", epochs=(1,), length=2, **options_for(1))
