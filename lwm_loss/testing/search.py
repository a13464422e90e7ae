"""A property is tried on drawn inputs by hypothesis, then on the corners that must never be missed."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, NoReturn, TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st

from .report import CheckSkipped

T = TypeVar("T")


class Breach(Exception):  # noqa: N818 - it is caught here, and reported as a ContractError
    """A contract is broken: what was found, and the code that shows it."""

    def __init__(self, finding: str, reproduce: str = "") -> None:
        super().__init__(finding, reproduce)
        self.finding = finding
        self.reproduce = reproduce


def breach(finding: str) -> NoReturn:
    """Says within a `scenario` that the contract is broken."""
    raise Breach(finding)


@contextmanager
def scenario(code: str) -> Iterator[None]:
    """Ties what happens within to the code that does the same, and errors of the subject too."""
    try:
        yield
    except Breach as error:
        raise Breach(error.finding, code) from error.__cause__
    except CheckSkipped:
        raise
    except Exception as error:
        message = textwrap.shorten(str(error), 300) or "no message"
        finding = f"it raised {type(error).__name__}: {message.rstrip('.')}"
        raise Breach(finding, code) from error


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
    """Raises the first `Breach` if every attempt ends in one: of several meanings one will do."""
    first: Breach | None = None
    for attempt in attempts:
        try:
            attempt()
        except Breach as error:
            first = first or error
        else:
            return
    if first is not None:
        raise first


def for_all(
    strategy: st.SearchStrategy[T],
    hold: Callable[[T], None],
    effort: Effort,
    corners: Iterable[T] = (),
) -> None:
    """Raises the `Breach` of the smallest drawn input for which ``hold`` raises one, if any.

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
    """The breach of the input that one search ends at, or None if it finds no breach."""
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
        phases=(Phase.generate, Phase.shrink),
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
