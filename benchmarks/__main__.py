"""`python -m benchmarks`: measures and prints the tables, and with `--save` keeps them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import tyro


@dataclass(frozen=True)
class Options:
    """What the losses cost beside what they replace. All rivals of a table run in turns."""

    tables: tuple[Literal[1, 2, 3, 4, 5, 6], ...] = (1, 2, 3, 4, 5, 6)
    """Which tables: 1 the objective, 2 side outputs, 3 Z alone, 4 growth, 5 a training step,
    6 loading images."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to measure; auto takes CUDA if there is one."""
    save: bool = False
    """Also write them to benchmarks/results/<device>-<date>.md."""
    quick: bool = False
    """Tiny sizes and few turns: to see that all of it runs. Not for figures."""


def measure(options: Options) -> None:
    """Measures, prints and maybe saves."""
    import torch

    from benchmarks.loading import table_6
    from benchmarks.losses import NotMeasuredError
    from benchmarks.report import load, machine, save
    from benchmarks.tables import Setting, table_1, table_2, table_3, table_4
    from benchmarks.training_step import table_5

    tables = (table_1, table_2, table_3, table_4, table_5, table_6)
    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    setting = Setting(device, options.quick)
    before = load()
    head = [f"# Benchmarks on {device}, {datetime.date.today().isoformat()}"]
    if options.quick:
        head.append("**Tiny sizes and few turns (`--quick`): these are no figures to quote.**")
    head.append("\n".join(f"- {line}" for line in machine(device)))
    parts = list(head)
    print("\n\n".join(head), flush=True)
    for number in options.tables:
        try:
            sections = [str(table) for table in tables[number - 1](setting)]
        except NotMeasuredError as reason:
            sections = [str(reason)]
        parts += sections
        print("\n" + "\n\n".join(sections), flush=True)
    parts.append(f"Before: {before}; after: {load()}.")
    print("\n" + parts[-1])
    if options.save:
        path = save("\n\n".join(parts), device)
        print(f"\nwritten to {path}")


def main(args: Sequence[str] | None = None) -> None:
    """Run the command. What it needs is imported once its line is parsed."""
    measure(tyro.cli(Options, prog="python -m benchmarks", args=args))


if __name__ == "__main__":
    main()
