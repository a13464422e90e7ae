"""Runs that take no time and say which process did them."""

import os


class Pretended:
    """A workshop that can be sent to a process."""

    def __call__(self):
        def work(run, progress):
            return {
                "arm": run.arm,
                "seed": run.seed,
                "miou": 10.0 * run.seed,
                "process": os.getpid(),
            }

        return work
