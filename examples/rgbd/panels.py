"""Panels of a run: what the network sees, predicts, and finds hard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

import lwm_loss as lwm
import lwm_loss.functional as LF
from examples.rgbd.config import ObjectiveOptions
from examples.rgbd.data import Resized, denormalise
from examples.rgbd.objective import weight_module
from lwm_loss.plotting import plot_weight_maps

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
    was_training = network.training
    network.eval()
    shown = Resized(dataset, image_size)
    weighting = weight_module(objective)
    files = []
    for index in spread(len(shown), count):
        frame = shown[index]
        output = lwm.MultiTaskOutput.of(network(frame.image[None].to(device)))
        if output.log_depth is None:
            raise ValueError("Expected a network with a depth branch to draw weight maps of.")
        figure = plot_weight_maps(
            torch.from_numpy(denormalise(frame.image)).permute(2, 0, 1)[None],
            frame.label[None],
            output.logits.float(),
            output.log_depth.float(),
            LF.rescale_depth(frame.depth, *limits)[None],
            weighting,
            curriculum=curriculum,
            class_names=classes,
            palette=palette,
            metres=limits,
            title=f"{frame.name}",
        )
        file = folder / f"{prefix}-{frame.name}.png"
        figure.savefig(file, dpi=_DPI)
        files.append(file)
    network.train(was_training)
    return files
