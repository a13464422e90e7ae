"""What a generated room consists of: classes, boxes and a camera.

Axes: x to the right, y away from the camera, z up; metres. A room spans [0, size].
Everything in it is a box that may be turned about the vertical axis.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ROOM_CLASSES: tuple[str, ...] = (
    "wall", "floor", "ceiling", "cabinet", "bed", "sofa", "table", "chair", "door", "window",
    "picture", "pillow", "cushion",
)  # fmt: skip
(WALL, FLOOR, CEILING, CABINET, BED, SOFA, TABLE, CHAIR, DOOR, WINDOW, PICTURE, PILLOW, CUSHION) = (
    range(len(ROOM_CLASSES))
)


@dataclass(frozen=True)
class Box:
    """A box: centre, half extents in its own frame, turn about z in radians, class and object."""

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    yaw: float
    label: int
    thing: int


@dataclass(frozen=True)
class Camera:
    """Where the camera stands and looks; `focal` is in units of the image width."""

    position: tuple[float, float, float]
    yaw: float
    pitch: float
    roll: float
    focal: float


@dataclass
class Room:
    """A furnished room. `things` counts the objects; boxes of one object share `Box.thing`."""

    size: tuple[float, float, float]
    camera: Camera
    boxes: list[Box] = field(default_factory=list)
    things: int = 0
