"""An image with its predicted classes laid over it, and a legend beside it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_BLEND = 0.55
_ROW = 16  # pixels to a class
_SWATCH = 10
_LEAST = 0.001  # share of the image below which a class is not named
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


def overlay(
    image: NDArray[np.uint8],
    labels: NDArray[np.integer],
    classes: Sequence[str],
    palette: NDArray[np.uint8],
) -> Image.Image:
    """The image under the colours of its classes; right of it the classes by their share.

    Args:
        image: uint8 (H, W, 3), RGB.
        labels: (H, W), class numbers.
        classes: class names.
        palette: uint8 (C, 3).

    Returns:
        A picture whose first W columns and H rows are the overlay.
    """
    blend = _BLEND * palette[labels].astype(np.float32) + (1 - _BLEND) * image
    picture = Image.fromarray(blend.round().astype(np.uint8))
    counts = np.bincount(labels.ravel(), minlength=len(classes))
    present = [k for k in np.argsort(-counts, kind="stable") if counts[k] > _LEAST * labels.size]
    rows = max(picture.height // _ROW, 3)
    shown = present if len(present) <= rows else present[: rows - 1]
    entries = [(f"{classes[k]}  {counts[k] / labels.size:.0%}", palette[k]) for k in shown]
    if len(present) > len(shown):
        entries.append((f"and {len(present) - len(shown)} more", None))
    font = ImageFont.load_default(size=_SWATCH + 1)
    width = 2 * _ROW + int(max(font.getlength(text) for text, _ in entries))
    height = max(picture.height, _ROW * len(entries))
    canvas = Image.new("RGB", (picture.width + width, height), _PAPER)
    canvas.paste(picture)
    draw = ImageDraw.Draw(canvas)
    left = picture.width + _ROW // 3
    for row, (text, colour) in enumerate(entries):
        top = row * _ROW + (_ROW - _SWATCH) // 2
        if colour is not None:
            box = (left, top, left + _SWATCH, top + _SWATCH)
            draw.rectangle(box, fill=tuple(int(value) for value in colour))
        draw.text((left + _SWATCH + 5, top - 2), text, fill=_INK, font=font)
    return canvas
