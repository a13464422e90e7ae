"""Class names and label colours of the data sets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NYU40: tuple[str, ...] = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf",
    "picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror",
    "floor mat", "clothes", "ceiling", "books", "refridgerator", "television", "paper", "towel",
    "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp",
    "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip
"""The 40 classes of NYUDv2, spelled as in the original release."""

SUN37: tuple[str, ...] = NYU40[:37]
"""The 37 classes of SUN RGB-D: the first 37 of NYUDv2's 40."""


_FEW = 20


def label_palette(count: int) -> NDArray[np.uint8]:
    """Distinct colours for class indices: matplotlib's ``tab20``, or PASCAL VOC's for more classes.

    VOC's bit-interleaved map goes on for ever, but its first colours are dark.

    Args:
        count: number of classes.

    Returns:
        uint8 array (count, 3). VOC's first colour, black, is left out: it stands for void.
    """
    if count <= _FEW:
        from matplotlib import colormaps  # takes its time, and not every command draws

        few: NDArray[np.float64] = np.array(colormaps["tab20"].colors[:count])  # type: ignore[attr-defined]
        return np.rint(255 * few).astype(np.uint8)
    index = np.arange(1, count + 1)
    colours = np.zeros((count, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(
                np.uint8
            )
    return colours
