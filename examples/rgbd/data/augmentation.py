"""How far training frames are varied: the options alone, which a command line is made from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """How far frames are varied. The defaults are usual for indoor scenes.

    Attributes:
        flip: probability of a horizontal flip.
        scale: least and greatest zoom, drawn log-uniformly; depth is divided by it. Above 1 a part
            of the frame is cropped, below 1 the frame is padded (void, depth 0, mean colour).
        brightness: brightness varies by a factor in [1 - x, 1 + x].
        contrast: contrast, likewise.
        saturation: saturation, likewise.
        hue: hue turns by at most this share of the colour circle, either way.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.75, 1.5)
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.02

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(
                f"Expected `scale` as (low, high) with 0 < low <= high, but got {self.scale}."
            )
        for name in ("flip", "brightness", "contrast", "saturation", "hue"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Expected `{name}` in [0, 1], but got {getattr(self, name)}.")
