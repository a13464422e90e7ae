"""Search for an input that breaks a property: drawn by hypothesis, then the corners."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st

from .expect import Breach

T = TypeVar("T")

PHASES = (Phase.generate, Phase.shrink)


class Effort(NamedTuple):
    """How hard hypothesis tries.

    Attributes:
        max_examples: the number of drawn inputs.
        seed: draws the same inputs on every run; without one they differ from run to run, except
            where the environment variable ``CI`` is set.
        searches: how often a failure is searched and shrunk, each time from another start; the
            shortest counts. Shrinking may end early where one draw sets the length of others.
    """

    max_examples: int
    seed: int | None = None
    searches: int = 1


def for_any(attempts: Iterable[Callable[[], None]]) -> None:
    """Try alternative interpretations of a subject; raise the first `Breach` if all of them fail."""
    breaches: list[Breach] = []
    for attempt in attempts:
        try:
            return attempt()
        except Breach as error:
            breaches.append(error)
    if breaches:
        raise breaches[0]


def for_all(
    strategy: st.SearchStrategy[T],
    hold: Callable[[T], None],
    effort: Effort,
    corners: Iterable[T] = (),
) -> None:
    """Raise the `Breach` of the smallest drawn input for which ``hold`` raises one, if any.

    Corners come last, for what hypothesis finds it also shrinks.
    """
    found: list[Breach] = []
    for search in range(effort.searches):
        smallest = _smallest(strategy, hold, effort, search)
        if smallest is None:
            break
        found.append(smallest)
    if found:
        raise min(found, key=lambda each: len(each.reproduce))
    for corner in corners:
        hold(corner)


def _smallest(
    strategy: st.SearchStrategy[T], hold: Callable[[T], None], effort: Effort, search: int
) -> Breach | None:
    """Return the breach of the input at which one search ends, or None if it finds no breach."""
    breaches: list[Breach] = []

    def attempt(drawn: T) -> None:
        try:
            hold(drawn)
        except Breach as error:
            breaches.append(error)
            raise

    seed = effort.seed
    if search > 0 and (seed is not None or os.environ.get("CI")):
        seed = (seed or 0) + search
    test = given(drawn=strategy)(attempt)
    if seed is not None:
        test = hypothesis.seed(seed)(test)
    test = settings(
        max_examples=effort.max_examples,
        derandomize=seed is None and bool(os.environ.get("CI")),
        database=None,
        deadline=None,
        phases=PHASES,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
    )(test)
    try:
        test()
    except Exception:
        # The last one is that of the smallest input; hypothesis itself may have found it flaky.
        if not breaches:
            raise
    return breaches[-1] if breaches else None
