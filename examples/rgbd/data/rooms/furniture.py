"""Furnishing generated rooms: which boxes stand where, before anything is seen or painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from examples.rgbd.data.rooms.scene import (
    BED,
    CABINET,
    CHAIR,
    CUSHION,
    DOOR,
    PICTURE,
    PILLOW,
    SOFA,
    TABLE,
    WINDOW,
    Box,
    Camera,
    Room,
)

_THICKNESS = 0.03  # of what hangs on a wall: far below one depth bin, so coplanar with it
_CAMERA_CLEARANCE = 0.75


@dataclass(frozen=True)
class _Frame:
    """A place for furniture: local x along its back, local y towards its front."""

    x: float
    y: float
    yaw: float

    def box(
        self,
        low: tuple[float, float, float],
        high: tuple[float, float, float],
        label: int,
        thing: int,
    ) -> Box:
        """A box given by its corners in the local frame (its back lies on y = 0)."""
        cx, cy, cz = ((a + b) / 2 for a, b in zip(low, high, strict=True))
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        centre = (float(self.x + cos * cx - sin * cy), float(self.y + sin * cx + cos * cy), cz)
        hx, hy, hz = ((b - a) / 2 for a, b in zip(low, high, strict=True))
        return Box(centre, (hx, hy, hz), self.yaw, label, thing)


class _Furnisher:
    """Fills a room; furniture that finds no free floor is left out."""

    def __init__(self, rng: np.random.Generator, room: Room) -> None:
        self.rng = rng
        self.room = room
        self.taken: list[tuple[float, float, float, float]] = []
        self.on_wall: dict[int, list[tuple[float, float]]] = {0: [], 1: [], 2: []}

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def thing(self) -> int:
        self.room.things += 1
        return self.room.things - 1

    def wall_frame(self, wall: int, along: float) -> _Frame:
        """The frame `along` metres on the far (0), left (1) or right (2) wall, facing inwards."""
        width, length, _ = self.room.size
        if wall == 0:
            return _Frame(along, length, np.pi)
        return _Frame(0.0, along, -np.pi / 2) if wall == 1 else _Frame(width, along, np.pi / 2)

    def wall_length(self, wall: int) -> float:
        return self.room.size[0] if wall == 0 else self.room.size[1]

    def claim(self, frame: _Frame, width: float, depth: float) -> bool:
        """Reserve floor, unless it is taken, outside the room or too near to the camera."""
        corners = np.array(
            [(-width / 2, 0), (width / 2, 0), (width / 2, depth), (-width / 2, depth)]
        )
        cos, sin = np.cos(frame.yaw), np.sin(frame.yaw)
        xs = frame.x + corners[:, 0] * cos - corners[:, 1] * sin
        ys = frame.y + corners[:, 0] * sin + corners[:, 1] * cos
        x0, x1, y0, y1 = (float(v) for v in (xs.min(), xs.max(), ys.min(), ys.max()))
        room_x, room_y, _ = self.room.size
        if min(x0, y0) < -1e-6 or x1 > room_x + 1e-6 or y1 > room_y + 1e-6:
            return False
        camera_x, camera_y, _ = self.room.camera.position
        gap_x = max(x0 - camera_x, camera_x - x1, 0.0)
        gap_y = max(y0 - camera_y, camera_y - y1, 0.0)
        if np.hypot(gap_x, gap_y) < _CAMERA_CLEARANCE:
            return False
        gap = 0.04
        for a0, a1, b0, b1 in self.taken:
            if x0 < a1 + gap and x1 > a0 - gap and y0 < b1 + gap and y1 > b0 - gap:
                return False
        self.taken.append((x0, x1, y0, y1))
        return True

    def along_wall(self, width: float, depth: float) -> _Frame | None:
        for _ in range(12):
            wall = int(self.rng.choice(3, p=(0.5, 0.25, 0.25)))
            room = self.wall_length(wall)
            if room <= width:
                continue
            frame = self.wall_frame(wall, self.between(width / 2, room - width / 2))
            if self.claim(frame, width, depth):
                return frame
        return None

    def bed(self) -> None:
        width, length, height = (
            self.between(1.0, 1.8),
            self.between(1.9, 2.1),
            self.between(0.4, 0.6),
        )
        frame = self.along_wall(width, length)
        if frame is None:
            return
        thing, half = self.thing(), width / 2
        board = height + self.between(0.25, 0.55)
        self.room.boxes += [
            frame.box((-half, 0.06, 0.0), (half, length, height), BED, thing),
            frame.box((-half, 0.0, 0.0), (half, 0.06, board), BED, thing),
        ]
        pillows = 2 if width > 1.35 else 1
        for index in range(pillows):
            self.soft(frame, half * ((2 * index + 1) / pillows - 1), 0.12, height, PILLOW)
        if self.rng.random() < 0.5:
            self.soft(frame, self.between(-half + 0.25, half - 0.25), 0.55, height, CUSHION)

    def sofa(self) -> None:
        width, depth = self.between(1.4, 2.2), self.between(0.8, 0.95)
        seat, back, arm = (
            self.between(0.38, 0.45),
            self.between(0.75, 0.9),
            self.between(0.55, 0.65),
        )
        frame = self.along_wall(width, depth)
        if frame is None:
            return
        thing, half = self.thing(), width / 2
        self.room.boxes += [
            frame.box((-half, 0.0, 0.0), (half, depth, seat), SOFA, thing),
            frame.box((-half, 0.0, seat), (half, 0.22, back), SOFA, thing),
            frame.box((-half, 0.22, seat), (-half + 0.16, depth, arm), SOFA, thing),
            frame.box((half - 0.16, 0.22, seat), (half, depth, arm), SOFA, thing),
        ]
        for place in (-0.5, 0.0, 0.5):
            if self.rng.random() < 0.55:
                kind = CUSHION if self.rng.random() < 0.7 else PILLOW
                self.soft(frame, place * (width - 0.5), 0.22, seat, kind)

    def soft(self, frame: _Frame, x: float, y: float, z: float, label: int) -> None:
        """A pillow (broad, lying) or a cushion (square, upright): shape and pattern tell them."""
        if label == PILLOW:
            width, depth, height = (
                self.between(0.5, 0.66),
                self.between(0.3, 0.4),
                self.between(0.13, 0.2),
            )
        else:
            width, depth, height = (
                self.between(0.36, 0.46),
                self.between(0.12, 0.17),
                self.between(0.34, 0.42),
            )
        low, high = (x - width / 2, y, z), (x + width / 2, y + depth, z + height)
        self.room.boxes.append(frame.box(low, high, label, self.thing()))

    def cabinet(self) -> None:
        width, depth = self.between(0.6, 1.4), self.between(0.35, 0.6)
        height = self.between(0.75, 1.1) if self.rng.random() < 0.6 else self.between(1.5, 2.1)
        frame = self.along_wall(width, depth)
        if frame is not None:
            half = width / 2
            self.room.boxes.append(
                frame.box((-half, 0.0, 0.0), (half, depth, height), CABINET, self.thing())
            )

    def table_with_chairs(self) -> None:
        """A table away from the walls, chairs before and behind it: same height, other depth."""
        width, depth, height = (
            self.between(0.9, 1.6),
            self.between(0.6, 0.9),
            self.between(0.68, 0.78),
        )
        room_x, room_y, _ = self.room.size
        for _ in range(12):
            frame = _Frame(
                self.between(width / 2, room_x - width / 2),
                self.between(min(2.0, room_y - 1.2), room_y - 0.6),
                self.between(-0.35, 0.35),
            )
            if self.claim(frame, width, depth):
                break
        else:
            return
        thing, half = self.thing(), width / 2
        self.room.boxes.append(
            frame.box((-half, 0, height - 0.05), (half, depth, height), TABLE, thing)
        )
        for x in (-half, half - 0.06):
            for y in (0.0, depth - 0.06):
                self.room.boxes.append(
                    frame.box((x, y, 0.0), (x + 0.06, y + 0.06, height - 0.05), TABLE, thing)
                )
        cos, sin = np.cos(frame.yaw), np.sin(frame.yaw)
        for side, turn in ((-1, 0.0), (1, np.pi)):
            for x in (-0.28, 0.28):
                if self.rng.random() < 0.6:
                    y = depth / 2 + side * (depth / 2 + self.between(0.35, 0.75))
                    local_x = x * width
                    self.chair(
                        _Frame(
                            float(frame.x + cos * local_x - sin * y),
                            float(frame.y + sin * local_x + cos * y),
                            frame.yaw + turn + self.between(-0.3, 0.3),
                        )
                    )

    def chair(self, frame: _Frame) -> None:
        width, depth = self.between(0.4, 0.48), self.between(0.4, 0.48)
        if not self.claim(frame, width, depth):
            return
        thing, half = self.thing(), width / 2
        seat, back = self.between(0.42, 0.48), self.between(0.82, 1.0)
        parts = [
            ((-half, 0.0, seat - 0.05), (half, depth, seat)),
            ((-half, 0.0, seat), (half, 0.05, back)),
        ]
        parts += [
            ((x, y, 0.0), (x + 0.05, y + 0.05, seat - 0.05))
            for x in (-half, half - 0.05)
            for y in (0.0, depth - 0.05)
        ]
        self.room.boxes += [frame.box(low, high, CHAIR, thing) for low, high in parts]

    def hang(self, label: int) -> None:
        """A door, a window or a picture on a free stretch of a wall."""
        if label == DOOR:
            width, low, high = self.between(0.8, 1.0), 0.0, self.between(1.98, 2.1)
        elif label == WINDOW:
            width, low = self.between(0.8, 1.7), self.between(0.8, 1.0)
            high = low + self.between(0.9, 1.2)
        else:
            width, low = self.between(0.4, 1.0), self.between(1.15, 1.4)
            high = low + self.between(0.4, 0.75)
        for _ in range(12):
            wall = int(self.rng.choice(3, p=(0.6, 0.2, 0.2)))
            if self.wall_length(wall) <= width + 0.2:
                continue
            along = self.between(width / 2 + 0.1, self.wall_length(wall) - width / 2 - 0.1)
            start, end = along - width / 2 - 0.1, along + width / 2 + 0.1
            if any(start < b and end > a for a, b in self.on_wall[wall]):
                continue
            self.on_wall[wall].append((start, end))
            frame, half = self.wall_frame(wall, along), width / 2
            self.room.boxes.append(
                frame.box((-half, 0.0, low), (half, _THICKNESS, high), label, self.thing())
            )
            return


def build_room(rng: np.random.Generator) -> Room:
    """A room, its furniture and a camera in it; every draw comes from `rng`."""
    size = (
        float(rng.uniform(3.0, 5.2)),
        float(rng.uniform(3.4, 5.8)),
        float(rng.uniform(2.4, 2.9)),
    )
    camera = Camera(
        position=(
            float(rng.uniform(0.25, 0.75) * size[0]),
            float(rng.uniform(0.15, 0.5)),
            float(rng.uniform(1.2, 1.75)),
        ),
        yaw=float(rng.uniform(-0.4, 0.4)),
        pitch=float(rng.uniform(-0.38, -0.06)),
        roll=float(rng.normal(0.0, 0.015)),
        focal=float(rng.uniform(0.75, 0.95)),
    )
    room = Room(size, camera)
    furnisher = _Furnisher(rng, room)
    if rng.random() < 0.8:
        furnisher.table_with_chairs()
    large = [furnisher.bed, furnisher.sofa]
    for place in rng.permutation(2):
        if rng.random() < 0.6:
            large[place]()
    for _ in range(int(rng.integers(0, 4))):
        furnisher.cabinet()
    for label, chance, most in ((DOOR, 0.55, 1), (WINDOW, 0.6, 2), (PICTURE, 0.75, 3)):
        if rng.random() < chance:
            for _ in range(int(rng.integers(1, most + 1))):
                furnisher.hang(label)
    return room
