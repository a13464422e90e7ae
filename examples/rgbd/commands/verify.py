"""The command `verify`: every frame is read, and what cannot be right is told."""

from __future__ import annotations

from examples.rgbd.commands.prepare import open_splits
from examples.rgbd.data.inspect.rules import describe
from examples.rgbd.data.inspect.rules import verify as find_problems
from examples.rgbd.options.commands import VerifyOptions
from examples.rgbd.pipeline import Pipeline


def verify(pipeline: Pipeline, options: VerifyOptions) -> None:
    """Print a table of each split and the problems. A problem ends in status 1."""
    splits = open_splits(pipeline.spec, options.data, options.layout, options.depth)
    sizes = None if options.subset else pipeline.spec.split_sizes
    reports = find_problems(splits, sizes, options.workers)
    for report in reports:
        print(describe(report, splits["train"].classes))
    remarks = [remark for report in reports for remark in report.remarks]
    if remarks:
        print("Worth a look:\n" + "\n".join(remarks))
    problems = [problem for report in reports for problem in report.problems]
    print("\n".join(problems) if problems else "Nothing found that cannot be right.")
    if problems:
        raise SystemExit(1)
