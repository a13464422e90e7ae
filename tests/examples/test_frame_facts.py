"""What `verify` looks at in a frame, against loops over its pixels."""

from __future__ import annotations

import math
from statistics import fmean, median

import numpy as np
import pytest

from examples.rgbd.data.frame import Sample
from examples.rgbd.data.inspect.facts import fit, frame_facts
from examples.rgbd.data.rooms.dataset import GeneratedRooms


def fit_by_loops(values: np.ndarray, label: np.ndarray) -> tuple[float, ...]:
    """`fit` one pixel at a time: every second pixel counts, the outer eight of these do not."""
    values, label = values[::2, ::2], label[::2, ::2]
    height, width = label.shape
    places = [(y, x) for y in range(height - 1) for x in range(width - 1)]
    strengths = []
    for down, right in ((0, 1), (1, 0)):
        steps = {(y, x): abs(values[y + down, x + right] - values[y, x]) for y, x in places}
        ordered, place = sorted(steps.values()), 0.95 * (len(steps) - 1)
        low, high = ordered[int(place)], ordered[min(int(place) + 1, len(steps) - 1)]
        cut = max(low + (place - int(place)) * (high - low), 1e-6)
        strengths.append({place: min(step / cut, 1) for place, step in steps.items()})
    found = []
    for turned in (label, label[:, ::-1], label[::-1], label[::-1, ::-1]):
        chosen = []
        for (down, right), strength in zip(((0, 1), (1, 0)), strengths, strict=True):
            for y, x in places:
                if not (8 <= y < height - 9 and 8 <= x < width - 9):
                    continue
                beside = [(y + k * down, x + k * right) for k in (-1, 0, 1)]
                if any(turned[b, a] != turned[b + down, a + right] for b, a in beside):
                    chosen.append(strength[y, x])
        found.append(sum(chosen) / len(chosen))
    return tuple(found)


def test_how_well_labels_fit_against_a_loop_over_pixels() -> None:
    room = GeneratedRooms("test", 2, size=(112, 128))[1]
    rng = np.random.default_rng(0)
    label = np.kron(rng.integers(0, 4, (14, 16)), np.ones((8, 8), int)).astype(np.uint8)
    smooth = rng.normal(size=label.shape).astype(np.float32)  # many steps, few at a border
    for values, classes in (
        (room.image.astype(np.float32).mean(-1), label),
        (smooth + 2 * label, label),
        (np.zeros(label.shape, np.float32), label),  # no steps at all: 0, and no warning
    ):
        found = fit(values, classes)
        assert found == pytest.approx(fit_by_loops(values.astype(float), classes), abs=1e-5)
    assert fit(smooth, np.zeros_like(label)) is None  # no border
    assert fit(smooth, np.full_like(label, 255)) is None
    assert fit(smooth[:48], label[:48]) is None  # nothing is left within the frame


def test_the_facts_of_a_frame_against_loops_over_its_pixels() -> None:
    rng = np.random.default_rng(0)
    height, width, classes = 13, 9, 4
    label = rng.integers(0, classes, (height, width)).astype(np.uint8)
    label[rng.random(label.shape) < 0.2] = 255
    depth = rng.uniform(0.1, 12, label.shape).astype(np.float32)
    depth[rng.random(label.shape) < 0.2] = 0
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)

    class Frames(list):
        classes, depth_limits = tuple("abcd"), (0.7, 10.0)

        def files(self, index: int) -> str:
            return f"files of {index}"

    facts = frame_facts(Frames([Sample(image, label, depth, "oak")]), 0)  # type: ignore[arg-type]
    assert (facts.name, facts.files, facts.size) == ("oak", "files of 0", (height, width))
    pixels = [*np.ndindex(label.shape)]
    for value in range(classes + 1):
        here = [y for y, x in pixels if label[y, x] == (255 if value == classes else value)]
        assert facts.histogram[value] == len(here)
        assert facts.rows[value] == pytest.approx(sum((y + 0.5) / height for y in here))
    seen = [float(depth[place]) for place in pixels if depth[place] > 0]
    assert facts.depth == pytest.approx((min(seen), median(seen), max(seen)))
    assert facts.missing == pytest.approx(1 - len(seen) / len(pixels))
    assert facts.near == pytest.approx(fmean(value < 0.3 for value in seen))
    assert facts.outside == pytest.approx(fmean(not 0.7 <= value <= 10 for value in seen))
    # Rows of a quarter, rounded up; the median stands where there is no depth.
    lowest, second = (
        fmean(math.log(depth[y, x] or median(seen)) for y in rows for x in range(width))
        for rows in ((9, 10, 11, 12), (3, 4, 5, 6))
    )
    assert facts.recession == pytest.approx(lowest - second, abs=1e-6)
    assert facts.image_fit is facts.depth_fit is None
    others = Frames([Sample(image, label, 0 * depth, "elm"), Sample(255 - image, label, depth, "")])
    without, another = (frame_facts(others, index) for index in range(2))  # type: ignore[arg-type]
    assert all(math.isnan(value) for value in without.depth)
    assert (without.missing, without.near, without.outside, without.recession) == (1, 0, 0, 0)
    assert without.digest == facts.digest != another.digest
