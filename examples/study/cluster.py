"""The same list of runs on a cluster, by submitit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from examples.rgbd.data import DataError
from examples.study.runs import Results
from examples.study.trial import Run

if TYPE_CHECKING:
    from examples.study.commands import Workshop
    from examples.study.options import RunOptions


def do_one(workshop: Workshop, run: Run, results: Results, threads: int) -> None:
    """One job: does a run that is not done and adds its row."""
    torch.set_num_threads(threads)
    if results.missing([run]):
        results.add(run, workshop()(run, lambda share: None))


def submit(runs: Sequence[Run], results: Results, workshop: Workshop, options: RunOptions) -> None:
    """Hand all runs that are not done to SLURM as an array of jobs.

    The features are made before, here, so that no two jobs make them.

    Raises:
        DataError: submitit is not installed, or there is no SLURM.
    """
    try:
        import submitit
    except ImportError:
        raise DataError(
            "Expected submitit for --cluster, but it is not installed: did you mean to run "
            'pip install "lwm-loss[study]"?'
        ) from None
    kind = "local" if options.cluster == "local" else "slurm"
    try:
        executor = submitit.AutoExecutor(results.folder / "jobs", cluster=kind)
    except RuntimeError as error:
        raise DataError(f"Expected SLURM for --cluster slurm, but got: {error}") from None
    parameters: dict[str, Any] = {
        "timeout_min": options.cluster_minutes,
        "cpus_per_task": options.threads,
        "slurm_array_parallelism": options.processes,
    }
    if options.cluster_partition is not None:
        parameters["slurm_partition"] = options.cluster_partition
    todo = results.missing(runs)
    results.collect()
    workshop()
    executor.update_parameters(name="lwm-study", **parameters)
    with executor.batch():
        jobs = [executor.submit(do_one, workshop, run, results, options.threads) for run in todo]
    print(f"{len(jobs)} jobs of {kind}, logs in {results.folder / 'jobs'}")
    if kind == "local":
        for job in jobs:
            job.result()
