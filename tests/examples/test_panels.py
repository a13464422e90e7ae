"""Panels of a run, and the figures made from a checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import lwm_loss as lwm
from examples.rgbd.data import GeneratedRooms, void_of
from examples.rgbd.model import build_model
from examples.rgbd.options.groups import NetworkOptions, ObjectiveOptions
from examples.rgbd.report.panels import draw_curriculum, draw_panels, spread
from lwm_loss.plotting import DROPPED_COLOUR, VOID_COLOUR

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


@pytest.mark.slow
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
    figures: list[Figure] = []
    monkeypatch.setattr(
        "examples.rgbd.report.panels._save", lambda figure, path: (figures.append(figure), path)[1]
    )
    (file,) = draw_curriculum(
        network, ROOMS, tmp_path, "test", epochs=(0, 3, 6), length=6, **options_for(1)
    )
    assert file.name == "kept-room-test-00002.png"
    void = torch.from_numpy(ROOMS[2].label == void_of(ROOMS[2].label)).numpy()
    shown, shares = [], []
    for panel in figures[0].axes[1:4]:
        below, kept = (image.get_array() for image in panel.get_images())
        shown.append(~kept.mask & ~void)
        shares.append(int(panel.get_title().split(": ")[1].split(" %")[0]))
        assert shares[-1] == round(100 * shown[-1].sum() / (~void).sum())
        # What is not shown is blue where it is left out, and grey where there is no label.
        np.testing.assert_allclose(below[void], np.broadcast_to(VOID_COLOUR, (void.sum(), 3)))
        left_out = kept.mask & ~void
        expected = np.broadcast_to(DROPPED_COLOUR, (left_out.sum(), 3))
        np.testing.assert_allclose(below[left_out], expected)
    assert shares[0] < shares[1] < shares[2] == 100
    assert (shown[0] <= shown[1]).all()


@pytest.mark.slow
def test_a_network_without_depth_has_labels_to_draw_and_no_maps(tmp_path: Path) -> None:
    plain = build_model(
        NetworkOptions(backbone="resnet18", width=8), ObjectiveOptions(objective="s"), 13
    )
    with pytest.raises(ValueError, match="depth branch"):
        draw_curriculum(plain, ROOMS, tmp_path, "test", epochs=(1,), length=2, **options_for(1))
    more = {"classes": ROOMS.classes, "palette": ROOMS.palette, **options_for(1)}
    (file,) = draw_panels(plain, ROOMS, tmp_path, "epoch-001", "test", **more)
    with Image.open(file) as picture:
        # One row: image, label and prediction.
        assert picture.width > 3 * picture.height
