"""What the figures of a study draw, against the rows they are made of."""

import math
from statistics import fmean, stdev

import numpy as np
import pytest

from examples.study.arms import ARMS, BASELINE, CONTROL
from examples.study.figures import (
    draw_beside_paper,
    draw_curves,
    draw_depth_bins,
    draw_forest,
    draw_sweeps,
)

T = {3: 4.302653, 4: 3.182446}  # t(0.975, n - 1) of a printed table


def make_table(arms):
    """Rows with different values in every cell; the second bin of the depth error is empty."""
    rng = np.random.default_rng(0)

    def row():
        total = rng.integers(10, 90, 10)
        total[1] = 0
        return {
            "miou": rng.uniform(20, 40),
            "depth_edge_accuracy": rng.uniform(50, 60),
            "curve": rng.uniform(1, 3, 5).tolist(),
            "depth_gap_wrong": (total // 3).tolist(),
            "depth_gap_total": total.tolist(),
        }

    return {arm: {seed: row() for seed in range(count)} for arm, count in arms.items()}


def reach(values):
    return T[len(values)] * stdev(values) / math.sqrt(len(values))


def edges_of(band):
    """The lower and the upper edge of a band, point by point."""
    (path,) = band.get_paths()
    points = {}
    for x, y in path.vertices:
        points.setdefault(round(float(x), 6), []).append(float(y))
    return [(min(points[x]), max(points[x])) for x in sorted(points)]


def test_the_forest_has_a_mark_and_an_interval_for_each_paired_difference():
    table = make_table({BASELINE: 4, CONTROL: 4, "rz": 4, "hpm": 2, "r": 4})
    figure = draw_forest(table)
    arms = [CONTROL, "rz", "hpm", "r"]
    for axes, measure in zip(figure.axes, ("miou", "depth_edge_accuracy"), strict=True):
        bars, marks = {}, {}
        for line in axes.lines:
            if line.get_color() in ("0.5", "0.8"):  # at 0, and between groups
                continue
            x, y = line.get_xdata(), line.get_ydata()
            (bars if len(x) == 2 else marks)[round(float(np.ravel(y)[0]), 2)] = line
        for place, arm in enumerate(arms):
            for against, shift in ((BASELINE, -0.12), (CONTROL, 0.12)):
                mark = marks.pop(round(place + shift, 2), None)
                bar = bars.pop(round(place + shift, 2), None)
                if arm == against:
                    assert mark is bar is None
                    continue
                rows, others = table[arm], table[against]
                gains = [rows[seed][measure] - others[seed][measure] for seed in rows]
                assert np.ravel(mark.get_xdata()) == pytest.approx([fmean(gains)])
                assert mark.get_fillstyle() == ("full" if len(gains) > 2 else "none")
                if len(gains) > 2:
                    found = fmean(gains) - reach(gains), fmean(gains) + reach(gains)
                    assert tuple(bar.get_xdata()) == pytest.approx(found, rel=1e-5)
                    assert set(bar.get_ydata()) == {place + shift}
                else:
                    assert bar is None
        assert not bars
        assert not marks
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown == ["uniform (4)", "rz (4)", "hpm (2)", "r (4)"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "against L_s + L_d",
        "against uniform",
    ]


def test_the_forest_names_each_group_beside_its_arms():
    table = make_table({BASELINE: 3, "rz": 3, "r": 3, "focal": 3, CONTROL: 3, "delta": 3})
    left, right = draw_forest(table).axes
    assert {text.get_text(): text.xy[1] for text in right.texts} == {
        "Table II": 0.5,
        "Table IV": 2,
        "Controls of equal mass": 3.5,
    }
    between = [1.5, 2.5]
    for axes in (left, right):
        lines = [line.get_ydata()[0] for line in axes.lines if line.get_color() == "0.8"]
        assert lines == between


def test_gains_stand_beside_those_of_the_paper():
    table = make_table({BASELINE: 4, "rz": 4, "s": 3, "hpm": 2, "cw": 4, "focal": 3})
    (axes,) = draw_beside_paper(table).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        ARMS[arm].title
        for arm in ("rz", "s", "focal")  # three pairs and more, and in the paper
    ]
    (bars,) = axes.containers
    line, _, (spans,) = bars
    (paper,) = [line for line in axes.lines if line.get_marker() == "D"]
    printed = [50.31 - 47.25, 46.59 - 47.25, 48.32 - 47.25]
    assert paper.get_xdata() == pytest.approx(printed)
    assert list(paper.get_ydata()) == list(line.get_ydata()) == [0, 1, 2]
    for x, span, arm in zip(
        line.get_xdata(), spans.get_segments(), ("rz", "s", "focal"), strict=True
    ):
        gains = [row["miou"] - table[BASELINE][seed]["miou"] for seed, row in table[arm].items()]
        assert x == pytest.approx(fmean(gains))
        expected = [fmean(gains) - reach(gains), fmean(gains) + reach(gains)]
        assert span[:, 0] == pytest.approx(expected, rel=1e-5)
    assert draw_beside_paper(make_table({BASELINE: 4, "cw": 4})) is None


def test_curves_are_means_over_seeds_with_their_band():
    table = make_table({"rz": 3, BASELINE: 4, "delta": 4})
    (axes,) = draw_curves(table).axes
    assert [line.get_label() for line in axes.lines] == [ARMS[BASELINE].title, ARMS["rz"].title]
    for line, band, arm in zip(axes.lines, axes.collections, (BASELINE, "rz"), strict=True):
        assert list(line.get_xdata()) == [1, 2, 3, 4, 5]
        epochs = list(zip(*(row["curve"] for row in table[arm].values()), strict=True))
        assert line.get_ydata() == pytest.approx([fmean(each) for each in epochs])
        for (low, high), each in zip(edges_of(band), epochs, strict=True):
            assert low == pytest.approx(fmean(each) - reach(each), rel=1e-5)
            assert high == pytest.approx(fmean(each) + reach(each), rel=1e-5)


def test_error_rates_by_depth_error_and_their_differences_to_the_baseline():
    table = make_table({BASELINE: 3, "rz": 4, "s": 4})
    left, right = draw_depth_bins(table).axes

    def rates(arm, seed):
        row = table[arm][seed]
        pairs = zip(row["depth_gap_wrong"], row["depth_gap_total"], strict=True)
        return [100 * wrong / total if total else math.nan for wrong, total in pairs]

    assert [line.get_label() for line in left.lines] == [ARMS[BASELINE].title, ARMS["rz"].title]
    for line, arm in zip(left.lines, (BASELINE, "rz"), strict=True):
        bins = zip(*(rates(arm, seed) for seed in table[arm]), strict=True)
        assert line.get_xdata() == pytest.approx([0.05 + 0.1 * number for number in range(10)])
        assert line.get_ydata() == pytest.approx([fmean(each) for each in bins], nan_ok=True)
    gains = [
        [rz - base for rz, base in zip(rates("rz", seed), rates(BASELINE, seed), strict=True)]
        for seed in range(3)  # the seeds that both have
    ]
    bins = list(zip(*gains, strict=True))
    line = right.lines[0]
    assert line.get_ydata() == pytest.approx([fmean(each) for each in bins], nan_ok=True)
    assert line.get_color() == left.lines[1].get_color()
    found = [edge for path in right.collections[0].get_paths() for edge in path.vertices[:, 1]]
    assert max(found) == pytest.approx(
        max(fmean(each) + reach(each) for each in bins if not math.isnan(each[0])), rel=1e-5
    )
    assert len(right.lines) == 2  # and the line at 0


def test_sweeps_are_drawn_by_their_value_with_the_papers_default_among_them():
    table = make_table({BASELINE: 4, "hpm": 4, "hpm:alpha=10": 4, "hpm:alpha=0.1": 3})
    alpha, beta = draw_sweeps(table).axes
    assert alpha.get_visible()
    assert not beta.get_visible()  # one value is no sweep
    (bars,) = alpha.containers
    line, _, (spans,) = bars
    assert list(line.get_xdata()) == [0.1, 1, 10]
    for y, span, arm in zip(
        line.get_ydata(),
        spans.get_segments(),
        ("hpm:alpha=0.1", "hpm", "hpm:alpha=10"),
        strict=True,
    ):
        values = [row["miou"] for row in table[arm].values()]
        assert y == pytest.approx(fmean(values))
        expected = [fmean(values) - reach(values), fmean(values) + reach(values)]
        assert span[:, 1] == pytest.approx(expected, rel=1e-5)
    heights = [line.get_ydata()[0] for line in alpha.lines if line.get_linestyle() == ":"]
    assert heights == pytest.approx([fmean(row["miou"] for row in table[BASELINE].values())])
    assert [line.get_xdata()[0] for line in alpha.lines if line.get_linestyle() == "--"] == [1.0]
    del table["hpm:alpha=10"], table["hpm:alpha=0.1"]
    assert draw_sweeps(table) is None
    assert draw_sweeps({BASELINE: table[BASELINE]}) is None
    table.update(make_table({"hpm:beta=1": 4}))
    beta = draw_sweeps(table).axes[1]
    assert list(beta.containers[0][0].get_xdata()) == [0.1, 1]
    assert [line.get_xdata()[0] for line in beta.lines if line.get_linestyle() == "--"] == [0.1]
