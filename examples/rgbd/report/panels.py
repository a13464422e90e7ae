"""Panels of a run: what the network sees, predicts, and finds hard."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF
from examples.rgbd.data import VOID, Resized, denormalise
from examples.rgbd.data.files.atomic import write_atomically
from examples.rgbd.evaluation.scoring import depth_of_frame
from examples.rgbd.networks import run_network
from examples.rgbd.objectives import weight_module
from examples.rgbd.options.groups import ObjectiveOptions
from lwm_loss.plotting import (
    DROPPED_COLOUR,
    VOID_COLOUR,
    legend_of_classes,
    plot_weight_maps,
)

_DPI = 110


def spread(length: int, count: int) -> list[int]:
    """Indices of `count` frames spread evenly over `length`."""
    count = min(count, length)
    return [(2 * number + 1) * length // (2 * count) for number in range(count)]


@torch.no_grad()
def draw_panels(
    network: nn.Module,
    dataset: Any,
    folder: Path,
    prefix: str,
    caption: str,
    *,
    count: int,
    image_size: tuple[int, int],
    limits: tuple[float, float],
    objective: ObjectiveOptions,
    classes: tuple[str, ...],
    palette: Any,
    metric: bool = True,
    curriculum: lwm.SelfPacedCurriculum | None = None,
    device: torch.device | str = "cpu",
) -> list[Path]:
    """Draw some frames of a split to `folder/prefix-name.png`.

    Args:
        network: without a depth branch there are no maps but those of the labels.
        dataset: the split.
        folder: to draw to.
        prefix: of the file names.
        caption: follows the name of the frame in the title.
        count: number of frames, spread evenly over the split.
        image_size: (height, width) that the network sees.
        limits: (near, far) in metres.
        objective: gives cells, bins and fusion.
        classes: class names.
        palette: (C, 3) colours.
        metric: show depth in metres; otherwise in levels.
        curriculum: adds the kept part of M.
        device: of the network.

    Returns:
        The files.
    """
    files = []
    weighting = weight_module(objective)
    for shown in _predicted(network, dataset, count, image_size, limits, device):
        title = f"{shown.name}, {caption}"
        if shown.log_depth is None:
            figure = _plot_labels(shown, classes, palette, title)
        else:
            figure = plot_weight_maps(
                shown.image,
                shown.label,
                shown.logits,
                shown.log_depth,
                shown.levels,
                weighting,
                curriculum=curriculum,
                class_names=classes,
                palette=palette,
                metres=limits if metric else None,
                title=title,
            )
        files.append(_save(figure, folder / f"{prefix}-{shown.name}.png"))
    return files


@torch.no_grad()
def draw_curriculum(
    network: nn.Module,
    dataset: Any,
    folder: Path,
    caption: str,
    *,
    epochs: Sequence[int],
    length: int,
    count: int,
    image_size: tuple[int, int],
    limits: tuple[float, float],
    objective: ObjectiveOptions,
    device: torch.device | str = "cpu",
) -> list[Path]:
    """Draw what the curriculum keeps of M at some epochs (Fig. 8b) to `folder/kept-name.png`.

    The weights are those of one checkpoint; only the curriculum moves on.

    Args:
        network: with a depth branch.
        dataset: the split.
        folder: to draw to.
        caption: follows the name of the frame in the title.
        epochs: to show.
        length: of the curriculum in epochs.
        count: number of frames, spread evenly over the split.
        image_size: (height, width) that the network sees.
        limits: (near, far) in metres.
        objective: gives cells, bins and fusion.
        device: of the network.

    Returns:
        The files.
    """
    files = []
    weighting = weight_module(objective)
    height, width = image_size
    for shown in _predicted(network, dataset, count, image_size, limits, device):
        if shown.log_depth is None:
            raise ValueError("Expected a network with a depth branch to draw weight maps of.")
        maps = weighting.maps(shown.logits, shown.label, shown.log_depth, shown.levels)
        labelled = shown.label != VOID
        columns = len(epochs) + 1
        size = (2.6 * columns + 1.6, 2.6 * height / width + 0.7)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, columns)
        panels[0].imshow(shown.image[0].permute(1, 2, 0).numpy())
        panels[0].set_title("image", fontsize="medium")
        top = float(maps.weight.max()) or 1.0
        for panel, epoch in zip(panels[1:], epochs):
            curriculum = lwm.SelfPacedCurriculum(length)
            curriculum.epoch.fill_(epoch)
            kept = curriculum(maps.weight, labelled)
            dropped = (kept != maps.weight) & labelled
            share = 1 - float(dropped.sum() / labelled.sum().clamp(min=1))
            hidden = (dropped | ~labelled)[0].numpy()
            weight = np.ma.masked_array(kept[0].numpy(), hidden)
            panel.imshow(_two_colours(dropped[0].numpy()), interpolation="nearest")
            drawn = panel.imshow(weight, cmap="magma", vmin=0, vmax=top, interpolation="nearest")
            panel.set_title(
                f"epoch {epoch} of {length}: {100 * share:.0f} % kept", fontsize="medium"
            )
        for panel in panels:
            panel.set_axis_off()
        bar = figure.colorbar(drawn, ax=panels, fraction=0.02, pad=0.01)
        bar.ax.tick_params(labelsize="x-small")
        bar.ax.set_title("M", fontsize="small")
        figure.legend(
            handles=[
                Patch(facecolor=DROPPED_COLOUR, label="left out"),
                Patch(facecolor=VOID_COLOUR, label="no label"),
            ],
            loc="outside right upper",
            frameon=False,
            fontsize="small",
        )
        figure.suptitle(f"{shown.name}, {caption}")
        files.append(_save(figure, folder / f"kept-{shown.name}.png"))
    return files


class _Shown(NamedTuple):
    """One frame and what is predicted of it, as batches of one on the CPU."""

    name: str
    image: Tensor
    label: Tensor
    levels: Tensor
    logits: Tensor
    log_depth: Tensor | None


def _predicted(
    network: nn.Module,
    dataset: Any,
    count: int,
    image_size: tuple[int, int],
    limits: tuple[float, float],
    device: torch.device | str,
) -> Iterator[_Shown]:
    """Some frames, spread evenly over a split."""
    was_training = network.training
    network.eval()
    resized = Resized(dataset, image_size)
    for index in spread(len(resized), count):
        frame = resized[index]
        beside = depth_of_frame(network, frame, device)
        output = lwm.MultiTaskOutput.of(run_network(network, frame.image[None].to(device), beside))
        log_depth = output.log_depth
        yield _Shown(
            name=str(frame.name).replace("/", "-"),
            image=torch.from_numpy(denormalise(frame.image)).permute(2, 0, 1)[None],
            label=frame.label[None],
            levels=LF.rescale_depth(frame.depth, *limits)[None],
            logits=output.logits.float().cpu(),
            log_depth=None if log_depth is None else log_depth.float().cpu(),
        )
    network.train(was_training)


def _two_colours(dropped: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What lies below the kept weights: the colour of what is left out, and that of void."""
    return np.where(dropped[..., None], DROPPED_COLOUR, VOID_COLOUR)


def _plot_labels(shown: _Shown, classes: Sequence[str], palette: Any, title: str) -> Figure:
    """Image, label and prediction: all there is to see without depth."""
    label, predicted = shown.label[0].numpy(), shown.logits.argmax(1)[0].numpy()
    labelled = label != VOID
    colours = np.vstack([np.asarray(palette) / 255, VOID_COLOUR])
    right = (label == predicted)[labelled].mean() if labelled.any() else 0.0
    height, width = label.shape
    figure = Figure(figsize=(3 * 3.5 + 1.7, 3.1 * height / width + 0.8), layout="constrained")
    pictures = (
        (shown.image[0].permute(1, 2, 0).numpy(), "image"),
        (colours[np.where(labelled, label, -1)], "label"),
        (colours[predicted], f"prediction ({100 * right:.0f} % right)"),
    )
    for panel, (picture, name) in zip(figure.subplots(1, 3), pictures):
        panel.imshow(picture, interpolation="nearest")
        panel.set_title(name)
        panel.set_axis_off()
    counts = np.bincount(
        np.concatenate([label[labelled], predicted.ravel()]), minlength=len(classes)
    )
    void = [] if labelled.all() else [Patch(facecolor=VOID_COLOUR, label="void (no label)")]
    handles = legend_of_classes(
        torch.from_numpy(counts), colours.tolist(), classes, void, figure.get_figheight()
    )
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize="small")
    figure.suptitle(title)
    return figure


def _save(figure: Figure, path: Path) -> Path:
    picture = io.BytesIO()
    figure.savefig(picture, dpi=_DPI, format="png")
    write_atomically(path, lambda file: file.write(picture.getbuffer()))
    return path
