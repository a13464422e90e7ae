"""Fig. 6: the segmentation error in bins of the log-depth error."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

import lwm_loss.functional as LF
from examples.analysis.frames import load_with_depth, open_source
from examples.analysis.options import Correlation
from examples.rgbd.data import VOID, Resized, RGBDDataset
from examples.rgbd.data.files.atomic import write_atomically
from examples.rgbd.evaluation.scoring import depth_of_frame, predict
from examples.rgbd.networks.layers import upsample
from examples.rgbd.options.groups import OptionError
from examples.rgbd.progress import progress_bar
from examples.rgbd.run.accelerator import pick_device
from examples.rgbd.run.trained import Trained
from lwm_loss.analysis import BinnedErrors, segmentation_error_by_depth_gap

_FINE = 2000  # bins while counting; the final ones are made of them


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
        beside = depth_of_frame(trained.network, frame, device)
        output = predict(trained.network, frame.image[None].to(device), depth=beside)
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
        trained = load_with_depth(path)
        fine = count_errors(trained, open_source(trained, options.source), fine_edges, device)
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
