"""What the depth maps hold, and the metres between which most of it lies."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from examples.rgbd.commands.initial.frames import Frame, spread
from examples.rgbd.data.description import DepthFormat
from examples.rgbd.data.files.anything import read_numbers
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.units import missing_at
from examples.rgbd.options.commands import InitOptions
from examples.rgbd.options.groups import OptionError
from examples.rgbd.progress import progress_bar

_DEPTHS_READ = 200  # spread evenly


def find_depth(
    root: Path, frames: list[Frame], options: InitOptions
) -> tuple[DepthFormat | None, float, float]:
    """What the depth maps hold, near and far."""
    near, far = options.near, options.far
    named = [frame[2] for frame in frames if frame[2] is not None]
    if not named:
        print("depth    none: train with --objective s, or estimate it first (estimate_depth)")
        return None, near or 0.5, far or 10.0
    chosen = [frame[2] for frame in spread([f for f in frames if f[2]], _DEPTHS_READ)]
    samples, without, kinds = [], 0, Counter[str]()
    for name in progress_bar(chosen, "looking at depth", unit="map"):
        stored = read_numbers(root / str(name), "a depth map")
        kinds[str(stored.dtype)] += 1
        missing = (*options.missing, 65535) if stored.dtype == np.uint16 else options.missing
        values = stored[~missing_at(stored, (0, *missing))].astype(np.float64)
        without += not values.size
        samples.append(values[:: max(values.size // 2000, 1)])
    seen = np.concatenate(samples)
    if not seen.size:
        raise DataError(f"Expected depth in {named[0]} and the others, but no pixel has any.")
    (dtype, _), *_ = kinds.most_common(1)
    print(f"depth    {dtype}, {seen.min():.4g} to {seen.max():.4g} as stored, {len(chosen)} maps")
    if without:
        print(f"         {without} of them have no depth at all")
    missing_numbers = tuple(options.missing)
    if options.relative or options.inverse:
        if near is not None or far is not None:
            raise OptionError(
                "Expected no --near and --far with relative depth, which has no unit."
            )
        return DepthFormat(1.0, missing_numbers, "relative", options.inverse), 0.5, 10.0
    per_metre = options.depth_per_metre
    if per_metre is None:
        if dtype == "uint8":
            raise DataError(
                f"Expected depth in metres or millimetres in {named[0]}, but got 8 bits: say "
                "--relative (or --inverse) if it is stretched to each image's range, or "
                "--depth-per-metre if a step has one length in all images."
            )
        per_metre = 1.0 if dtype.startswith("float") else 1000.0
        unit = "metres" if per_metre == 1 else "millimetres"
        print(f"guessed  depth is in {unit} (--depth-per-metre)")
    metres = seen / per_metre
    low, high = (float(value) for value in np.quantile(metres, (0.005, 0.995)))
    chosen_near = _rounded(low, math.floor) if near is None else near
    chosen_far = _rounded(high, math.ceil) if far is None else far
    if near is None or far is None:
        print(
            f"guessed  near {chosen_near:g} m and far {chosen_far:g} m, which hold 99 % of the depth "
            f"(median {np.median(metres):.3g} m; --near, --far)"
        )
    if not 0 <= chosen_near < chosen_far:
        raise OptionError(
            f"Expected 0 <= --near < --far in metres, but got {chosen_near:g} and {chosen_far:g}."
        )
    return DepthFormat(per_metre, missing_numbers), chosen_near, chosen_far


def _rounded(value: float, towards: Any) -> float:
    """A length to two digits, outwards."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0
    return float(f"{towards(round(value / step, 6)) * step:.6g}")
