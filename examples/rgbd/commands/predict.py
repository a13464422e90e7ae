"""The command `predict`: labels and depth of colour images; depth only for a network that reads it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from examples.rgbd.data import DataError, normalise
from examples.rgbd.data.files.anything import IMAGE_ENDINGS, read_any_image
from examples.rgbd.data.files.atomic import write_atomically
from examples.rgbd.data.files.images import read_depth_png
from examples.rgbd.data.files.units import steps_per_metre, to_metres, to_sixteen_bits
from examples.rgbd.data.geometry import compute_geometry, to_planes
from examples.rgbd.data.intrinsics import Intrinsics
from examples.rgbd.evaluation.predicted_depth import (
    PredictedDepth,
    check_source,
    log_depth_in_metres,
)
from examples.rgbd.evaluation.scoring import View
from examples.rgbd.evaluation.scoring import predict as scores_of
from examples.rgbd.model import input_of
from examples.rgbd.networks import reads_depth, second_input
from examples.rgbd.networks.layers import upsample
from examples.rgbd.options.commands import PredictOptions
from examples.rgbd.options.groups import OptionError
from examples.rgbd.progress import progress_bar
from examples.rgbd.report.overlay import overlay
from examples.rgbd.run.accelerator import pick_device
from examples.rgbd.run.trained import Trained, check_runs_without_depth, load_trained

_SHOWN = 3  # names that are given as examples
_MILLIMETRE = 0.001
_LEVEL = 255  # steps of 16 bits to a level of relative depth


class Prediction:
    """What is predicted of one image, at its own size.

    Attributes:
        labels: (H, W), class numbers: uint8 with up to 256 classes, else uint16.
        depth: float32 (H, W): metres between near and far, levels from 1 to 256 where the depth was
            relative, or None without a depth branch.
    """

    def __init__(
        self,
        labels: NDArray[np.uint8] | NDArray[np.uint16],
        depth: NDArray[np.float32] | None,
    ) -> None:
        self.labels = labels
        self.depth = depth


@torch.no_grad()
def predict_image(
    trained: Trained,
    image: NDArray[np.uint8],
    device: torch.device | str = "cpu",
    *,
    flip: bool = False,
    metres: NDArray[np.float32] | None = None,
    intrinsics: tuple[float, float, float, float] | None = None,
    depth_of: Callable[[Tensor], Tensor] | None = None,
) -> Prediction:
    """Predict labels and depth of one image (H, W, 3), uint8 RGB.

    A network that reads depth needs ``metres`` (H, W), 0 where it is missing, and if it reads HHA the
    camera's ``intrinsics`` (fx, fy, cx, cy); or ``depth_of``, which tells depth from the image.
    """
    height, width = trained.config.data.image_size
    shown = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    tensor = normalise(np.asarray(shown))[None].to(device)
    beside = None
    if depth_of is not None:
        beside = depth_of(tensor)
    elif metres is not None:
        beside = _beside(trained, metres, intrinsics).to(device)
    output = scores_of(trained.network, tensor, View(flip=flip), beside)
    size = image.shape[:2]
    found = upsample(output.logits.float(), size).argmax(1)[0].cpu().numpy()
    labels = found.astype(np.uint8 if len(trained.classes) <= 256 else np.uint16)
    if output.log_depth is None:
        return Prediction(labels, None)
    predicted = log_depth_in_metres(
        upsample(output.log_depth[:, None].float(), size)[0, 0], trained.limits
    )
    return Prediction(labels, predicted.cpu().numpy())


def _beside(
    trained: Trained,
    metres: NDArray[np.float32],
    intrinsics: tuple[float, float, float, float] | None,
) -> Tensor:
    """What the network reads beside an image: see ``second_input``."""
    geometry: dict[str, Tensor] = {}
    for kind in trained.geometry:
        if intrinsics is None:
            raise ValueError("Expected intrinsics for a network that reads HHA, but got none.")
        height, width = metres.shape
        camera = Intrinsics(*intrinsics, height, width)
        geometry[kind] = to_planes(kind, compute_geometry(kind, metres, camera))[None]
    beside = second_input(trained.network, torch.from_numpy(metres)[None], geometry)
    if beside is None:
        raise OptionError(f"Expected no depth for {trained.path}, which reads images alone.")
    return beside


def list_images(path: Path) -> list[Path]:
    """The images of a folder, or the one that is named.

    Raises:
        DataError: there are none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"Expected a folder of images at {path}, but there is no such folder.")
    files = sorted(
        file for file in path.iterdir() if file.is_file() and not file.name.startswith(".")
    )
    found = [file for file in files if file.suffix.lower() in IMAGE_ENDINGS]
    if not found:
        below = next((each for each in sorted(path.iterdir()) if each.is_dir()), None)
        hint = "" if below is None else f": did you mean a folder in it, such as {below}?"
        raise DataError(
            f"Expected images ({', '.join(IMAGE_ENDINGS)}) in {path}, but found none{hint or '.'}"
        )
    others = [file.name for file in files if file.suffix.lower() not in IMAGE_ENDINGS]
    if others:
        more = " ..." if len(others) > _SHOWN else ""
        print(
            f"{len(others)} files that are no images left out: {', '.join(others[:_SHOWN])}{more}"
        )
    return found


def output_names(files: Sequence[Path]) -> list[str]:
    """What the predictions of each image are called, all different.

    The name without its ending; with it where another image would be called the same, on systems
    that do not tell `A` from `a` too.
    """
    stems = Counter(file.stem.lower() for file in files)
    whole = {file.name.lower() for file in files}

    def is_its_own(stem: str) -> bool:
        return stems[stem] == 1 and stem not in whole

    return [file.stem if is_its_own(file.stem.lower()) else file.name for file in files]


def predict(options: PredictOptions) -> None:
    """Write the predictions; images that cannot be read are named, and end in status 1."""
    trained = load_trained(options.checkpoint)
    _check_depth(options, trained)
    files = list_images(options.images)
    if options.output.resolve() == files[0].resolve().parent:
        raise OptionError(
            f"Expected --output to be another folder than that of the images, {options.output}, "
            "some of which might be overwritten."
        )
    device = pick_device(options.device)
    trained.network.to(device)
    source = None
    if options.depth_from is not None:
        source = load_trained(options.depth_from)
        check_source(source)  # before a file is written
        source.network.to(device)
    options.output.mkdir(parents=True, exist_ok=True)
    names = json.dumps(dict(enumerate(trained.classes)), indent=2)
    write_atomically(options.output / "classes.json", lambda file: file.write(names.encode()))
    refused = 0
    bar = progress_bar(files, "predicting", unit="image")
    for file, name in zip(bar, output_names(files)):
        try:
            image = read_any_image(file)
            metres = None
            if options.depth is not None:
                metres = _read_metres(options.depth / f"{file.stem}.png", image)
        except DataError as error:
            bar.write(f"error: {error}", file=sys.stderr)
            refused += 1
            continue
        depth_of = None
        if source is not None:
            camera = None
            if options.intrinsics is not None:
                camera = Intrinsics(*options.intrinsics, *image.shape[:2])
            depth_of = PredictedDepth(source, input_of(trained.config.network), camera)
        prediction = predict_image(
            trained, image, device, flip=options.flip, metres=metres,
            intrinsics=options.intrinsics, depth_of=depth_of,
        )  # fmt: skip
        for suffix, picture in _pictures(trained, image, prediction):
            path = options.output / f"{name}-{suffix}.png"
            write_atomically(path, partial(picture.save, format="PNG"))
    print(f"{len(files) - refused} images predicted, see {options.output}/")
    if trained.predicts_depth:
        steps, unit = _steps(trained)
        print(f"NAME-depth.png has {steps} steps to a {unit}")
    if refused:
        raise OptionError(
            f"Expected {len(files)} readable images, but {refused} could not be read."
        )


def _check_depth(options: PredictOptions, trained: Trained) -> None:
    if options.depth is not None and options.depth_from is not None:
        raise OptionError("Expected one of --depth and --depth-from, but got both.")
    given = options.depth or options.depth_from
    if given is not None and not reads_depth(trained.network):
        option = "--depth" if options.depth is not None else "--depth-from"
        raise OptionError(
            f"Expected no {option} for {trained.path}, whose network reads images alone, but got "
            f"{given}."
        )
    if given is None:
        check_runs_without_depth(trained, "--depth")
    if given is not None and trained.geometry and options.intrinsics is None:
        raise OptionError(
            f"Expected --intrinsics fx fy cx cy for {trained.path}, whose network reads HHA, but got "
            "none."
        )


def _read_metres(path: Path, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    metres = to_metres(read_depth_png(path), _MILLIMETRE, path)
    if metres.shape != image.shape[:2]:
        raise DataError(
            f"Expected depth of {image.shape[0]} x {image.shape[1]}, the size of its image, in "
            f"{path}, but got {metres.shape[0]} x {metres.shape[1]}."
        )
    return metres


def _steps(trained: Trained) -> tuple[int, str]:
    """Steps of the stored depth, and to what."""
    if trained.metric:
        return steps_per_metre(trained.limits[1]), "metre"
    return _LEVEL, "level of 1 to 256"


def _pictures(
    trained: Trained, image: NDArray[np.uint8], prediction: Prediction
) -> Iterator[tuple[str, Image.Image]]:
    labels = Image.fromarray(prediction.labels)
    if prediction.labels.dtype == np.uint8:  # a palette has no more than 256 colours
        labels.putpalette(trained.palette.tobytes())
    yield "labels", labels
    yield "overlay", overlay(image, prediction.labels, trained.classes, trained.palette)
    if prediction.depth is not None:
        steps, _ = _steps(trained)
        yield "depth", Image.fromarray(to_sixteen_bits(prediction.depth, steps))
