"""Differences paired by seed, their intervals, and what they need to be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95

FEWEST_PAIRS = 3
"""Of two pairs no interval is shown: it is 13 times as wide as the two are apart."""


class Difference(NamedTuple):
    """The mean of differences paired by seed.

    Attributes:
        pairs: how many seeds both arms have.
        mean: of the differences.
        deviation: of the differences; NaN with one pair.
        t_interval: 95 % interval of the mean by Student's t; NaN with one pair.
        bootstrap: 95 % percentile interval of the mean over resampled seeds; NaN below three pairs.
        p_value: of the paired t test, two-sided; NaN with one pair.
    """

    pairs: int
    mean: float
    deviation: float
    t_interval: tuple[float, float]
    bootstrap: tuple[float, float]
    p_value: float


def paired_difference(first: dict[int, float], second: dict[int, float]) -> Difference:
    """First minus second over the seeds that both have; values by seed."""
    seeds = sorted(first.keys() & second.keys())
    values = np.array([first[seed] - second[seed] for seed in seeds], float)
    values = values[np.isfinite(values)]
    pairs, nothing = len(values), (math.nan, math.nan)
    if pairs == 0:
        return Difference(0, math.nan, math.nan, nothing, nothing, math.nan)
    mean = float(values.mean())
    if pairs == 1:
        return Difference(1, mean, math.nan, nothing, nothing, math.nan)
    deviation = float(values.std(ddof=1))
    if deviation == 0:
        return Difference(pairs, mean, 0.0, (mean, mean), (mean, mean), float(mean == 0))
    reach = stats.t.ppf((1 + LEVEL) / 2, pairs - 1) * deviation / math.sqrt(pairs)
    bootstrap = nothing
    if pairs >= FEWEST_PAIRS:
        found = stats.bootstrap(
            (values,), np.mean, confidence_level=LEVEL, method="percentile", rng=0
        ).confidence_interval
        bootstrap = (float(found.low), float(found.high))
    p_value = float(stats.ttest_1samp(values, 0).pvalue)
    return Difference(pairs, mean, deviation, (mean - reach, mean + reach), bootstrap, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction for the number of comparisons; NaN stays and does not count."""
    order = sorted(
        (index for index, value in enumerate(p_values) if not math.isnan(value)),
        key=lambda index: p_values[index],
    )
    corrected, highest = list(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def pooled_deviation(differences: Sequence[Difference]) -> float:
    """The deviation of paired differences, pooled over comparisons by their degrees of freedom."""
    known = [each for each in differences if each.pairs > 1]
    freedom = sum(each.pairs - 1 for each in known)
    if freedom == 0:
        return math.nan
    return math.sqrt(sum((each.pairs - 1) * each.deviation**2 for each in known) / freedom)


def power(effect: float, deviation: float, pairs: int, level: float = LEVEL) -> float:
    """The probability that a paired t test at this level sees a true mean difference."""
    freedom = pairs - 1
    shift = effect / deviation * math.sqrt(pairs)
    bound = stats.t.ppf((1 + level) / 2, freedom)
    return float(stats.nct.sf(bound, freedom, shift) + stats.nct.cdf(-bound, freedom, shift))


def pairs_needed(effect: float, deviation: float, wanted: float = 0.8) -> int | None:
    """The fewest seeds with which a true difference is seen with this probability; None above 999."""
    if not deviation > 0:
        return 2 if deviation == 0 else None
    return next((n for n in range(2, 1000) if power(effect, deviation, n) >= wanted), None)
