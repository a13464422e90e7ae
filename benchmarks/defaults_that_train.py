"""Do the defaults train? Every network with every objective, over the first steps on real frames.

``python -m benchmarks.defaults_that_train DATA ROWS.jsonl`` adds a line for each combination that the
file does not have yet, so it can be ended and gone on with, and prints the table of all. The page on the
pipelines shows what ``--summary`` writes, and links to what ``--csv`` does.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from examples.nyudv2.recipe import PIPELINE
from examples.rgbd.data import NYUDV2, resize
from examples.rgbd.networks.kinds import NETWORKS
from examples.rgbd.objectives import ARMS
from examples.rgbd.options.groups import NetworkName, TrainConfig
from examples.rgbd.run.first_steps import first_steps
from examples.study.runs import rows_as_csv, write_whole

STARTS = {"scratch": None, "pre-trained": "pypi"}
CONDITIONS = ("network", "encoder", "decoder", "frames", "precision", "steps")


def combinations(width: int | None) -> list[TrainConfig]:
    """Every network with every objective that it has outputs for, from scratch and pre-trained."""
    recipe = PIPELINE.recipe
    made = []
    for pretrained in STARTS.values():
        for objective in ARMS:
            for name, kind in NETWORKS.items():
                sides = "num_sides" in kind.options or not ARMS[objective].sides
                resnet = not kind.families or "resnet" in kind.families
                if not sides or (pretrained and kind.families):
                    continue
                scratch = "resnet18" if resnet else kind.backbone
                network = dataclasses.replace(
                    recipe.network, network=cast(NetworkName, name), pretrained=pretrained,
                    backbone="efficientnet_lite0" if pretrained else scratch,
                    width=width if "width" in kind.options else None,
                )  # fmt: skip
                arm = dataclasses.replace(recipe.objective, objective=objective)
                made.append(dataclasses.replace(recipe, network=network, objective=arm))
    return made


def key_of(config: TrainConfig, args: argparse.Namespace) -> list[Any]:
    """What tells one line from another."""
    network = config.network
    return [
        network.network, network.backbone, bool(network.pretrained), config.objective.objective,
        args.image_size, args.width, args.batch_size, args.steps, args.precision,
    ]  # fmt: skip


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--image-size", default="120x160")
    parser.add_argument("--width", type=int, help="of the decoders; the published one by default")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--precision", default="no", choices=["no", "bf16"])
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=[*NETWORKS])
    parser.add_argument("--objectives", nargs="*", default=list(ARMS), choices=[*ARMS])
    parser.add_argument("--starts", nargs="*", default=list(STARTS), choices=[*STARTS])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", type=Path, help="write the table of all lines here")
    parser.add_argument("--summary", type=Path, help="write one row for all objectives here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    height, width = (int(each) for each in args.image_size.split("x"))
    data = NYUDV2.open(args.data, "train")
    chosen = [index * len(data) // args.frames for index in range(args.frames)]
    frames = [resize(data[index], (height, width)) for index in chosen]
    lines = args.rows.read_text().splitlines() if args.rows.exists() else []
    done = [json.loads(line) for line in lines]
    for config in combinations(args.width):
        key = key_of(config, args)
        wanted = config.network.network in args.networks
        wanted = wanted and config.objective.objective in args.objectives
        wanted = wanted and config.network.pretrained in [STARTS[each] for each in args.starts]
        if not wanted or any(row["key"] == key for row in done):
            continue
        optimisation = dataclasses.replace(
            config.optimisation, batch_size=args.batch_size, mixed_precision=args.precision,
            channels_last=True,
        )  # fmt: skip
        config = dataclasses.replace(config, optimisation=optimisation)
        for state in (AcceleratorState, PartialState, GradientState):
            state._reset_state()
        rows, before, after = first_steps(
            config, frames, data.depth_limits, len(data.classes), args.steps
        )
        finite = all(math.isfinite(value) for row in rows for value in row.values())
        depth = [row["depth"] for row in rows]
        done.append(
            {"key": key, "before": before, "after": after, "finite": finite,
             "depth_first": depth[0], "depth_most": max(depth), "depth_last": depth[-1]}
        )  # fmt: skip
        with args.rows.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
    table = [shown(row) for row in sorted(done, key=_order)]
    for cells in table:
        print("  ".join(cells.values()))
    if args.csv:
        write_whole(args.csv, rows_as_csv(table))
    if args.summary:
        write_whole(args.summary, rows_as_csv(summary(table)))


def _order(row: dict[str, Any]) -> tuple[int, bool, int]:
    network, _, pretrained, objective, *_ = row["key"]
    return list(NETWORKS).index(network), pretrained, list(ARMS).index(objective)


def shown(row: dict[str, Any]) -> dict[str, str]:
    """A line of the table."""
    network, backbone, pretrained, objective, size, width, batch, steps, precision = row["key"]
    return {
        "network": network,
        "encoder": f"{backbone}{', pre-trained' if pretrained else ''}",
        "decoder": f"width {width}" if width else "as published",
        "objective": objective,
        "frames": f"{batch} of {size}",
        "precision": "float32" if precision == "no" else precision,
        "steps": str(steps),
        "finite": "yes" if row["finite"] else "no",
        "L_s": f"{row['before']:.2f} to {row['after']:.2f}",
        "L_d": f"{row['depth_first']:.2f} to {row['depth_last']:.2f}" if objective != "s" else "",
    }


def summary(table: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Make one row of all objectives that a network was trained by under the same conditions.

    Args:
        table: rows of ``shown``, or of the file that ``--csv`` wrote.
    """
    groups: dict[tuple[str, ...], list[Mapping[str, str]]] = {}
    for row in table:
        groups.setdefault(tuple(row[name] for name in CONDITIONS), []).append(row)
    return [
        {
            "network": network,
            "encoder": encoder,
            "run": f"{', '.join(conditions)}, {steps} steps",
            "objectives": ", ".join(row["objective"] for row in rows),
            "finite, L_s falls": _all_or_which(rows),
            "L_s": _ranges([row["L_s"] for row in rows]),
            "L_d": _ranges([row["L_d"] for row in rows if row["L_d"]]),
        }
        for (network, encoder, *conditions, steps), rows in groups.items()
    ]


def _all_or_which(rows: Sequence[Mapping[str, str]]) -> str:
    """Whether all were finite and their L_s fell, else the objectives of which this is not so."""
    faulty = []
    for row in rows:
        before, after = (float(each) for each in row["L_s"].split(" to "))
        if row["finite"] != "yes" or not after < before:
            faulty.append(row["objective"])
    return f"not with {', '.join(faulty)}" if faulty else "yes"


def _ranges(changes: Sequence[str]) -> str:
    """The range of the values before, and that of the values after."""
    ranges = []
    for values in zip(*(change.split(" to ") for change in changes)):
        ordered = sorted(values, key=lambda each: (math.isnan(float(each)), float(each)))
        ranges.append("-".join(dict.fromkeys([ordered[0], ordered[-1]])))
    return " to ".join(ranges)


if __name__ == "__main__":
    main()
