"""Tables as text that reads well in a terminal and in Markdown, and what they were taken on."""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.measure import Result

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "triton", "numpy", "kornia", "monai", "transformers")


@dataclass
class Table:
    """A table: its first column is text, the others are figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(self.columns))]

        def row(cells: Sequence[str]) -> str:
            first, *others = zip(cells, widths, strict=True)
            padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
            return "| " + " | ".join(padded) + " |"

        rule = "|" + "|".join(
            "-" * (width + 2) if index == 0 else "-" * (width + 1) + ":"
            for index, width in enumerate(widths)
        )
        parts = [
            f"## {self.title}",
            "\n".join([row(self.columns), rule + "|", *map(row, self.rows)]),
        ]
        return "\n\n".join([*parts, *self.notes])


COMPARED = ("time", "IQR", "time ratio", "peak memory", "memory ratio")


def compared(result: Result, baseline: Result) -> list[str]:
    """The cells of COMPARED."""
    share = f"{result.peak / baseline.peak:.2f}" if baseline.peak else "-"
    return [
        milliseconds(result.seconds),
        milliseconds(result.iqr),
        f"{result.ratio:.2f}",
        mebibytes(result.peak),
        share,
    ]


def milliseconds(seconds: float) -> str:
    """Three digits of a time."""
    value = 1e3 * seconds
    return f"{value:.0f} ms" if value >= 100 else f"{value:.3g} ms"


def mebibytes(count: float) -> str:
    """Bytes in MiB."""
    value = count / 2**20
    return f"{value:.0f} MiB" if value >= 10 else f"{value:.2f} MiB"


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.1f} %"


def machine(device: str) -> list[str]:
    """What the figures were taken on."""
    lines = [
        f"processor: {_processor()}, {os.cpu_count()} logical cores; "
        f"torch uses {torch.get_num_threads()} threads",
        f"system: {platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "packages: " + ", ".join(filter(None, map(_version, PACKAGES))),
    ]
    if device == "cuda":
        facts = torch.cuda.get_device_properties(0)
        lines.insert(
            0,
            f"device: {facts.name}, {facts.total_memory / 2**30:.0f} GiB, "
            f"{facts.multi_processor_count} multiprocessors, CUDA {torch.version.cuda}",
        )
    return lines


def load() -> str:
    """How busy the machine is, where the system tells."""
    try:
        return f"load of the last minute: {os.getloadavg()[0]:.2f}"
    except OSError:
        return "load: not known on this system"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return ""


def save(text: str, device: str) -> Path:
    """Write the report to benchmarks/results/<device>-<date>.md, or -2, -3 ... beside those there."""
    RESULTS.mkdir(exist_ok=True)
    name = f"{device}-{datetime.date.today().isoformat()}"
    path, number = RESULTS / f"{name}.md", 1
    while path.exists():
        number += 1
        path = RESULTS / f"{name}-{number}.md"
    path.write_text(text + "\n", encoding="utf-8")
    return path
