"""Why do the first steps of RefineNet diverge? Its activations, gradients and sharpness, measured.

``python -m benchmarks.diagnosis measure DATA ROWS.jsonl --width 256 --objective sd`` adds a line, and
``python -m benchmarks.diagnosis draw ROWS.jsonl PICTURE.png`` draws all lines.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor, nn

matplotlib.use("Agg")
import matplotlib.pyplot as plt

import lwm_loss as lwm
import lwm_loss.functional as LF
from examples.rgbd.data import NYUDV2, VOID, FrameTensors, resize, to_tensors
from examples.rgbd.data.loading import stack
from examples.rgbd.networks import BoundedLogDepth, build_network
from examples.rgbd.objectives import ARMS, build_objective
from examples.rgbd.options.groups import ObjectiveOptions

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 5e-4
LIMIT = 2 * (1 + MOMENTUM) / LEARNING_RATE
"""The curvature above which gradient descent with momentum cannot follow a quadratic."""
LEVELS = ("1/4", "1/8", "1/16", "1/32")


def _norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float(each.detach().square().sum()) for each in tensors))


def sharpness(
    parameters: list[nn.Parameter], gradient: Callable[[], list[Tensor]], turns: int = 5
) -> float:
    """The largest curvature of the loss: power iteration on differences of the gradient.

    Args:
        parameters: where the loss depends on; left as they were.
        gradient: at the present parameters, on the same batch each time.
        turns: of the iteration, which begins at the gradient itself.
    """
    kept = [each.detach().clone() for each in parameters]
    here = gradient()
    step, direction, curvature = 1e-4 * _norm(kept), here, 0.0
    for _ in range(turns):
        length = _norm(direction)
        direction = [each / length for each in direction]
        with torch.no_grad():
            for parameter, old, way in zip(parameters, kept, direction, strict=True):
                parameter.copy_(old + step * way)
        product = [(a - b) / step for a, b in zip(gradient(), here, strict=True)]
        pairs = zip(product, direction, strict=True)
        # No quotient of a symmetric matrix is above its largest eigenvalue: the best is the largest.
        curvature = max(curvature, sum(float((a * b).sum()) for a, b in pairs))
        direction = product
    with torch.no_grad():
        for parameter, old in zip(parameters, kept, strict=True):
            parameter.copy_(old)
    return curvature


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Take some steps by the paper's optimiser on real frames; what was measured at each."""
    torch.manual_seed(0)
    arm = ARMS[args.objective]
    network = build_network(
        "refinenet", args.backbone, num_classes=40, width=args.width,
        initialisation=args.initialisation, sum_features=args.sum_features,
        predict_depth=arm.depth, num_sides=4 if arm.sides else 0,
    )  # fmt: skip
    objective, curriculum = build_objective(ObjectiveOptions(objective=args.objective), 1)
    data = NYUDV2.open(args.data, "train")
    height, width = (int(each) for each in args.image_size.split("x"))
    if args.start is not None:
        for module in network.modules():
            if isinstance(module, BoundedLogDepth):
                module.start_at(args.start)

    def batch(step: int) -> FrameTensors:
        chosen = [7919 * (step * args.batch_size + each) % 795 for each in range(args.batch_size)]
        made = stack([to_tensors(resize(data[at], (height, width))) for at in chosen])
        return made._replace(depth=LF.rescale_depth(made.depth, *data.depth_limits))

    activations: dict[str, list[float]] = {}

    def watch(name: str, module: nn.Module) -> None:
        def look(_: nn.Module, __: Any, output: Any) -> None:
            maps = output if isinstance(output, (tuple, list)) else [output]
            activations[name] = [float(each.detach().square().mean().sqrt()) for each in maps]

        module.register_forward_hook(look)

    for name in (
        "encoder",
        "segmentation_decoder",
        "segmentation_head",
        "depth_decoder",
        "depth_head",
    ):
        if hasattr(network, name):
            watch(name, getattr(network, name))
    parameters = [each for each in network.parameters() if each.requires_grad]

    def backward(part: FrameTensors) -> lwm.LossTerms:
        network.zero_grad()
        output = network(part.image)
        terms: lwm.LossTerms = objective(
            output.logits, part.label, output.log_depth, part.depth, output.side_logits,
            normalizer=(part.label != VOID).sum(), depth_normalizer=(part.depth > 0).sum(),
        )  # fmt: skip
        if curriculum is not None:
            curriculum.pop_kept()
        terms.total.backward()
        return terms

    def gradient() -> list[Tensor]:
        backward(first)
        return [each.grad.clone() for each in parameters if each.grad is not None]

    network.train()
    first = batch(0)
    curvature = sharpness(parameters, gradient) if args.sharpness else None
    optimizer = torch.optim.SGD(
        parameters, LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    steps = []
    for index in range(args.steps):
        terms = backward(batch(index))
        groups: dict[str, list[Tensor]] = {}
        for name, parameter in network.named_parameters():
            parts = name.split(".")
            deep = "decoder" in parts[0] or parts[1:2] == ["stages"]
            if parameter.grad is not None:
                groups.setdefault(".".join(parts[:3] if deep else parts[:1]), []).append(
                    parameter.grad
                )
        steps.append(
            {"s": float(terms.segmentation), "d": float(terms.depth),
             "activations": dict(activations),
             "gradients": {name: _norm(each) for name, each in groups.items()}}
        )  # fmt: skip
        if args.clip_norm:
            torch.nn.utils.clip_grad_norm_(parameters, args.clip_norm)
        optimizer.step()
    chosen = {key: str(value) for key, value in vars(args).items() if key not in ("data", "rows")}
    return {"label": args.label, "options": chosen, "sharpness": curvature, "steps": steps}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw L_d over the steps, sharpness, and gradient and activation by level at the start."""
    figure, ((losses, sharp), (norms, maps)) = plt.subplots(2, 2, figsize=(11, 7.5))
    measured = [row for row in rows if row["sharpness"] is not None]
    for index, row in enumerate(rows):
        colour = f"C{index}"
        steps = row["steps"]
        if steps[0]["d"]:
            losses.plot(range(1, len(steps) + 1), [each["d"] for each in steps], "o-",
                        color=colour, label=row["label"])  # fmt: skip
        gradients, acts = steps[0]["gradients"], steps[0]["activations"]
        branch = "depth_decoder" if "depth_decoder" in acts else "segmentation_decoder"
        norms.plot(LEVELS, [gradients[f"{branch}.blocks.{level}"] for level in range(4)], "o-",
                   color=colour, label=row["label"])  # fmt: skip
        maps.plot(LEVELS, acts[branch], "o-", color=colour, label=row["label"])
        if row in measured:
            place = measured.index(row)
            sharp.barh(place, row["sharpness"], color=colour)
            sharp.text(row["sharpness"], place, f" {row['sharpness']:,.0f}", va="center")
    losses.set(xlabel="step", ylabel="L_d (squared log-depth)", yscale="log", title="Depth loss")
    sharp.axvline(LIMIT, color="black", linestyle="--")
    sharp.text(LIMIT, len(measured) - 0.45, f" SGD's limit {LIMIT:,.0f}", va="bottom")
    sharp.set(yticks=range(len(measured)), xlabel="largest curvature of the loss",
              title="Sharpness before the first step")  # fmt: skip
    sharp.set_yticklabels([row["label"] for row in measured])
    sharp.set_xscale("log")
    sharp.set_xlim(1000, 4 * max(row["sharpness"] for row in measured))
    sharp.set_ylim(-0.6, len(measured) + 0.1)
    title = "by block, first step"
    norms.set(xlabel="level of the block", ylabel="norm of the gradient", yscale="log",
              title=f"Gradient {title}")  # fmt: skip
    maps.set(xlabel="level of the block", ylabel="root mean square", title=f"Activation {title}")
    handles, labels = norms.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3)
    figure.tight_layout(rect=(0, 0.03 * math.ceil(len(rows) / 3) + 0.01, 1, 1))
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure")
    one.add_argument("data", type=Path)
    one.add_argument("rows", type=Path)
    one.add_argument("--label", required=True, help="in the picture")
    one.add_argument("--backbone", default="resnet18")
    one.add_argument("--width", type=int, default=256)
    one.add_argument("--objective", default="sd", choices=list(ARMS))
    one.add_argument("--initialisation", default="normal", choices=["normal", "scaled"])
    one.add_argument("--sum-features", default="onward", choices=["onward", "output"])
    one.add_argument("--image-size", default="96x128")
    one.add_argument("--batch-size", type=int, default=2)
    one.add_argument("--steps", type=int, default=8)
    one.add_argument("--clip-norm", type=float, default=0.0)
    one.add_argument("--start", type=float, help="log-depth of a raw 0; log 128.5 by default")
    one.add_argument("--sharpness", action=argparse.BooleanOptionalAction, default=True)
    other = commands.add_parser("draw")
    other.add_argument("rows", type=Path)
    other.add_argument("picture", type=Path)
    args = parser.parse_args()
    if args.command == "measure":
        row = measure(args)
        with args.rows.open("a") as file:
            file.write(json.dumps(row) + "\n")
    else:
        draw([json.loads(line) for line in args.rows.read_text().splitlines()], args.picture)


if __name__ == "__main__":
    main()
