"""Panels of a run: what the network sees, predicts, and finds hard."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF
from examples.rgbd.checkpoint import write_atomically
from examples.rgbd.config import ObjectiveOptions
from examples.rgbd.data import VOID, Resized, denormalise
from examples.rgbd.objective import weight_module
from lwm_loss.plotting import plot_weight_maps

_DPI = 110
_FEW = 20
_VOID_GREY = "0.8"


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
    curriculum: lwm.SelfPacedCurriculum | None = None,
    device: torch.device | str = "cpu",
) -> list[Path]:
    """Draw some frames of a split to `folder/prefix-name.png`.

    Args:
        network: with a depth branch.
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
        curriculum: adds the kept part of M.
        device: of the network.

    Returns:
        The files.
    """
    files = []
    weighting = weight_module(objective)
    for shown in _predicted(network, dataset, count, image_size, limits, device):
        figure = plot_weight_maps(
            shown.image,
            shown.label,
            shown.logits,
            shown.log_depth,
            shown.levels,
            weighting,
            curriculum=curriculum,
            class_names=classes,
            # The usual colours of labels are dark; a few classes look better in matplotlib's.
            palette=None if len(classes) <= _FEW else palette,
            metres=limits,
            title=f"{shown.name}, {caption}",
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
        maps = weighting.maps(shown.logits, shown.label, shown.log_depth, shown.levels)
        labelled = shown.label != VOID
        columns = len(epochs) + 1
        size = (2.6 * columns + 0.6, 2.6 * height / width + 0.9)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1, columns)
        panels[0].imshow(shown.image[0].permute(1, 2, 0).numpy())
        panels[0].set_title("image")
        top = max(float(maps.weight.max()), 1e-6)
        colours = colormaps["magma"].with_extremes(bad=_VOID_GREY)
        void = ~labelled[0].numpy()
        for panel, epoch in zip(panels[1:], epochs):
            curriculum = lwm.SelfPacedCurriculum(length)
            curriculum.epoch.fill_(epoch)
            kept = curriculum(maps.weight, labelled)
            weight = np.ma.masked_array(kept[0].numpy(), void)
            drawn = panel.imshow(weight, cmap=colours, vmin=0, vmax=top, interpolation="nearest")
            panel.set_title(f"M kept at epoch {epoch} of {length}", fontsize="medium")
            bar = figure.colorbar(drawn, ax=panel, fraction=0.035, pad=0.02)
            bar.ax.tick_params(labelsize="x-small")
        for panel in panels:
            panel.set_axis_off()
        figure.suptitle(f"{shown.name}, {caption}")
        figure.supxlabel("black: left out or of no weight; grey: no label", fontsize="small")
        files.append(_save(figure, folder / f"kept-{shown.name}.png"))
    return files


class _Shown(NamedTuple):
    """One frame and what is predicted of it, as batches of one on the CPU."""

    name: str
    image: Tensor
    label: Tensor
    levels: Tensor
    logits: Tensor
    log_depth: Tensor


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
        output = lwm.MultiTaskOutput.of(network(frame.image[None].to(device)))
        if output.log_depth is None:
            raise ValueError("Expected a network with a depth branch to draw weight maps of.")
        yield _Shown(
            name=str(frame.name).replace("/", "-"),
            image=torch.from_numpy(denormalise(frame.image)).permute(2, 0, 1)[None],
            label=frame.label[None],
            levels=LF.rescale_depth(frame.depth, *limits)[None],
            logits=output.logits.float().cpu(),
            log_depth=output.log_depth.float().cpu(),
        )
    network.train(was_training)


def _save(figure: Figure, path: Path) -> Path:
    picture = io.BytesIO()
    figure.savefig(picture, dpi=_DPI, format="png")
    write_atomically(path, lambda file: file.write(picture.getbuffer()))
    return path
