"""Make predictions for generated rooms with errors like a network's, without training one.

For pictures and demonstrations: labels are blurred across their edges and sometimes taken for another
class, depth is smoothed across its edges.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

import lwm_loss.functional as LF
from examples.rgbd.data import VOID, GeneratedRooms, denormalise, to_tensors

CLASSES = GeneratedRooms.classes
PALETTE = GeneratedRooms.palette
LIMITS = GeneratedRooms.depth_limits


class Rooms(NamedTuple):
    """A batch of rooms, with predictions.

    Attributes:
        image: uint8 (B, 3, H, W).
        logits: scores (B, C, H, W).
        target: labels (B, H, W), 255 where there is none.
        log_depth: predicted log-depth (B, H, W), of levels.
        depth: true depth (B, H, W) in levels of [1, 256], 0 where it is missing.
    """

    image: Tensor
    logits: Tensor
    target: Tensor
    log_depth: Tensor
    depth: Tensor


def _blur(maps: Tensor, factor: int) -> Tensor:
    size = maps.shape[2:]
    coarse = F.avg_pool2d(maps, factor, ceil_mode=True)
    return F.interpolate(coarse, size, mode="bilinear", align_corners=False)


def imperfect_rooms(number: int = 1, *, seed: int = 3, blur: int = 8) -> Rooms:
    """Draw rooms, and predict their labels and depth with errors.

    Args:
        number: of rooms.
        seed: draws other rooms.
        blur: pixels over which labels and depth run into one another.
    """
    rooms = GeneratedRooms("test", number, world="a", seed=seed)
    frames = [to_tensors(rooms[index]) for index in range(number)]
    image, target, metres = (
        torch.stack([frame[part] for frame in frames])  # type: ignore[misc]
        for part in range(3)
    )
    colours = torch.stack([torch.from_numpy(denormalise(x)).permute(2, 0, 1) for x in image])
    depth = LF.rescale_depth(metres, *LIMITS)

    chance = torch.Generator().manual_seed(seed)
    labelled = target != VOID
    target = torch.where(labelled, target, 255)  # what most data sets use: 13 classes fit
    one_hot = F.one_hot(torch.where(labelled, target, 0), len(CLASSES)).movedim(-1, 1).float()
    confusion = 0.45 * torch.rand(len(CLASSES), len(CLASSES), generator=chance)
    mixed = torch.einsum("bchw,ck->bkhw", one_hot, confusion + torch.eye(len(CLASSES)))
    noise = torch.randn(mixed.shape, generator=chance)
    logits = 6 * _blur(mixed, blur) + 2.5 * _blur(noise, blur)

    known = (depth > 0).float()
    log_depth = torch.where(depth > 0, depth.clamp(min=1).log(), 0)
    both = _blur(torch.stack([log_depth, known], 1), blur)
    wave = _blur(torch.randn(number, 1, *depth.shape[1:], generator=chance), 4 * blur)[:, 0]
    return Rooms(colours, logits, target, both[:, 0] / both[:, 1].clamp(min=1e-3) + wave, depth)


def main() -> None:
    """Draw the pictures of the documentation's first page: image, R, Z and M of one room."""
    import argparse
    from pathlib import Path

    from matplotlib.figure import Figure

    import lwm_loss as lwm

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where idea.png and social_card.png are written")
    folder = parser.parse_args().folder
    image, logits, target, log_depth, depth = imperfect_rooms()
    maps = lwm.LossWeightModule(ignore_index=VOID).maps(logits, target, log_depth, depth)
    panels = (
        ("image", image[0].permute(1, 2, 0), 1.0),
        ("R: wrong depth", maps.dpe[0], 1.0),
        ("Z: wrong labels, by region", maps.dse[0], 1.0),
        ("M = R + Z: the loss weight", maps.weight[0], 1.4),
    )
    for name, shape, size in (("idea", (1, 4), (12.0, 2.6)), ("social_card", (2, 2), (12.0, 6.3))):
        figure = Figure(figsize=size, layout="constrained")
        for ax, (title, values, top) in zip(figure.subplots(*shape).flat, panels):
            drawn = ax.imshow(values, cmap="magma", vmin=0, vmax=top, interpolation="nearest")
            ax.set(title=title, xticks=[], yticks=[])
            if values.ndim == 2:
                figure.colorbar(drawn, ax=ax, shrink=0.8)
        if name == "social_card":
            figure.suptitle("lwm-loss: depth finds the pixels that a network finds hard", size=20)
        figure.savefig(folder / f"{name}.png", dpi=100)


if __name__ == "__main__":
    main()
