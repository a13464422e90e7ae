"""How long is the first gradient from scratch, with and without zero-initialised residual branches?

``python -m benchmarks.first_gradient DATA`` prints, for the paper's network on ResNet-18 and ResNet-50
and for TRL, the norm of the gradient of L_s and of L_d before the first step, on four training frames
of NYUDv2. A step is cut to a norm of 1, so that of a long gradient little but its steepest way is left.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lwm_loss as lwm
import lwm_loss.functional as LF
from examples.rgbd.data import NYUDV2, VOID, resize, to_tensors
from examples.rgbd.data.loading import stack
from examples.rgbd.networks import build_network

_FRAMES = (0, 200, 400, 600)


def gradient_norms(network: nn.Module, losses: Sequence[Tensor]) -> list[tuple[float, float]]:
    """The norm of the gradient of each loss: over all parameters, and over the encoder's."""
    inside = {id(each) for each in network.encoder.parameters()}  # type: ignore[union-attr]
    norms = []
    for loss in losses:
        network.zero_grad()
        torch.autograd.backward(loss, retain_graph=True)
        squares = {
            id(each): float(each.grad.square().sum())
            for each in network.parameters()
            if each.grad is not None
        }
        encoder = sum(value for key, value in squares.items() if key in inside)
        norms.append((sum(squares.values()) ** 0.5, encoder**0.5))
    return norms


def main() -> None:
    """Parse the command line, and print a line for each network."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_gradient")
    parser.add_argument("data", type=Path, help="folder of NYUDv2")
    parser.add_argument("--size", type=int, nargs=2, default=(48, 64), help="height and width")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    frames = NYUDV2.open(options.data, "train")
    size = (options.size[0], options.size[1])
    batch = stack([to_tensors(resize(frames[index], size)) for index in _FRAMES])
    levels = LF.rescale_depth(batch.depth, *NYUDV2.depth_limits)
    print("network     encoder   zero_residual  L_s all (encoder)    L_d all (encoder)")
    for name, encoder in (
        ("refinenet", "resnet18"),
        ("refinenet", "resnet50"),
        ("trl", "resnet50"),
    ):
        for zero in (False, True):
            torch.manual_seed(options.seed)
            width: dict[str, Any] = {"width": 128} if name == "trl" else {}
            network = build_network(
                name, encoder, num_classes=40, zero_residual=zero, **width
            ).train()
            output = lwm.MultiTaskOutput.of(network(batch.image))
            label = F.cross_entropy(output.logits, batch.label, ignore_index=VOID)
            depth = LF.log_depth_mse_loss(output.log_depth, levels)  # type: ignore[arg-type]
            shown = [
                f"{whole:8.1f} ({part:8.1f})"
                for whole, part in gradient_norms(network, [label, depth])
            ]
            print(f"{name:<11} {encoder:<9} {zero!s:<14} {'  '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
