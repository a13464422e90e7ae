"""Colours, patterns and light of the generated rooms.

The worlds differ in colour alone: a frame has the same geometry in each of them.

* ``a``: cabinet, bed, sofa, table and chair share one colour. They meet across gaps in depth.
* ``b``: door, window and picture share one colour, and so do pillow and cushion. They lie
  side by side at one depth; only their patterns differ.
* ``c``: every class has a colour of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from examples.rgbd.data.rooms.raycast import Float, Hits
from examples.rgbd.data.rooms.scene import (
    BED,
    CABINET,
    CEILING,
    CHAIR,
    CUSHION,
    DOOR,
    FLOOR,
    PICTURE,
    PILLOW,
    SOFA,
    TABLE,
    WALL,
    WINDOW,
    Room,
)

_OWN_COLOUR = {
    WALL: (0.80, 0.76, 0.68),
    FLOOR: (0.46, 0.36, 0.28),
    CEILING: (0.90, 0.90, 0.88),
    CABINET: (0.28, 0.46, 0.36),
    BED: (0.30, 0.42, 0.68),
    SOFA: (0.60, 0.22, 0.26),
    TABLE: (0.74, 0.54, 0.20),
    CHAIR: (0.46, 0.28, 0.56),
    DOOR: (0.22, 0.54, 0.58),
    WINDOW: (0.66, 0.84, 0.97),
    PICTURE: (0.86, 0.44, 0.20),
    PILLOW: (0.93, 0.66, 0.72),
    CUSHION: (0.62, 0.74, 0.28),
}
_SHARED = {
    "a": ((CABINET, BED, SOFA, TABLE, CHAIR),),
    "b": ((DOOR, WINDOW, PICTURE), (PILLOW, CUSHION)),
    "c": (),
}
_WOOD = ((0.56, 0.40, 0.26), (0.68, 0.56, 0.42), (0.44, 0.33, 0.27), (0.62, 0.58, 0.54))


def class_colours(rng: np.random.Generator, world: str) -> Float:
    """The base colour of each class in one room, float32 (C, 3)."""
    colours = np.array([_OWN_COLOUR[k] for k in range(len(_OWN_COLOUR))], np.float32)
    woods = rng.permutation(len(_WOOD))
    for group, wood in zip(_SHARED[world], woods, strict=False):
        colours[list(group)] = _WOOD[wood]
    for shell in (WALL, FLOOR):
        colours[shell] *= np.float32(rng.uniform(0.88, 1.08))
    return colours


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> Float:
    """Noise of mean 0 and deviation about 1 that varies over 1/cells of the image."""
    grid = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    noise: Float = np.asarray(grid.resize((size[1], size[0]), Image.Resampling.BICUBIC))
    return noise


def _stripes(x: Float, period: float, share: float = 0.5) -> Float:
    striped: Float = ((x / np.float32(period)) % 1.0 < share).astype(np.float32)
    return striped


def _border(u: Float, v: Float, margin_u: Float, margin_v: Float) -> Float:
    return ((np.abs(u) > 1 - margin_u) | (np.abs(v) > 1 - margin_v)).astype(np.float32)


def _pattern(room: Room, hits: Hits) -> Float:
    """What is drawn on a surface: -1 dark, 0 the plain colour, 1 light."""
    half = np.array([*(b.half for b in room.boxes), (1, 1, 1)], np.float32)[hits.box]
    side = np.array([1, 0, 0])[hits.axis], np.array([2, 2, 1])[hits.axis]
    u, v = (np.take_along_axis(hits.local, k[..., None], -1)[..., 0] for k in side)
    size_u, size_v = (np.take_along_axis(half, k[..., None], -1)[..., 0] for k in side)
    metres_u, metres_v = u * size_u, v * size_v
    front = hits.axis == 1
    edge = _border(u, v, 0.05 / size_u, 0.05 / size_v)
    x, y, z = (hits.point[..., k] for k in range(3))

    boards = -0.5 * _stripes(x, 0.16, 0.06) - 0.25 * _stripes(x, 0.32)
    wallpaper = -0.12 * _stripes(np.where(hits.axis == 0, y, x), 0.5, 0.08)
    drawers = np.where(front, -0.7 * _stripes(metres_v + size_v, 0.36, 0.07), 0) - 0.5 * np.where(
        front, edge, 0
    )
    blanket = 0.16 * np.sign(np.sin(metres_u * 16) * np.sin(metres_v * 16)) * (hits.axis == 2)
    weave = 0.22 * np.sin(metres_u * 60) * np.sin(metres_v * 60)
    grain = 0.18 * np.sin(metres_u * 9 + 2 * np.sin(metres_v * 5))
    panels = -0.6 * ((np.abs(np.abs(v) - 0.5) > 0.42) | (np.abs(u) > 0.8) | (np.abs(v) < 0.04))
    panes = np.where((np.abs(u) < 0.06) | (np.abs(v) < 0.05) | (edge > 0), -0.6, 0.45)
    scene = np.where(edge > 0, 0.45, np.where(v < 0.25 * np.sin(3 * u + size_u * 40), -0.6, 0.15))
    bands = np.where(_stripes(metres_u + size_u, 0.1) > 0, 0.3, -0.3)
    kinds = {
        WALL: wallpaper, FLOOR: boards, CEILING: np.zeros_like(z), CABINET: drawers, BED: blanket,
        SOFA: weave, TABLE: grain, CHAIR: np.zeros_like(z), DOOR: panels, WINDOW: panes,
        PICTURE: scene, PILLOW: 0.25 * edge, CUSHION: bands,
    }  # fmt: skip
    drawn = np.zeros_like(z)
    for label, pattern in kinds.items():
        np.copyto(drawn, pattern.astype(np.float32), where=hits.label == label)
    return drawn


def _contact_shade(room: Room, hits: Hits) -> Float:
    """Darkening where surfaces meet: corners of the room, the floor beside furniture."""
    size = np.asarray(room.size, np.float32)
    shade = np.ones_like(hits.depth)
    shell = hits.box < 0
    for k in range(3):
        distance = np.minimum(hits.point[..., k], size[k] - hits.point[..., k])
        shade *= np.where(shell & (hits.axis != k), 1 - 0.3 * np.exp(-distance / 0.22), 1)
    rows, cols = np.nonzero(hits.label == FLOOR)
    at = hits.point[rows, cols, :2]
    for box in room.boxes:
        lift = box.centre[2] - box.half[2]
        if lift > 0.8:
            continue
        cos, sin = np.float32(np.cos(box.yaw)), np.float32(np.sin(box.yaw))
        dx, dy = at[:, 0] - np.float32(box.centre[0]), at[:, 1] - np.float32(box.centre[1])
        outside = np.maximum(np.abs(dx * cos + dy * sin) - box.half[0], 0) + np.maximum(
            np.abs(dy * cos - dx * sin) - box.half[1], 0
        )
        shade[rows, cols] *= 1 - 0.4 * np.exp(-(outside + 0.5 * lift) / 0.12)
    foot = (~shell) & (hits.axis != 2)
    shade *= np.where(foot, 1 - 0.25 * np.exp(-hits.point[..., 2] / 0.12), 1)
    np.maximum(shade, np.float32(0.35), out=shade)
    return shade


def paint(rng: np.random.Generator, room: Room, hits: Hits, world: str) -> Float:
    """The colours that the camera sees, float32 (H, W, 3) in [0, 1], before the sensor's faults."""
    tint = rng.normal(0.0, 0.015, (room.things + 3, 3)).astype(np.float32)
    colour = class_colours(rng, world)[hits.label] + tint[hits.thing]
    drawn = _pattern(room, hits)[..., None]
    colour = np.where(drawn < 0, colour * (1 + 0.75 * drawn), colour + (1 - colour) * 0.75 * drawn)

    # One lamp below the ceiling, one far light through a window, and what the walls throw back.
    lamp = np.array(
        [
            rng.uniform(0.3, 0.7) * room.size[0],
            rng.uniform(0.3, 0.8) * room.size[1],
            room.size[2] - 0.2,
        ],
        np.float32,
    )
    to_lamp = lamp - hits.point
    distance = np.linalg.norm(to_lamp, axis=-1)
    facing = np.maximum((to_lamp * hits.normal).sum(-1) / np.maximum(distance, 1e-3), 0)
    far = rng.normal(size=3) + np.array([0.0, -0.8, 0.9])
    far_facing = np.maximum(hits.normal @ (far / np.linalg.norm(far)).astype(np.float32), 0)
    light = 0.48 + 0.5 * facing / (0.6 + 0.12 * distance**2) + 0.28 * far_facing
    light *= _contact_shade(room, hits)
    warm = np.array([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.78, 1.02)], np.float32)
    lit: Float = np.clip(colour * light[..., None] * warm, 0, 1.2).astype(np.float32)
    return lit


def expose(rng: np.random.Generator, colour: Float) -> NDArray[np.uint8]:
    """The camera: exposure, gamma, white balance, vignette and noise; uint8 (H, W, 3)."""
    height, width = colour.shape[:2]
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    gain = (rng.uniform(0.8, 1.12) * (1 - 0.12 * (x**2 + y**2))).astype(np.float32)
    balance = rng.normal(1.0, 0.03, 3).astype(np.float32)
    seen = np.clip(colour * gain[..., None] * balance, 0, 1) ** np.float32(rng.uniform(0.85, 1.15))
    seen += rng.normal(0.0, 0.012, colour.shape).astype(np.float32)
    exposed: NDArray[np.uint8] = (np.clip(seen, 0, 1) * 255 + 0.5).astype(np.uint8)
    return exposed
