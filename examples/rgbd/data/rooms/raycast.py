"""Rays against boxes, vectorised over pixels: what is seen where, how far, and at which point."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.rooms.scene import CEILING, FLOOR, WALL, Camera, Room

Float = NDArray[np.float32]
_NEAR = 0.05  # metres; nothing nearer than this is drawn


class Hits(NamedTuple):
    """What each of the (H, W) rays meets first.

    Attributes:
        depth: float32 (H, W), metres along the optical axis.
        label: uint8 (H, W), the class.
        box: int32 (H, W), index into ``room.boxes``, or -1 for the shell of the room.
        thing: int32 (H, W), the object; -1 to -3 for floor and ceiling, side walls, far wall.
        point: float32 (H, W, 3), the point in the room's frame.
        local: float32 (H, W, 3), the point in the box's frame, divided by its half extents.
        axis: uint8 (H, W), the axis of the local frame that the face looks along.
        normal: float32 (H, W, 3), the outer normal in the room's frame.
    """

    depth: Float
    label: NDArray[np.uint8]
    box: NDArray[np.int32]
    thing: NDArray[np.int32]
    point: Float
    local: Float
    axis: NDArray[np.uint8]
    normal: Float


def thin(hits: Hits, step: int) -> Hits:
    """Every `step`-th row and column."""
    every = np.s_[::step, ::step]
    return Hits(
        hits.depth[every], hits.label[every], hits.box[every], hits.thing[every],
        hits.point[every], hits.local[every], hits.axis[every], hits.normal[every],
    )  # fmt: skip


def camera_axes(camera: Camera) -> NDArray[np.float64]:
    """Rows: the camera's right, down and forward directions in the room's frame."""
    cy, sy = np.cos(camera.yaw), np.sin(camera.yaw)
    cp, sp = np.cos(camera.pitch), np.sin(camera.pitch)
    forward = np.array([-sy * cp, cy * cp, sp])
    right = np.array([cy, sy, 0.0])
    down = np.cross(forward, right)
    cr, sr = np.cos(camera.roll), np.sin(camera.roll)
    return np.stack([cr * right + sr * down, cr * down - sr * right, forward])


def camera_rays(camera: Camera, size: tuple[int, int]) -> Float:
    """Ray directions (H, W, 3) scaled so that the ray parameter is the depth itself."""
    height, width = size
    focal = camera.focal * width
    u = (np.arange(width) + 0.5 - width / 2) / focal
    v = (np.arange(height) + 0.5 - height / 2) / focal
    right, down, forward = camera_axes(camera)
    rays = u[None, :, None] * right + v[:, None, None] * down + forward
    return _off_plane(rays.astype(np.float32))


def _off_plane(rays: Float) -> Float:
    """Nudge rays that run along a plane off it, so that one may divide by them."""
    return np.where(np.abs(rays) < 1e-9, np.float32(1e-9), rays)


def _window(
    corners: NDArray[np.float64], camera: Camera, axes: NDArray[np.float64], size: tuple[int, int]
) -> tuple[slice, slice] | None:
    """The part of the image that a box can cover, or None where it cannot be seen."""
    height, width = size
    seen = (corners - np.asarray(camera.position)) @ axes.T
    if (seen[:, 2] < _NEAR).all():
        return None
    if (seen[:, 2] < _NEAR).any():  # the projection of a box that reaches behind is unbounded
        return slice(0, height), slice(0, width)
    focal = camera.focal * width
    x = seen[:, 0] / seen[:, 2] * focal + width / 2
    y = seen[:, 1] / seen[:, 2] * focal + height / 2
    x0, x1 = max(int(np.floor(x.min())), 0), min(int(np.ceil(x.max())) + 1, width)
    y0, y1 = max(int(np.floor(y.min())), 0), min(int(np.ceil(y.max())) + 1, height)
    return (slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None


def cast(room: Room, size: tuple[int, int]) -> Hits:
    """Look into the room with its camera.

    Args:
        room: the scene.
        size: (height, width) in pixels.
    """
    rays = camera_rays(room.camera, size)
    axes = camera_axes(room.camera)
    eye = np.asarray(room.camera.position)

    # The shell is a box seen from inside: the nearest of the far planes.
    extent = np.asarray(room.size)
    far = np.stack(
        [
            np.where(rays[..., k] > 0, extent[k] - eye[k], -eye[k]).astype(np.float32)
            / rays[..., k]
            for k in range(3)
        ]
    )
    shell_axis = far.argmin(0).astype(np.uint8)
    depth = far.min(0)
    box = np.full(size, -1, np.int32)

    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    turns = []
    for index, item in enumerate(room.boxes):
        cos, sin = np.cos(item.yaw), np.sin(item.yaw)
        turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])
        turns.append(turn)
        window = _window(signs * item.half @ turn + item.centre, room.camera, axes, size)
        if window is None:
            continue
        start = turn @ (eye - item.centre)
        x, y, z = (rays[window][..., k] for k in range(3))
        local = (
            x * np.float32(cos) + y * np.float32(sin),
            y * np.float32(cos) - x * np.float32(sin),
            z,
        )
        enter, leave = np.full_like(z, -np.inf), np.full_like(z, np.inf)
        for k in range(3):
            inverse = np.float32(1) / _off_plane(local[k])
            a = np.float32(-item.half[k] - start[k]) * inverse
            b = np.float32(item.half[k] - start[k]) * inverse
            np.maximum(enter, np.minimum(a, b), out=enter)
            np.minimum(leave, np.maximum(a, b), out=leave)
        hit = (enter < leave) & (enter > _NEAR) & (enter < depth[window])
        depth[window] = np.where(hit, enter, depth[window])
        box[window] = np.where(hit, np.int32(index), box[window])
    return _surface(room, rays, depth, box, shell_axis, turns)


def _surface(
    room: Room,
    rays: Float,
    depth: Float,
    box: NDArray[np.int32],
    shell_axis: NDArray[np.uint8],
    turns: list[NDArray[np.float64]],
) -> Hits:
    """Face, normal, class and object of the points that were hit."""
    point = rays * depth[..., None] + np.asarray(room.camera.position, np.float32)
    # Index -1 picks the last row of each table: the shell.
    extent = np.asarray(room.size)
    centre = np.array([*(b.centre for b in room.boxes), extent / 2], np.float32)
    half = np.array([*(b.half for b in room.boxes), extent / 2], np.float32)
    turn = np.array([*turns, np.eye(3)], np.float32)
    offset = point - centre[box]
    turned = turn[box]
    local = np.einsum("hwij,hwj->hwi", turned, offset) / half[box]
    # Of the three, the face's own coordinate is the one that reaches +-1.
    axis = np.where(box < 0, shell_axis, np.abs(local).argmax(-1)).astype(np.uint8)
    picked = np.take_along_axis(local, axis[..., None].astype(np.int64), -1)[..., 0]
    outwards = np.where(box < 0, -np.sign(picked), np.sign(picked))
    normal = np.take_along_axis(turned, axis[..., None, None].astype(np.int64), -2)[..., 0, :]
    normal = (normal * outwards[..., None]).astype(np.float32)

    shell = np.where(axis == 2, np.where(point[..., 2] > extent[2] / 2, CEILING, FLOOR), WALL)
    label_of = np.array([*(b.label for b in room.boxes), 0], np.uint8)
    thing_of = np.array([*(b.thing for b in room.boxes), 0], np.int32)
    label = np.where(box < 0, shell, label_of[box]).astype(np.uint8)
    thing = np.where(box < 0, -3 + np.array([1, 0, 2], np.int32)[axis], thing_of[box])
    return Hits(depth, label, box, thing.astype(np.int32), point, local, axis, normal)
