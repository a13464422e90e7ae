"""From a command line to a command. What a command needs is imported once its line is parsed."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence

from examples.rgbd.cli import guarded, parse
from examples.rgbd.options import commands
from examples.rgbd.options.backbones import with_default_backbone
from examples.rgbd.options.groups import TrainConfig
from examples.rgbd.pipeline import Pipeline


def _line(args: Sequence[str] | None) -> list[str]:
    return list(sys.argv[1:] if args is None else args)


def parse_train(pipeline: Pipeline, args: Sequence[str], default: TrainConfig) -> TrainConfig:
    """The options of a training run; `default` has those that are not said."""
    rooms = (
        " Without --data it trains a small network on generated rooms; with --data DIR the defaults"
        " are the paper's recipe, or those of --recipe (see them with --data DIR --help)."
        if pipeline.trial is not None
        else ""
    )
    return parse(
        TrainConfig,
        args,
        prog=f"python -m {pipeline.package}.train",
        description=f"Train on {pipeline.spec.title} with hard pixel mining.{rooms}",
        default=default,
    )


def _parse_new(pipeline: Pipeline, line: Sequence[str]) -> TrainConfig:
    """The options of a new run."""
    recipe = value_of(line, "--recipe")
    trial = pipeline.trial if value_of(line, "--data") is None else None
    if trial is not None and recipe is not None and not {"-h", "--help"} & set(line):
        print(
            f"error: Expected --recipe {recipe} with --data and the folder of "
            f"{pipeline.spec.title}, but got no --data: generated rooms have a recipe of their own.",
            file=sys.stderr,
        )
        raise SystemExit(1)
    default = trial or pipeline.options(recipe)
    network = value_of(line, "--network")
    if network is not None:
        chosen = with_default_backbone(default.network, network, small=trial is not None)
        default = dataclasses.replace(default, network=chosen)
    return parse_train(pipeline, line, default)


def value_of(args: Sequence[str], option: str) -> str | None:
    """The value of an option whose presence decides the defaults of the others."""
    for index, argument in enumerate(args):
        if argument == option and index + 1 < len(args):
            return args[index + 1]
        if argument.startswith(f"{option}="):
            return argument.split("=", 1)[1]
    return None


def train(pipeline: Pipeline, args: Sequence[str] | None = None) -> None:
    """Run the command ``train``; faults of options and data end in one sentence."""
    line = _line(args)
    config = None
    if value_of(line, "--resume") is None or {"-h", "--help"} & set(line):
        config = _parse_new(pipeline, line)

    def command() -> None:
        from examples.rgbd.commands.train import train

        train(pipeline, line, config)

    guarded(command)


def evaluate(pipeline: Pipeline, args: Sequence[str] | None = None) -> None:
    """Run the command ``evaluate``."""
    options = parse(
        commands.EvaluateOptions,
        _line(args),
        prog=f"python -m {pipeline.package}.evaluate",
        description="Score a trained network: at a single scale, and by option in other ways too.",
    )

    def command() -> None:
        from examples.rgbd.commands.evaluate import evaluate

        evaluate(pipeline, options)

    guarded(command)


def predict(pipeline: Pipeline, args: Sequence[str] | None = None) -> None:
    """Run the command ``predict``."""
    options = parse(
        commands.PredictOptions,
        _line(args),
        prog=f"python -m {pipeline.package}.predict",
        description="Predict labels and depth of plain colour images.",
    )

    def command() -> None:
        from examples.rgbd.commands.predict import predict

        predict(options)

    guarded(command)


def prepare(pipeline: Pipeline, args: Sequence[str] | None = None) -> None:
    """Run the command ``prepare``."""
    known = ", ".join(name for name in pipeline.spec.layouts if name != "plain")
    options = parse(
        commands.PrepareOptions,
        _line(args),
        prog=f"python -m {pipeline.package}.prepare",
        description="Write a data set as one plain folder. Started again, it goes on."
        + (f" Layouts: {known}." if known else ""),
    )

    def command() -> None:
        commands.check_workers(options.workers)
        from examples.rgbd.commands.prepare import prepare

        prepare(pipeline, options)

    guarded(command)


def verify(pipeline: Pipeline, args: Sequence[str] | None = None) -> None:
    """Run the command ``verify``; a problem ends in status 1."""
    known = ", ".join(pipeline.spec.layouts)
    options = parse(
        commands.VerifyOptions,
        _line(args),
        prog=f"python -m {pipeline.package}.verify",
        description="Read every frame of a data set and say what cannot be right."
        + (f" Layouts: {known}." if known else ""),
    )

    def command() -> None:
        commands.check_workers(options.workers)
        from examples.rgbd.commands.verify import verify

        verify(pipeline, options)

    guarded(command)


def init(args: Sequence[str] | None = None) -> None:
    """Run the command ``init``."""
    options = parse(
        commands.InitOptions,
        _line(args),
        prog="python -m examples.rgbd.init",
        description="Describe a folder of images, labels and depth in a dataset.json, and divide its "
        "frames into training and test lists. It tells what it found and what it guessed.",
    )

    def command() -> None:
        from examples.rgbd.commands.init import init

        init(options)

    guarded(command)


def export(args: Sequence[str] | None = None) -> None:
    """Run the command ``export``."""
    options = parse(
        commands.ExportOptions,
        _line(args),
        prog="python -m examples.rgbd.export",
        description="Write a trained network as ONNX or as a program of torch.export: RGB in, scores "
        "or labels out. The file is run and compared with the network before it is done.",
    )

    def command() -> None:
        from examples.rgbd.commands.export import export

        export(options)

    guarded(command)


def estimate_depth(args: Sequence[str] | None = None) -> None:
    """Run the command ``estimate_depth``."""
    options = parse(
        commands.EstimateDepthOptions,
        _line(args),
        prog="python -m examples.rgbd.estimate_depth",
        description="Estimate depth of colour images by a monocular model. Started again, it goes on.",
    )

    def command() -> None:
        from examples.rgbd.commands.estimate_depth import estimate_depth

        estimate_depth(options)

    guarded(command)
