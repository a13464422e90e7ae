"""Add depth-mined hard pixels to the loss that you have: `python -m examples.wrap_existing_loss`.

Trains a small network on two generated rooms, prints in ten lines what the weights did, and draws
the maps (`wrap_existing_loss.png`; needs the extra `plot`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF

own_loss = nn.CrossEntropyLoss(ignore_index=255)
weighting = lwm.LossWeightModule(ignore_index=255)
hard_pixel_loss = lwm.HardPixelLoss(
    nn.CrossEntropyLoss(ignore_index=255, reduction="none"), weighting
)


def total_loss(logits: Tensor, target: Tensor, log_depth: Tensor, metres: Tensor) -> Tensor:
    """The loss that you have, plus L_d, plus L_h: Eq. 5 without side outputs, alpha = 1.

    Args:
        logits: scores (B, C, H, W).
        target: labels (B, H, W), 255 where there is none.
        log_depth: predicted log-depth (B, H, W), of depth in levels [1, 256].
        metres: true depth (B, H, W), 0 where it is missing.
    """
    depth = LF.rescale_depth(metres, near=0.5, far=10.0)
    total: Tensor = (
        own_loss(logits, target)
        + LF.log_depth_mse_loss(log_depth, depth)
        + hard_pixel_loss(logits, target, log_depth, depth)
    )
    return total


def weight_on_hardest(logits: Tensor, target: Tensor, weight: Tensor) -> float:
    """Share of ``weight`` that lies on the tenth of the labelled pixels with the largest loss."""
    loss = nn.functional.cross_entropy(logits, target, ignore_index=255, reduction="none")
    labelled = target != 255
    loss, weight = loss[labelled], weight[labelled]
    hardest = loss.topk(max(len(loss) // 10, 1)).indices
    return float(weight[hardest].sum() / weight.sum().clamp(min=1e-12))


def main(argv: Sequence[str] | None = None) -> None:
    """Train for a few steps, and compare the plain loss with the mined one before and after."""
    from examples.rgbd.data import VOID, GeneratedRooms, denormalise, to_tensors

    parser = argparse.ArgumentParser(description="Wrap an existing loss, and look at its weights.")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--picture", type=Path, default=Path("wrap_existing_loss.png"))
    options = parser.parse_args(argv)
    torch.manual_seed(0)

    rooms = GeneratedRooms("train", 2)
    classes = len(rooms.classes)
    image, target, metres = (
        torch.stack(x) for x in zip(*(to_tensors(rooms[i])[:3] for i in range(2)))
    )
    target = torch.where(target == VOID, 255, target)  # as the losses above expect
    network = nn.Sequential(
        nn.Conv2d(3, 32, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(32, 32, 5, padding=8, dilation=4),
        nn.ReLU(),
        nn.Conv2d(32, classes + 1, 1),  # one more channel, for depth
    )
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    depth = LF.rescale_depth(metres, near=0.5, far=10.0)

    def predict() -> tuple[Tensor, Tensor]:
        output = network(image)
        return output[:, :classes], output[:, classes]

    print(f"{len(image)} generated rooms, {classes} classes, {options.steps} steps of Adam")
    print("                                              before   after")
    rows = []
    for turn in range(2):
        with torch.no_grad():
            logits, log_depth = predict()
            maps = weighting.maps(logits, target, log_depth, depth)
            flat = torch.ones_like(maps.weight)
            labelled = target != 255
            rows.append(
                (
                    (
                        "wrong pixels, %",
                        100 * (logits.argmax(1) != target)[labelled].float().mean(),
                    ),
                    ("plain loss, L_s", own_loss(logits, target)),
                    ("mined loss, L_h", hard_pixel_loss(logits, target, log_depth, depth)),
                    ("mean weight M of a labelled pixel", maps.weight[labelled].mean()),
                    (
                        "weight on the hardest tenth, %: plain",
                        100 * weight_on_hardest(logits, target, flat),
                    ),
                    (
                        "weight on the hardest tenth, %: mined",
                        100 * weight_on_hardest(logits, target, maps.weight),
                    ),
                )
            )
        for _ in range(options.steps if turn == 0 else 0):
            optimiser.zero_grad()
            logits, log_depth = predict()
            total_loss(logits, target, log_depth, metres).backward()
            optimiser.step()
    for (name, before), (_, after) in zip(*rows):
        print(f"{name:44} {float(before):7.3f} {float(after):7.3f}")

    from lwm_loss.plotting import plot_weight_maps

    colours = torch.stack([torch.from_numpy(denormalise(x)).permute(2, 0, 1) for x in image])
    figure = plot_weight_maps(
        colours,
        target,
        logits,
        log_depth,
        depth,
        weighting,
        class_names=rooms.classes,
        palette=rooms.palette,
        metres=(0.5, 10.0),
    )
    figure.savefig(options.picture, dpi=80)
    print(f"weight maps of the first room after training: {options.picture}")


if __name__ == "__main__":
    main()
