"""The camera of a frame: what its pixels are in metres."""

from __future__ import annotations

from dataclasses import dataclass

from examples.rgbd.data.files.errors import DataError

_SAME_SHAPE = 0.01  # of height / width


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera, of images of one size.

    Attributes:
        fx: focal length in pixels, across.
        fy: focal length in pixels, down.
        cx: column of the optical axis; the centre of the first pixel is 0.
        cy: row of the optical axis.
        height: of the images, in pixels.
        width: of the images.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    height: int
    width: int

    def at(self, size: tuple[int, ...], what: str = "a frame") -> Intrinsics:
        """The camera of the same view at another size.

        Args:
            size: (height, width).
            what: has that size, for the message.

        Raises:
            DataError: the view has another shape, so it was cropped or turned.
        """
        height, width = size[:2]
        if abs(height * self.width / (width * self.height) - 1) > _SAME_SHAPE:
            raise DataError(
                f"Expected {what} of the shape that its camera has, {self.height} x {self.width}, but "
                f"got {height} x {width}: was it cropped? A cropped copy needs intrinsics of its own."
            )
        return self.resized(size)

    def resized(self, size: tuple[int, ...]) -> Intrinsics:
        """The camera of the whole view, resized to (height, width), whatever its shape then."""
        height, width = size[:2]
        down, across = height / self.height, width / self.width
        return Intrinsics(
            self.fx * across,
            self.fy * down,
            (self.cx + 0.5) * across - 0.5,
            (self.cy + 0.5) * down - 0.5,
            height,
            width,
        )
