"""HHA and surface normals of a room whose walls, floor and camera are known."""

from __future__ import annotations

import math

import pytest
import torch

from examples.rgbd.data.hha import gravity_direction, hha, plane_normals, points_of
from examples.rgbd.data.normals import normal_loss, surface_normals

INTRINSICS = torch.tensor([60.0, 60.0, 39.5, 29.5])
CAMERA_HEIGHT = 1.2


def room(pitch=0.0):
    """Depth (1, 60, 80) of a floor 1.2 m below the camera and a wall 4 m ahead; the way down."""
    rays = points_of(torch.ones(1, 60, 80).double(), INTRINSICS)[0]
    turn = math.radians(pitch)
    down = torch.tensor([0.0, math.cos(turn), math.sin(turn)]).double()
    ahead = torch.tensor([0.0, -math.sin(turn), math.cos(turn)]).double()
    along, across = (torch.einsum("c,chw->hw", axis, rays) for axis in (down, ahead))
    floor = torch.where(along > 0, CAMERA_HEIGHT / along.clamp(min=1e-9), torch.inf)
    wall = torch.where(across > 0, 4.0 / across.clamp(min=1e-9), torch.inf)
    return torch.minimum(floor, wall)[None], floor < wall, down, ahead


@pytest.mark.parametrize("pitch", [0.0, 12.0])
def test_hha_of_a_room(pitch):
    depth, floor, down, _ = room(pitch)
    normals = plane_normals(depth, INTRINSICS, 3)
    assert (gravity_direction(normals)[0] @ down).item() == pytest.approx(1, abs=1e-3)
    disparity, height, angle = hha(depth, INTRINSICS)[0]
    expected = (310 / depth[0].clamp(min=1)).round().clamp(max=255)
    torch.testing.assert_close(disparity, expected)
    inside = torch.zeros_like(floor)
    inside[4:-4, 4:-4] = True
    away = torch.nn.functional.max_pool2d(floor[None].double(), 9, 1, 4)[0] == floor.double()
    away &= -torch.nn.functional.max_pool2d(-floor[None].double(), 9, 1, 4)[0] == floor.double()
    ground, wall = floor & away & inside, ~floor & away & inside
    assert ground.sum() > 100
    assert wall.sum() > 100
    assert (angle[ground] - 38).abs().max() <= 1
    assert (angle[wall] - 128).abs().max() <= 1
    assert height[ground].max() <= 3
    eye = points_of(depth, INTRINSICS)[0]
    above = 100 * (CAMERA_HEIGHT - torch.einsum("c,chw->hw", down, eye))
    assert (height - above.clamp(0, 255)).abs().max() <= 4


def test_missing_depth_stays_missing_and_spoils_nothing_else():
    depth, *_ = room()
    holes = depth.clone()
    holes[:, 20:24, 30:34] = 0
    whole, pierced = hha(depth, INTRINSICS), hha(holes, INTRINSICS)
    assert not pierced[:, :, 20:24, 30:34].any()
    kept = holes[:, None].expand_as(whole) > 0
    assert (whole - pierced)[kept].abs().max() <= 2
    assert pierced.isfinite().all()


def test_mirroring_needs_no_recomputation():
    depth, *_ = room()
    mirrored = hha(depth.flip(-1), torch.tensor([60.0, 60.0, 39.5, 29.5]))
    assert (mirrored - hha(depth, INTRINSICS).flip(-1)).abs().max() <= 1


def test_normals_point_away_and_stop_at_edges():
    depth, floor, down, ahead = room(12.0)
    depth[:, :, 60:] = 1.0
    normals = surface_normals(depth, INTRINSICS)
    assert not normals[:, :, 10:50, 58:61].any()
    for axis, where in ((down, floor[50:56, 10:40]), (ahead, ~floor[5:20, 10:40])):
        assert where.all()
        rows = slice(50, 56) if axis is down else slice(5, 20)
        found = normals[0, :, rows, 10:40].flatten(1)
        found = found[:, found.abs().sum(0) > 0]
        assert found.shape[1] > 50
        torch.testing.assert_close(found, axis[:, None].expand_as(found), atol=1e-3, rtol=0)
    assert normal_loss(normals, normals).item() == pytest.approx(0, abs=1e-9)
    assert normal_loss(-normals, normals).item() == pytest.approx(2)
    assert normal_loss(normals, torch.zeros_like(normals)) == 0
