"""Figures of the paper from checkpoints: `correlation` (Fig. 6) and `maps` (Fig. 8).

python -m examples.analysis correlation RUN [RUN ...]
python -m examples.analysis maps RUN --epochs 30 60 90 120
"""

from __future__ import annotations

import csv
import dataclasses
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import torch
import tyro
from matplotlib.figure import Figure
from torch import Tensor

import lwm_loss.functional as LF
from examples.nyudv2.recipe import PIPELINE as NYUDV2
from examples.rgbd.cli import guarded, parse
from examples.rgbd.data import VOID, Resized, RGBDDataset, Split
from examples.rgbd.data.files.atomic import write_atomically
from examples.rgbd.evaluation.scoring import predict, upsample
from examples.rgbd.options.commands import Device
from examples.rgbd.options.groups import OptionError
from examples.rgbd.pipeline import ANY_FOLDER
from examples.rgbd.progress import progress_bar
from examples.rgbd.report.panels import draw_curriculum, draw_panels
from examples.rgbd.run.accelerator import pick_device
from examples.rgbd.run.trained import Trained, load_trained
from examples.rgbd.splits import open_split
from examples.sunrgbd.recipe import PIPELINE as SUNRGBD
from lwm_loss.analysis import BinnedErrors, segmentation_error_by_depth_gap

_PIPELINES = {"rooms": NYUDV2, "nyudv2": NYUDV2, "sunrgbd": SUNRGBD}  # ANY_FOLDER otherwise
_FINE = 2000  # bins while counting; the final ones are made of them


@dataclass(frozen=True)
class Source:
    """Where the frames come from."""

    data: Path | None = None
    """Folder of the data set; by default the one that the run was trained on."""
    layout: str | None = None
    """How the folder is laid out; recognised by itself if it is not said."""
    split: Split = "test"
    """Which split."""
    device: Device = "auto"
    """auto takes the GPU if there is one."""


@dataclass(frozen=True)
class Correlation:
    """Segmentation error in bins of the log-depth error (Fig. 6), one curve for each run."""

    checkpoints: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, or checkpoint files."""
    source: Source = field(default_factory=Source)
    """Frames."""
    output: Path = Path("correlation")
    """Folder to write correlation.png and correlation.csv to."""
    bins: int = 10
    """Number of bins."""
    max_gap: float = 1.0
    """Equal widths: log-depth error at which the last bin ends; beyond it, it is open."""
    widths: Literal["equal", "quantile"] = "equal"
    """equal: bins of one width. quantile: bins with the same number of pixels, of the first run."""


@dataclass(frozen=True)
class Maps:
    """R, Z, M, and what the curriculum keeps of M at given epochs (Fig. 8)."""

    checkpoint: tyro.conf.Positional[Path]
    """Folder of a run, or a checkpoint file."""
    source: Source = field(default_factory=Source)
    """Frames."""
    output: Path = Path("maps")
    """Folder to write to."""
    epochs: tuple[int, ...] = ()
    """Epochs of the curriculum to show; by default quarters of the run."""
    count: int = 4
    """Number of frames, spread evenly over the split."""


Command = Union[  # noqa: UP007 (Python 3.10 has no `|` for Annotated)
    Annotated[Correlation, tyro.conf.subcommand("correlation")],
    Annotated[Maps, tyro.conf.subcommand("maps")],
]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command."""
    command: Any = parse(
        Command,  # type: ignore[arg-type]
        sys.argv[1:] if args is None else args,
        prog="python -m examples.analysis",
        description="Figures of the paper from checkpoints.",
    )
    run: Callable[[Any], None] = correlation if isinstance(command, Correlation) else maps
    guarded(lambda: run(command))


def _open(trained: Trained, source: Source) -> RGBDDataset:
    options = trained.config.data
    if source.data is not None:
        options = dataclasses.replace(options, data=source.data, layout=source.layout)
    dataset = open_split(_PIPELINES.get(trained.name, ANY_FOLDER), options, source.split)
    if len(dataset.classes) != len(trained.classes):
        raise OptionError(
            f"Expected frames with {len(trained.classes)} classes for {trained.path}, but got "
            f"{len(dataset.classes)}: did you mean another --data?"
        )
    return dataset


def _with_depth(path: Path) -> Trained:
    trained = load_trained(path)
    if trained.config.objective.objective == "s":
        raise OptionError(f"Expected a run that predicts depth, but {path} has --objective s.")
    return trained


@torch.no_grad()
def count_errors(
    trained: Trained, dataset: RGBDDataset, edges: Tensor, device: torch.device
) -> BinnedErrors:
    """Counts over a split, at each label map's own size."""
    trained.network.to(device)
    total: BinnedErrors | None = None
    shown = Resized(dataset, trained.config.data.image_size, resize_target=False)
    for index in progress_bar(range(len(shown)), str(trained.path), unit="image"):
        frame = shown[index]
        output = predict(
            trained.network, frame.image[None].to(device), metres=frame.depth[None].to(device)
        )
        if output.log_depth is None:
            raise ValueError("Expected a network that predicts depth.")
        size = frame.label.shape
        counted = segmentation_error_by_depth_gap(
            upsample(output.logits.float(), size),
            frame.label[None].to(device),
            upsample(output.log_depth[:, None].float(), size),
            LF.rescale_depth(frame.depth, *trained.limits)[None].to(device),
            edges=edges,
            ignore_index=VOID,
        )
        total = counted if total is None else total.merge(counted)
    if total is None:
        raise OptionError("Expected at least one frame, but the split is empty.")
    return BinnedErrors(*(part.cpu() for part in total))


def choose_edges(fine: BinnedErrors, options: Correlation) -> list[int]:
    """Inner edges of the final bins, as indices into the fine ones."""
    if options.widths == "equal":
        return [round(_FINE * bin_ / options.bins) for bin_ in range(1, options.bins)]
    below = fine.total.cumsum(0) / fine.total.sum().clamp(min=1)
    wanted = torch.arange(1, options.bins) / options.bins
    inner = (torch.searchsorted(below, wanted) + 1).tolist()
    if len(set(inner)) < len(inner) or inner[-1] >= _FINE:
        raise OptionError(
            f"Expected depth errors that differ enough for {options.bins} equally filled bins up "
            f"to --max-gap {options.max_gap:g}, but they do not: did you mean fewer --bins?"
        )
    return inner


def correlation(options: Correlation) -> None:
    """Fig. 6: a picture and a table."""
    if options.bins < 2 or options.bins > _FINE or not options.max_gap > 0:
        raise OptionError(
            f"Expected --bins from 2 to {_FINE} and --max-gap above 0, but got {options.bins} and "
            f"{options.max_gap:g}."
        )
    if not options.checkpoints:
        raise OptionError("Expected at least one run, but got none.")
    device = pick_device(options.source.device)
    fine_edges = torch.linspace(0, options.max_gap, _FINE + 1, dtype=torch.float64)
    curves: dict[str, BinnedErrors] = {}
    inner: list[int] | None = None
    for path in options.checkpoints:
        trained = _with_depth(path)
        fine = count_errors(trained, _open(trained, options.source), fine_edges, device)
        inner = choose_edges(fine, options) if inner is None else inner
        curves[str(path)] = fine.regroup(inner)
    options.output.mkdir(parents=True, exist_ok=True)
    _write_table(options.output / "correlation.csv", curves)
    _plot_correlation(curves).savefig(options.output / "correlation.png", dpi=130)
    for name, curve in curves.items():
        print(f"{name}\n{'log-depth error':>17}  {'pixels':>10}  segmentation error")
        for low, high, pixels, rate in _rows(curve):
            print(f"{low:8.3f} .. {high:<6}  {pixels:>10}  {100 * rate:6.2f} %")
    print(f"written to {options.output}/")


def _rows(curve: BinnedErrors) -> list[tuple[float, str, int, float]]:
    """Lower edge, upper edge, pixels and error rate of each bin; the last bin is open."""
    edges = curve.edges.tolist()
    highs = [f"{edge:.3f}" for edge in edges[1:-1]] + ["inf"]
    return list(zip(edges, highs, curve.total.tolist(), curve.rate.tolist()))


def _write_table(path: Path, curves: dict[str, BinnedErrors]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "low", "high", "pixels", "wrong", "error_rate"])
    for name, curve in curves.items():
        for (low, high, pixels, rate), wrong in zip(_rows(curve), curve.wrong.tolist()):
            writer.writerow([name, f"{low:.6g}", high, pixels, wrong, f"{rate:.6g}"])
    write_atomically(path, lambda file: file.write(text.getvalue().encode()))


def _plot_correlation(curves: dict[str, BinnedErrors]) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, curve in curves.items():
        bins = len(curve.rate)
        # A point in the middle of its bin, whose edges the ticks show; the last bin is open.
        axes.plot([place + 0.5 for place in range(bins)], 100 * curve.rate, marker="o", label=name)
    lows = [f"{low:.2g}" for low, *_ in _rows(curve)]
    axes.set_xticks(range(bins + 1), [*lows, "∞"], fontsize="small")
    axes.set_xlabel("error of the predicted log-depth, |log D - log D*| (edges of the bins)")
    axes.set_ylabel("segmentation error (%)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)
    return figure


def maps(options: Maps) -> None:
    """Fig. 8: panels of R, Z and M, and strips of what the curriculum keeps."""
    trained = _with_depth(options.checkpoint)
    run = trained.config
    length = run.objective.curriculum_epochs or run.optimisation.epochs
    epochs = options.epochs or tuple(sorted({length * part // 4 for part in (1, 2, 3, 4)}))
    if max(epochs) > length:
        raise OptionError(
            f"Expected --epochs of the curriculum, which has {length}, but got {max(epochs)}."
        )
    if min(epochs) < 0 or options.count < 1:
        raise OptionError(
            f"Expected --epochs of at least 0 and --count of at least 1, but got {epochs} and "
            f"{options.count}."
        )
    device = pick_device(options.source.device)
    trained.network.to(device)
    options.output.mkdir(parents=True, exist_ok=True)
    dataset = _open(trained, options.source)
    shared: dict[str, Any] = {
        "count": options.count,
        "image_size": run.data.image_size,
        "limits": trained.limits,
        "objective": run.objective,
        "device": device,
    }
    caption = f"{options.source.split} split, weights of epoch {trained.epoch}"
    files = draw_panels(
        trained.network, dataset, options.output, "maps", caption,
        classes=trained.classes, palette=trained.palette, **shared,
    )  # fmt: skip
    files += draw_curriculum(
        trained.network, dataset, options.output, caption, epochs=epochs, length=length, **shared
    )
    print("\n".join(map(str, files)))


if __name__ == "__main__":
    main()
