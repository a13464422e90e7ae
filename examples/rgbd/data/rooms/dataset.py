"""Generated rooms: a data set that needs no download and is worth learning from.

Boxes are ray-cast into colour, depth and labels. Classes share colours, and are told apart by
shape, place, pattern and depth; their frequencies have a long tail; the depth has the noise and
the holes of a structured-light camera; thin borders and a few objects are void.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.classes import label_palette
from examples.rgbd.data.frame import RGBDDataset, Sample, void_of
from examples.rgbd.data.geometry import GeometryKind, compute_geometry
from examples.rgbd.data.intrinsics import Intrinsics
from examples.rgbd.data.rooms.furniture import build_room
from examples.rgbd.data.rooms.paint import expose, paint, smooth_noise
from examples.rgbd.data.rooms.raycast import Float, Hits, camera_rays, cast, thin
from examples.rgbd.data.rooms.scene import ROOM_CLASSES, WINDOW, Room

World = Literal["mixed", "a", "b", "c"]
_STREAM = {"train": 0, "test": 1}
_OVERSAMPLING = 2  # rays a pixel and direction for the colour; label and depth take one of them


def sense_depth(rng: np.random.Generator, room: Room, hits: Hits) -> Float:
    """What a structured-light camera reports of the true depth: noisy, with holes at 0.

    The noise grows with the square of the depth (1.2 mm + 1.9 mm/m^2 (z - 0.4 m)^2, Nguyen et
    al. 2012). Holes: surfaces seen at a grazing angle, the shadow that a near edge casts on what
    lies to its left, most window panes, and a few blobs of dark or shiny material.
    """
    size = hits.depth.shape
    deviation = 0.0012 + 0.0019 * (hits.depth - 0.4) ** 2
    noise = rng.standard_normal(size)
    depth: Float = (hits.depth + noise * deviation).astype(np.float32)

    rays = camera_rays(room.camera, size)
    slant = np.abs((rays * hits.normal).sum(-1)) / np.linalg.norm(rays, axis=-1)
    missing = slant < 0.08
    missing[:, :-1] |= hits.depth[:, :-1] - hits.depth[:, 1:] > 0.25
    if rng.random() < 0.7:
        missing |= hits.label == WINDOW
    missing |= smooth_noise(rng, size, 9) > 2.1
    depth[missing | (depth < 0)] = 0.0
    return depth


def annotate(rng: np.random.Generator, room: Room, hits: Hits) -> NDArray[np.uint8]:
    """The classes as a human leaves them: borders partly void, a few objects skipped."""
    label: NDArray[np.uint8] = hits.label.copy()
    border = np.zeros(label.shape, bool)
    border[:, 1:] |= label[:, 1:] != label[:, :-1]
    border[1:] |= label[1:] != label[:-1]
    careless = smooth_noise(rng, label.shape, 6) > -0.2
    label[border & careless] = void_of(label)
    skipped = np.flatnonzero(rng.random(room.things) < 0.03)
    label[np.isin(hits.thing, skipped)] = void_of(label)
    return label


class GeneratedRooms(RGBDDataset):
    """An endless supply of rooms, of which `length` are shown.

    Frame i depends on (seed, split, i) alone, so any worker can draw it; the streams of the two
    splits never meet. The world changes colours only: frame i has the same geometry, depth and
    labels in each.

    Args:
        split: "train" or "test".
        length: number of frames.
        world: "a", furniture of one colour that meets across gaps in depth; "b", doors, windows
            and pictures, pillows and cushions of one colour, at one depth; "c", a colour for each
            class; "mixed", one of the three for each room.
        size: (height, width) in pixels.
        seed: draws another set of rooms.
        geometry: maps to compute of the sensed depth.

    Raises:
        ValueError: for an unknown split or world, or a size or length that is not positive.
    """

    classes = ROOM_CLASSES
    palette = label_palette(len(ROOM_CLASSES))
    depth_limits = (0.5, 7.5)

    def __init__(
        self,
        split: Literal["train", "test"],
        length: int,
        world: World = "mixed",
        size: tuple[int, int] = (96, 128),
        seed: int = 0,
        geometry: tuple[GeometryKind, ...] = (),
    ) -> None:
        if split not in _STREAM:
            raise ValueError(f"Expected `split` to be 'train' or 'test', but got {split!r}.")
        if world not in ("mixed", "a", "b", "c"):
            raise ValueError(f"Expected `world` to be 'mixed', 'a', 'b' or 'c', but got {world!r}.")
        if length < 1 or min(size) < 1 or seed < 0:
            raise ValueError(
                f"Expected a positive `length` and `size` and a `seed` of at least 0, but got "
                f"length={length}, size={size}, seed={seed}."
            )
        self.split = split
        self.length = length
        self.world = world
        self.size = size
        self.seed = seed
        self.geometry = geometry

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.length:
            raise IndexError(f"Expected an index in [0, {self.length}), but got {index}.")
        # One stream for each concern: what one of them draws never shifts another.
        key = [self.seed, _STREAM[self.split], index]
        layout, colours, sensor = (np.random.default_rng([*key, concern]) for concern in range(3))
        room = build_room(layout)
        height, width = self.size
        fine = cast(room, (height * _OVERSAMPLING, width * _OVERSAMPLING))
        world = ("a", "b", "c")[colours.integers(3)] if self.world == "mixed" else self.world
        colour = paint(colours, room, fine, world)
        colour = colour.reshape(height, _OVERSAMPLING, width, _OVERSAMPLING, 3).mean((1, 3))
        hits = thin(fine, _OVERSAMPLING)
        image, label = expose(colours, colour), annotate(sensor, room, hits)
        depth = sense_depth(sensor, room, hits)
        focal = room.camera.focal * width
        camera = Intrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, height, width)
        return Sample(
            image,
            label,
            depth,
            f"room-{self.split}-{index:05d}",
            {kind: compute_geometry(kind, depth, camera) for kind in self.geometry},
        )
