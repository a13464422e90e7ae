"""The list of runs, what is done of it, and who does the rest."""

from __future__ import annotations

import csv
import io
import json
import math
import multiprocessing
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from examples.rgbd.data import DataError
from examples.rgbd.progress import progress_bar
from examples.study.recipe import Recipe
from examples.study.trial import Progress, Run

Work = Callable[[Run, Progress], dict[str, Any]]
"""Does one run; each process builds its own from a `Workshop`."""

Workshop = Callable[[], Work]


def runs_of(arms: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """Seed by seed, so that a stop at any time leaves a table with as many seeds for each arm."""
    return [Run(arm, seed) for seed in seeds for arm in arms]


class Results:
    """The folder of a study: ``runs/*.json``, one file a run, and ``results.csv``, a row a run.

    Args:
        folder: where it lies; created if need be.
        recipe: of all its runs.

    Raises:
        DataError: the folder holds runs of another recipe.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder = folder
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        said = folder / "recipe.json"
        if said.exists():
            found = json.loads(said.read_text())
            differing = [
                f"{name} {found.get(name)!r}"
                for name, value in recipe.as_dict().items()
                if found.get(name) != value
            ]
            if differing:
                raise DataError(
                    f"Expected the runs of this recipe in {folder}, but those in it have "
                    f"{', '.join(differing)}: did you mean another --output?"
                )
        write_whole(said, json.dumps(recipe.as_dict(), indent=1))

    def path(self, run: Run) -> Path:
        """The file of a run."""
        return self.folder / "runs" / f"{run.key}.json"

    def saved(self, run: Run) -> Path:
        """The state of a run that is under way."""
        return self.folder / "runs" / f"{run.key}.state"

    def missing(self, runs: Iterable[Run]) -> list[Run]:
        """The runs that are not done."""
        return [run for run in runs if not self.path(run).exists()]

    def add(self, run: Run, row: dict[str, Any]) -> None:
        """Keep the row of a run: from this moment on it is in ``results.csv``."""
        write_whole(self.path(run), json.dumps(row))
        self.collect()

    def collect(self) -> None:
        """Write ``results.csv`` from the files of all runs: whole, or as it was before."""
        # One process at a time: who read the folder first must not write the table last.
        with FileLock(self.folder / ".results.lock"):
            paths = sorted(self.folder.glob("runs/*.json"))
            rows = [json.loads(path.read_text()) for path in paths]
            rows.sort(key=lambda row: (row["seed"], row["arm"]))
            write_whole(self.folder / "results.csv", rows_as_csv(rows))


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_cell, value))
    if isinstance(value, float):
        return "nan" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def rows_as_csv(rows: Sequence[dict[str, Any]], cell: Callable[[Any], str] = _cell) -> str:
    """Rows as text, with the columns of all of them; lists of numbers stand in one cell."""
    columns: dict[str, None] = {}
    for row in rows:
        columns.update(dict.fromkeys(row))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(row.get(column, "")) for column in columns])
    return text.getvalue()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``results.csv``: numbers, lists of numbers, and the arm's name."""
    with path.open(newline="") as stream:
        return [
            {name: _value(name, cell) for name, cell in row.items()}
            for row in csv.DictReader(stream)
        ]


LISTS = ("class_iou", "depth_gap_wrong", "depth_gap_total", "curve")


def _value(name: str, cell: str) -> Any:
    if name == "arm":
        return cell
    if name in LISTS:
        return [float(part) for part in cell.split()]
    if name == "seed":
        return int(cell)
    return float(cell) if cell else math.nan


def write_whole(path: Path, text: str) -> None:
    """Write beside the file, make it durable, and only then give it its name."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def do_runs(
    runs: Sequence[Run], results: Results, workshop: Workshop, processes: int, threads: int
) -> None:
    """Do all runs that are not done, with a bar that shows the time left.

    Args:
        runs: in order of importance.
        results: where they are kept.
        workshop: called once in each process; a module-level object if there are several.
        processes: how many work at once.
        threads: of torch, in each process.
    """
    todo = results.missing(runs)
    results.collect()
    bar = progress_bar(
        None, "runs", unit="run", total=len(runs), initial=len(runs) - len(todo), smoothing=0
    )
    with bar:
        if processes == 1:
            torch.set_num_threads(threads)
            work = workshop() if todo else None
            for run in todo:
                if work is None or results.path(run).exists():
                    continue
                bar.set_postfix_str(f"{run.arm}, seed {run.seed}")
                done = 0.0

                def move(share: float) -> None:
                    nonlocal done
                    bar.update(share - done)
                    done = share

                results.add(run, work(run, move))
                bar.update(1 - done)
            return
        if todo:
            workshop()  # features are made here, before any process needs them: not by all at once
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            processes, context, initializer=_start, initargs=(workshop, threads)
        ) as pool:
            waiting = {pool.submit(_work, run): run for run in todo}
            for future in as_completed(waiting):
                results.add(waiting[future], future.result())
                bar.update(1)


_WORK: list[Work] = []


def _start(workshop: Workshop, threads: int) -> None:
    torch.set_num_threads(threads)
    _WORK.append(workshop())


def _work(run: Run) -> dict[str, Any]:
    return _WORK[0](run, lambda share: None)
