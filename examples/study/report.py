"""The command `report`: tables and figures from ``results.csv`` alone."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from examples.rgbd.data import DataError
from examples.study.arms import ARMS, BASELINE, CONTROL, GROUPS, gain_in_paper
from examples.study.figures import draw_all
from examples.study.options import ReportOptions
from examples.study.runs import read_rows, rows_as_csv, write_whole
from examples.study.statistics import (
    FEWEST_PAIRS,
    Difference,
    holm,
    paired_difference,
    pairs_needed,
    pooled_deviation,
)

MEASURES = {
    "miou": "mean IoU",
    "mean_accuracy": "mean accuracy",
    "pixel_accuracy": "pixel accuracy",
    "image_miou": "mean IoU, averaged over images",
    "image_mean_accuracy": "mean accuracy, averaged over images",
    "image_pixel_accuracy": "pixel accuracy, averaged over images",
    "rare_miou": "mean IoU of the rarer half of the classes",
    "boundary_accuracy": "accuracy at label boundaries",
    "depth_edge_accuracy": "accuracy at depth edges",
    "mixed_flat_accuracy": "accuracy in flat regions with two or more classes",
    "log_depth_rmse": "log-depth error (RMSE)",
    "log_depth_mae": "log-depth error (mean absolute)",
    "calibration_error": "expected calibration error",
}
"""Percentages, but for the two errors of log-depth."""


Table = dict[str, dict[int, dict[str, Any]]]


def read_table(path: Path) -> Table:
    """Rows by arm and seed.

    Raises:
        DataError: there is no results.csv, or it has no row.
    """
    path = path / "results.csv" if path.is_dir() else path
    if not path.exists():
        raise DataError(f"Expected the results of a study at {path}, but there is no such file.")
    table: Table = defaultdict(dict)
    for row in read_rows(path):
        table[row["arm"]][row["seed"]] = row
    if not table:
        raise DataError(f"Expected at least one run in {path}, but it has none.")
    order = {name: place for place, name in enumerate(ARMS)}
    return dict(sorted(table.items(), key=lambda item: order.get(item[0], len(order))))


def values_of(table: Table, arm: str, measure: str) -> dict[int, float]:
    """A measure of an arm by seed."""
    return {seed: float(row[measure]) for seed, row in table.get(arm, {}).items()}


def compare(table: Table, measure: str, against: str) -> dict[str, Difference]:
    """Each arm's difference to another one, paired by seed."""
    other = values_of(table, against, measure)
    return {
        arm: paired_difference(values_of(table, arm, measure), other)
        for arm in table
        if arm != against and other
    }


def corrected_p(found: dict[str, Difference]) -> dict[str, float]:
    """P by arm, corrected by Holm's method over the arms that have pairs enough; NaN for the others."""
    enough = {arm: each.p_value for arm, each in found.items() if each.pairs >= FEWEST_PAIRS}
    return {**dict.fromkeys(found, math.nan), **dict(zip(enough, holm(list(enough.values()))))}


def summary_rows(table: Table) -> list[dict[str, Any]]:
    """One row for each measure and arm: mean, deviation, and both comparisons.

    Holm's correction is over the arms that one measure compares with one arm.
    """
    rows = []
    for measure in MEASURES:
        compared = {name: compare(table, measure, name) for name in (BASELINE, CONTROL)}
        corrected = {name: corrected_p(found) for name, found in compared.items()}
        for arm in table:
            values = np.array(list(values_of(table, arm, measure).values()))
            row: dict[str, Any] = {
                "measure": measure,
                "arm": arm,
                "seeds": len(values),
                "mean": values.mean(),
                "deviation": values.std(ddof=1) if len(values) > 1 else math.nan,
            }
            for name, found in compared.items():
                if arm in found:
                    row |= _columns(name, found[arm], corrected[name][arm])
            rows.append(row)
    return rows


def _columns(name: str, found: Difference, corrected: float) -> dict[str, Any]:
    return {
        f"vs_{name}": found.mean,
        f"vs_{name}_pairs": found.pairs,
        f"vs_{name}_low": found.t_interval[0],
        f"vs_{name}_high": found.t_interval[1],
        f"vs_{name}_bootstrap_low": found.bootstrap[0],
        f"vs_{name}_bootstrap_high": found.bootstrap[1],
        f"vs_{name}_p": found.p_value,
        f"vs_{name}_p_holm": corrected,
    }


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows as text, four decimals; what is not known is empty."""
    return rows_as_csv(rows, _shown)


def _shown(value: Any, digits: int = 4) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, int | str):
        return str(value)
    return f"{float(value):.{digits}f}"


def interval(found: Difference, digits: int = 2) -> str:
    """A difference with its 95 % t interval; with fewer than three pairs by itself."""
    if found.pairs == 0:
        return ""
    shown = f"{found.mean:+.{digits}f}"
    if found.pairs < FEWEST_PAIRS:
        return shown
    low, high = found.t_interval
    return f"{shown} [{low:+.{digits}f}, {high:+.{digits}f}]"


def main_rows(table: Table) -> list[dict[str, str]]:
    """The table for people: each arm with its spread, both comparisons, and the paper's gain.

    A column that no arm has is left out.
    """
    compared = {name: compare(table, "miou", name) for name in (BASELINE, CONTROL)}
    corrected = {name: corrected_p(differences) for name, differences in compared.items()}
    found = []
    for arm in table:
        known = ARMS.get(arm)
        gain = gain_in_paper(arm)
        values = np.array(list(values_of(table, arm, "miou").values()))
        spread = f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else ""
        row = {
            "arm": arm,
            "loss": known.title if known else arm,
            "gain in the paper": "" if gain is None else f"{gain:+.2f}",
            "seeds": str(len(values)),
            MEASURES["miou"]: f"{values.mean():.2f}{spread}",
        }
        for name, title in ((BASELINE, "L_s + L_d"), (CONTROL, "uniform")):
            difference = compared[name].get(arm)
            row[f"against {title}"] = interval(difference) if difference else ""
            row[f"p (Holm, {title})"] = _shown(corrected[name].get(arm), 3)
        found.append(row)
    return _without_empty_columns(found)


def _without_empty_columns(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    kept = [name for name in rows[0] if any(row[name] for row in rows)]
    return [{name: row[name] for name in kept} for row in rows]


def by_group(rows: list[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    """Rows by the title of their arm's group, in order; arms that nobody knows come last."""
    found = {title: [row for row in rows if row["arm"] in group] for title, group in GROUPS.items()}
    found["Unknown arms"] = [row for row in rows if row["arm"] not in ARMS]
    return {title: _without_empty_columns(part) for title, part in found.items() if part}


def slug(title: str) -> str:
    """A title as a file name."""
    return re.sub("[^a-z0-9]+", "-", title.lower())


def region_rows(table: Table, against: str = BASELINE) -> list[dict[str, str]]:
    """Each arm's difference in every measure."""
    compared = {measure: compare(table, measure, against) for measure in MEASURES}
    found = []
    for arm in table:
        if arm == against:
            continue
        row = {"arm": arm}
        for measure, title in MEASURES.items():
            digits = 4 if measure.startswith("log") else 2
            differences = compared[measure]
            row[title] = interval(differences[arm], digits) if arm in differences else ""
        found.append(row)
    return found


def as_markdown(rows: list[dict[str, str]]) -> str:
    """Rows as a table of Markdown."""
    if not rows:
        return "(nothing)\n"
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([row[name] for name in head] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def power_rows(table: Table) -> list[dict[str, str]]:
    """How many seeds differences of mean IoU need to be seen."""
    found = []
    for name in (BASELINE, CONTROL):
        deviation = pooled_deviation(list(compare(table, "miou", name).values()))
        if math.isnan(deviation):
            continue
        row = {"against": name, "deviation of paired differences": f"{deviation:.3f}"}
        for effect in (0.1, 0.2, 0.3, 0.5, 1.0):
            number = pairs_needed(effect, deviation)
            row[f"seeds for {effect:g}"] = "over 999" if number is None else str(number)
        found.append(row)
    return found


def report(options: ReportOptions) -> None:
    """The command `report`."""
    table = read_table(options.output)
    folder = options.to or (options.output if options.output.is_dir() else options.output.parent)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "summary.csv", as_csv(summary_rows(table)))
    rows, regions, power = main_rows(table), region_rows(table), power_rows(table)
    for name, part in (("table", rows), ("regions", regions), ("power", power)):
        write_whole(folder / f"{name}.csv", as_csv(part))
    (folder / "groups").mkdir(exist_ok=True)
    groups = by_group(rows)
    for title, part in groups.items():
        write_whole(folder / "groups" / f"{slug(title)}.csv", as_csv(part))
    text = "\n".join(
        [
            "# Mean IoU on the whole split, percent",
            "Mean ± standard deviation over seeds; differences paired by seed with 95 % t intervals "
            "from three pairs on; p of the paired t test, Holm-corrected over the "
            "arms that have so many.\n",
            *(f"## {title}\n\n{as_markdown(part)}" for title, part in groups.items()),
            "# Every measure: difference to L_s + L_d\n",
            as_markdown(regions),
            "# Seeds needed to see a difference of mean IoU (80 % power, 5 % level, two-sided)\n",
            as_markdown(power),
        ]
    )
    write_whole(folder / "report.md", text)
    drawn = draw_all(table, folder)
    runs = sum(map(len, table.values()))
    print(f"{runs} runs of {len(table)} arms: {folder / 'report.md'}, {', '.join(drawn)}")
