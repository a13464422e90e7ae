"""The figures of a study."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from examples.study.arms import ARMS, BASELINE, CONTROL, GROUPS, gain_in_paper
from examples.study.statistics import FEWEST_PAIRS, LEVEL, Difference, paired_difference

if TYPE_CHECKING:
    from examples.study.report import Table

_DRAWN = ("s", "sd", "r", "z", "rz", "full", "uniform")
_GAP = 0.1  # width of a bin of Fig. 6


def _differences(table: Table, measure: str, against: str) -> dict[str, Difference]:
    other = {seed: row[measure] for seed, row in table.get(against, {}).items()}
    return {
        arm: paired_difference({seed: row[measure] for seed, row in rows.items()}, other)
        for arm, rows in table.items()
        if arm != against
    }


def _band(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Half the width of the 95 % t interval of the mean over seeds (rows); NaN where it is not shown."""
    if len(values) < FEWEST_PAIRS:
        return np.full(values.shape[1], np.nan)
    reach: np.ndarray[Any, Any] = (
        stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(0, ddof=1) / len(values) ** 0.5
    )
    return reach


def draw_forest(table: Table) -> Figure:
    """Paired differences of mean IoU and of accuracy at depth edges, with intervals."""
    arms = [arm for arm in table if arm != BASELINE]
    figure = Figure(figsize=(10, 1.4 + 0.27 * len(arms)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (measure, title) in zip(
        panels, (("miou", "mean IoU"), ("depth_edge_accuracy", "accuracy at depth edges"))
    ):
        for against, colour, marker, shift in (
            (BASELINE, "C0", "o", -0.12),
            (CONTROL, "C1", "s", 0.12),
        ):
            found = _differences(table, measure, against)
            for place, arm in enumerate(arms):
                one = found.get(arm)
                if one is None or one.pairs == 0:
                    continue
                low, high = one.t_interval
                if one.pairs >= FEWEST_PAIRS:
                    axes.plot([low, high], [place + shift] * 2, color=colour, linewidth=1.4)
                label = f"against {'L_s + L_d' if against == BASELINE else 'uniform'}"
                axes.plot(
                    one.mean, place + shift, marker, color=colour, markersize=4.5,
                    label=label if place == len(arms) - 1 else None,
                    fillstyle="full" if one.pairs >= FEWEST_PAIRS else "none",
                )  # fmt: skip
        axes.axvline(0, color="0.5", linewidth=0.8)
        axes.grid(axis="x", alpha=0.3)
        axes.set_xlabel(f"difference in {title} (points)")
    panels[0].set_yticks(
        range(len(arms)), [f"{arm} ({len(table[arm])})" for arm in arms], fontsize="small"
    )
    panels[0].set_ylim(len(arms) - 0.4, -0.6)
    _name_groups(panels, arms)
    handles, labels = panels[1].get_legend_handles_labels()
    figure.legend(
        handles, labels, frameon=False, fontsize="small", loc="outside lower center", ncols=2
    )
    figure.suptitle(
        "Paired by seed; bars are 95 % t intervals, hollow marks have fewer than three pairs "
        "(number of seeds in brackets)",
        fontsize="small",
    )
    return figure


def _name_groups(panels: Any, arms: list[str]) -> None:
    """A line between groups of arms, and the group's name at the right edge."""
    group_of = {arm: title for title, group in GROUPS.items() for arm in group}
    titles = [group_of.get(arm, "") for arm in arms]
    for title in dict.fromkeys(titles):
        first, last = titles.index(title), len(titles) - 1 - titles[::-1].index(title)
        if first > 0:
            for axes in panels:
                axes.axhline(first - 0.5, color="0.8", linewidth=0.8, zorder=0)
        panels[-1].annotate(
            title, (1.01, (first + last) / 2), xycoords=panels[-1].get_yaxis_transform(),
            va="center", fontsize="small", color="0.3", annotation_clip=False,
        )  # fmt: skip


def _shown(table: Table, wanted: Iterable[str]) -> list[str]:
    return [arm for arm in wanted if arm in table]


def draw_curves(table: Table) -> Figure:
    """L_s in training, epoch by epoch, with the band of its mean."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for arm in _shown(table, _DRAWN):
        values = np.array([row["curve"] for row in table[arm].values()])
        epochs = np.arange(1, values.shape[1] + 1)
        (line,) = axes.plot(epochs, values.mean(0), marker=".", label=ARMS[arm].title)
        reach = _band(values)
        axes.fill_between(
            epochs, values.mean(0) - reach, values.mean(0) + reach, alpha=0.2,
            color=line.get_color(), linewidth=0,
        )  # fmt: skip
    axes.set_xlabel("epoch")
    axes.set_ylabel("cross-entropy of the training frames (nats)")
    axes.set_xticks(epochs)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small", loc="upper right")
    return figure


def _error_rates(row: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The error rate of each bin of the depth error; NaN of an empty bin."""
    wrong, total = np.array(row["depth_gap_wrong"]), np.array(row["depth_gap_total"])
    rates: np.ndarray[Any, Any] = np.where(total > 0, wrong / np.maximum(total, 1), np.nan)
    return rates


def draw_depth_bins(table: Table) -> Figure:
    """Fig. 6: segmentation error by the error of the predicted log-depth."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    base = {seed: _error_rates(row) for seed, row in table.get(BASELINE, {}).items()}
    for arm in _shown(table, [name for name in _DRAWN if name != "s"]):
        rates = {seed: _error_rates(row) for seed, row in table[arm].items()}
        values = 100 * np.array(list(rates.values()))
        middles = _GAP * (np.arange(values.shape[1]) + 0.5)
        (line,) = left.plot(
            middles, values.mean(0), marker="o", markersize=4, label=ARMS[arm].title
        )
        shared = sorted(rates.keys() & base.keys())
        if arm == BASELINE or not shared:
            continue
        gains = 100 * np.array([rates[seed] - base[seed] for seed in shared])
        right.plot(
            middles, gains.mean(0), marker="o", markersize=4, color=line.get_color(),
            label=ARMS[arm].title,
        )  # fmt: skip
        reach = _band(gains)
        right.fill_between(
            middles, gains.mean(0) - reach, gains.mean(0) + reach, alpha=0.15,
            color=line.get_color(), linewidth=0,
        )  # fmt: skip
    left.set_ylabel("segmentation error (%)")
    left.set_ylim(bottom=0)
    right.set_ylabel("difference in segmentation error to L_s + L_d (points)")
    right.axhline(0, color="0.5", linewidth=0.8)
    for axes in (left, right):
        axes.set_xlabel("error of the predicted log-depth, |log D - log D*|; the last bin is open")
        axes.set_xticks(_GAP * np.arange(11))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize="small", loc="best" if axes is left else "lower left")
    return figure


def draw_sweeps(table: Table) -> Figure | None:
    """Fig. 7: mean IoU against alpha and beta; None if no sweep was run."""
    series = {
        letter: sorted(
            [(1.0 if letter == "alpha" else 0.1, "hpm")]
            + [(float(arm.split("=")[1]), arm) for arm in table if arm.startswith(f"hpm:{letter}=")]
        )
        for letter in ("alpha", "beta")
    }
    if "hpm" not in table or all(len(points) < 2 for points in series.values()):
        return None
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    for axes, (letter, points) in zip(figure.subplots(1, 2, sharey=True), series.items()):
        if len(points) < 2:
            axes.set_visible(False)
            continue
        values = [np.array([row["miou"] for row in table[arm].values()]) for _, arm in points]
        axes.errorbar(
            [value for value, _ in points],
            [each.mean() for each in values],
            [_band(each[:, None])[0] for each in values],
            marker="o", capsize=3, label="L_HPM, mean and 95 % t interval",
        )  # fmt: skip
        base = table.get(BASELINE)
        if base:
            mean = np.mean([row["miou"] for row in base.values()])
            axes.axhline(mean, color="0.5", linestyle=":", label="L_s + L_d")
        axes.axvline(1.0 if letter == "alpha" else 0.1, color="0.7", linestyle="--")
        axes.set_xscale("log")
        axes.set_xlabel(f"{letter} (dashed: the paper's default)")
        axes.grid(alpha=0.3)
        axes.set_ylabel("mean IoU (%)")
        axes.legend(frameon=False, fontsize="small", loc="lower left")
    return figure


def draw_beside_paper(table: Table) -> Figure | None:
    """Gains of mean IoU over L_s + L_d, here and in the paper's one run; None if no arm has both."""
    found = _differences(table, "miou", BASELINE)
    gains = {
        arm: gain
        for arm, one in found.items()
        if one.pairs >= FEWEST_PAIRS and (gain := gain_in_paper(arm)) is not None
    }
    if not gains:
        return None
    figure = Figure(figsize=(8, 1.6 + 0.27 * len(gains)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(gains))
    low, high = np.array([found[arm].t_interval for arm in gains]).T
    means = np.array([found[arm].mean for arm in gains])
    axes.errorbar(
        means, places, xerr=[means - low, high - means], fmt="o", markersize=4.5, linewidth=1.4,
        label="here: mean of paired differences, 95 % t interval",
    )  # fmt: skip
    axes.plot(
        list(gains.values()), places, "D", color="C3", fillstyle="none", markersize=6,
        label="in the paper: RefineNet, ResNet-152, one run each",
    )  # fmt: skip
    axes.axvline(0, color="0.5", linewidth=0.8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("gain in mean IoU over L_s + L_d (points)")
    axes.set_yticks(places, [ARMS[arm].title for arm in gains], fontsize="small")
    axes.set_ylim(len(gains) - 0.4, -0.6)
    _name_groups([axes], list(gains))
    figure.legend(frameon=False, fontsize="small", loc="outside lower center", ncols=2)
    return figure


def draw_all(table: Table, folder: Path) -> list[str]:
    """Write all figures that the results allow; returns their file names."""
    figures: dict[str, Figure | None] = {
        "forest.png": draw_forest(table),
        "paper.png": draw_beside_paper(table),
        "curves.png": draw_curves(table),
        "fig6.png": draw_depth_bins(table),
        "fig7.png": draw_sweeps(table),
    }
    for name, figure in figures.items():
        if figure is not None:
            figure.savefig(folder / name, dpi=110)
    return [name for name, figure in figures.items() if figure is not None]
