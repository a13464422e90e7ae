"""Time, memory and bandwidth of rivals, taken in turns so that a drift hits all of them alike."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.utils.benchmark import Measurement, TaskSpec, timer

# The profiler, which is used for memory alone, otherwise announces every start and stop.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        rounds: turns that every rival gets.
        seconds: about the least time of one turn; a quick rival runs several times within it.
        patience: seconds that one rival may take in all; a slow one gets fewer turns, but three
            at least.
    """

    rounds: int
    seconds: float
    patience: float


THOROUGH = Effort(rounds=11, seconds=0.25, patience=40.0)
QUICK = Effort(rounds=2, seconds=0.0, patience=1.0)


@dataclass(frozen=True)
class Rival:
    """Something to measure: a name and what to run."""

    name: str
    run: Callable[[], object]


@dataclass(frozen=True)
class Result:
    """What a rival took.

    Attributes:
        name: of the rival.
        seconds: median time of one run.
        iqr: interquartile range of it, in seconds.
        ratio: median over the turns of its time over the first rival's in the same turn.
        peak: bytes held at most at one moment, over what was there before the run.
    """

    name: str
    seconds: float
    iqr: float
    ratio: float
    peak: int


def race(
    rivals: Sequence[Rival], device: str, effort: Effort, *, memory: bool = True
) -> list[Result]:
    """Measures all rivals in one run; ratios are against the first of them.

    Args:
        rivals: what to measure; each must leave nothing behind.
        device: where they run.
        effort: how long to measure.
        memory: whether peak memory is wanted as well (else it is 0).
    """
    peaks, plans = [], []
    for rival in rivals:
        rival.run()  # loads, compiles, fills caches
        peaks.append(peak_memory(rival.run, device) if memory else 0)
        plans.append(_plan(_turn(rival, 1).median, effort))
    taken: list[dict[int, Measurement]] = [{} for _ in rivals]
    for turn in range(effort.rounds):
        order = range(len(rivals)) if turn % 2 == 0 else reversed(range(len(rivals)))
        for index in order:
            number, turns = plans[index]
            if turn in turns:
                taken[index][turn] = _turn(rivals[index], number)
    return [
        _result(rival.name, own, taken[0], peak)
        for rival, own, peak in zip(rivals, taken, peaks, strict=True)
    ]


def _turn(rival: Rival, number: int) -> Measurement:
    """One turn of a rival; `timer` waits for the device before it looks at the clock."""
    if number > 1:
        rival.run()  # what ran before has left other things in the caches
    start = timer()
    for _ in range(number):
        rival.run()
    end = timer()
    task = TaskSpec("run()", "", label=rival.name, num_threads=torch.get_num_threads())
    return Measurement(number, [end - start], task)


def _plan(seconds: float, effort: Effort) -> tuple[int, set[int]]:
    """How many runs one turn has, and which turns to take."""
    number = max(1, round(effort.seconds / seconds))
    most = int(effort.patience / (number * seconds))
    turns = min(effort.rounds, max(3, most))
    return number, {step * (effort.rounds - 1) // max(1, turns - 1) for step in range(turns)}


def _result(
    name: str, own: dict[int, Measurement], first: dict[int, Measurement], peak: int
) -> Result:
    (whole,) = Measurement.merge(own.values())
    ratio = statistics.median(
        measured.median / first[turn].median for turn, measured in own.items() if turn in first
    )
    return Result(name, whole.median, whole.iqr, ratio, peak)


def peak_memory(run: Callable[[], object], device: str) -> int:
    """Bytes that torch's allocator held at most during a run, over what it held before.

    On CUDA the allocator counts by itself. On a CPU the profiler records every allocation and
    release; unlike the resident size of the process their sum is exact, the same in every run,
    and blind to what a freed block leaves behind in the C library.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        run()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def copy_rival(nbytes: int, device: str) -> Rival:
    """A plain copy of this many bytes, the measure of what the memory can do."""
    source = torch.zeros(nbytes // 4, device=device)
    destination = torch.zeros_like(source)
    return Rival("copy", lambda: destination.copy_(source))
