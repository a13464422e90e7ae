"""Statistics against numbers worked out by hand or by another road."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from examples.study.report import (
    MEASURES,
    as_csv,
    by_group,
    main_rows,
    read_table,
    region_rows,
    slug,
    summary_rows,
)
from examples.study.statistics import (
    Difference,
    holm,
    paired_difference,
    pairs_needed,
    pooled_deviation,
    power,
)

PAGES = Path(__file__).parents[2] / "docs" / "_static" / "study"


def test_paired_by_seed():
    found = paired_difference({0: 3.0, 1: 5.0, 2: 4.0, 9: 100.0}, {1: 4.0, 2: 1.0, 0: 1.0, 7: 0.0})
    assert (found.pairs, found.mean, found.deviation) == (3, 2.0, 1.0)
    # t(0.975, 2) = 4.302653 from a printed table
    assert found.t_interval == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), 1e-6)
    assert found.p_value == pytest.approx(stats.ttest_rel([3, 5, 4], [1, 4, 1]).pvalue)


def test_bootstrap_of_three_values_is_that_of_all_resamples():
    values = [0.0, 1.0, 5.0]
    means = sorted(np.mean(each) for each in itertools.product(values, repeat=3))
    found = paired_difference(dict(enumerate(values)), dict.fromkeys(range(3), 0.0))
    expected = np.quantile(means, [0.025, 0.975], method="inverted_cdf")
    assert found.bootstrap == pytest.approx(tuple(expected))


@pytest.mark.parametrize("pairs", [0, 1, 2])
def test_too_few_pairs_have_no_interval(pairs):
    found = paired_difference({s: float(s) for s in range(pairs)}, dict.fromkeys(range(pairs), 0.0))
    assert found.pairs == pairs
    assert math.isnan(found.bootstrap[0])
    assert math.isnan(found.t_interval[0]) == (pairs < 2)


def test_equal_differences_are_no_warning():
    found = paired_difference({0: 1.0, 1: 1.0}, {0: 0.0, 1: 0.0})
    assert found.t_interval == (1.0, 1.0)
    assert found.p_value == 0


def test_holm_as_published():
    # Holm (1979): 0.01, 0.04, 0.03 of three become 0.03, 0.06, 0.06.
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    corrected = holm([math.nan, 0.02])
    assert math.isnan(corrected[0])
    assert corrected[1] == 0.02


def test_power_against_simulation():
    rng = np.random.default_rng(0)
    draws = rng.normal(0.3, 0.2, (20_000, 5))
    t = draws.mean(1) / (draws.std(1, ddof=1) / 5**0.5)
    seen = np.mean(np.abs(t) > stats.t.ppf(0.975, 4))
    assert power(0.3, 0.2, 5) == pytest.approx(seen, abs=0.015)


def test_pairs_needed_is_the_least():
    number = pairs_needed(0.3, 0.2)
    assert power(0.3, 0.2, number) >= 0.8 > power(0.3, 0.2, number - 1)
    assert pairs_needed(1e-4, 1.0) is None


def test_pooled_by_degrees_of_freedom():
    nothing = (0.0, 0.0)
    parts = [
        Difference(n, 0, d, nothing, nothing, 0) for n, d in ((2, 1.0), (4, 3.0), (1, math.nan))
    ]
    assert pooled_deviation(parts) == pytest.approx(((1 + 3 * 9) / 4) ** 0.5)


@pytest.mark.parametrize(
    "results", sorted(PAGES.glob("*/results.csv")), ids=lambda path: path.parent.name
)
def test_tables_of_the_page_are_those_of_their_rows(results):
    table = read_table(results)
    for name, rows in (("table", main_rows(table)), ("regions", region_rows(table))):
        assert (results.parent / f"{name}.csv").read_text() == as_csv(rows)
    summary = results.parent / "summary.csv"
    assert not summary.exists() or summary.read_text() == as_csv(summary_rows(table))
    groups = {path.stem: path.read_text() for path in results.parent.glob("groups/*.csv")}
    expected = {slug(title): as_csv(rows) for title, rows in by_group(main_rows(table)).items()}
    assert not groups or groups == expected


ROOT = PAGES.parents[2]
PRINTED = re.compile(r"[+-]\d+\.\d\d\s\[[+-]\d+\.\d\d,\s[+-]\d+\.\d\d\]")
AGAINST = ("sd", "uniform", "hpm", "cw", "rz", "boundaries", "sd:detached")
# t(0.975, pairs - 1) of a printed table
T = {3: 4.302653, 4: 3.182446, 5: 2.776445, 6: 2.570582, 7: 2.446912, 8: 2.364624}


def printed_differences(table):
    """Every difference between two arms with its interval, as pages print it."""
    for other in filter(table.get, AGAINST):
        for arm, measure in itertools.product(table, MEASURES):
            seeds = table[arm].keys() & table[other].keys()
            gains = [table[arm][seed][measure] - table[other][seed][measure] for seed in seeds]
            if len(gains) in T:
                mean, reach = (
                    np.mean(gains),
                    T[len(gains)] * np.std(gains, ddof=1) / len(gains) ** 0.5,
                )
                yield f"{mean:+.2f} [{mean - reach:+.2f}, {mean + reach:+.2f}]"


@pytest.mark.parametrize(
    "page",
    ["README.md", "docs/study.rst", "docs/when.rst", "docs/questions.rst"],
)
def test_every_interval_that_a_page_prints_is_that_of_some_rows(page):
    found = {" ".join(each.split()) for each in PRINTED.findall((ROOT / page).read_text())}
    assert len(found) >= (4 if page in ("README.md", "docs/study.rst") else 0)
    known = {
        each
        for stage in ("frozen", "finetune")
        for each in printed_differences(read_table(PAGES / stage))
    }
    assert not found - known


def test_rows_are_grouped_and_none_is_lost():
    rows = [{"arm": arm} for arm in ("mine", "delta", "rz", "hpm:bin=1", "s", "hpm:beta=1")]
    assert {title: [row["arm"] for row in part] for title, part in by_group(rows).items()} == {
        "Table II": ["rz", "s"],
        "Table III": ["hpm:bin=1"],
        "Fig. 7": ["hpm:beta=1"],
        "Controls of equal mass": ["delta"],
        "Unknown arms": ["mine"],
    }
    rows = [{"arm": "rz", "gain": "+1", "p": ""}, {"arm": "cw", "gain": "", "p": ""}]
    assert by_group(rows) == {
        "Table II": [{"arm": "rz", "gain": "+1"}],
        "Class weights": [{"arm": "cw"}],
    }
    assert [slug(title) for title in ("Table III", "Fig. 7")] == ["table-iii", "fig-7"]
