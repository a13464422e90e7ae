"""The command `predict`: labels and depth of colour images; depth only for a network that reads it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from examples.rgbd.data import DataError, normalise
from examples.rgbd.data.files.anything import IMAGE_ENDINGS, read_any_image
from examples.rgbd.data.files.atomic import write_atomically
from examples.rgbd.data.files.images import read_depth_png
from examples.rgbd.data.files.units import to_metres
from examples.rgbd.evaluation.scoring import View, upsample
from examples.rgbd.evaluation.scoring import predict as scores_of
from examples.rgbd.networks import RDFNet, reads_depth
from examples.rgbd.options.commands import PredictOptions
from examples.rgbd.options.groups import OptionError
from examples.rgbd.progress import progress_bar
from examples.rgbd.run.accelerator import pick_device
from examples.rgbd.run.trained import Trained, load_trained

_BLEND = 0.55
_MILLIMETRES = 1000


class Prediction:
    """What is predicted of one image, at its own size.

    Attributes:
        labels: uint8 (H, W), class numbers.
        metres: float32 (H, W) between near and far, or None without a depth branch.
    """

    def __init__(self, labels: NDArray[np.uint8], metres: NDArray[np.float32] | None) -> None:
        self.labels = labels
        self.metres = metres


@torch.no_grad()
def predict_image(
    trained: Trained,
    image: NDArray[np.uint8],
    device: torch.device | str = "cpu",
    *,
    flip: bool = False,
    metres: NDArray[np.float32] | None = None,
) -> Prediction:
    """Predict labels and depth of one image (H, W, 3), uint8 RGB.

    A network that reads depth needs ``metres`` (H, W), 0 where it is missing.
    """
    height, width = trained.config.data.image_size
    shown = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    tensor = normalise(np.asarray(shown))[None].to(device)
    depth = None if metres is None else torch.from_numpy(metres)[None].to(device)
    output = scores_of(trained.network, tensor, View(flip=flip), depth)
    size = image.shape[:2]
    labels = upsample(output.logits.float(), size).argmax(1)[0].to(torch.uint8).cpu().numpy()
    if output.log_depth is None:
        return Prediction(labels, None)
    near, far = trained.limits
    levels = upsample(output.log_depth[:, None].float(), size)[0, 0].exp()
    predicted = near + (levels - 1) * ((far - near) / 255)
    return Prediction(labels, predicted.clamp(near, far).cpu().numpy())


def list_images(path: Path) -> list[Path]:
    """The images of a folder, or the one that is named.

    Raises:
        DataError: there are none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"Expected a folder of images at {path}, but there is no such folder.")
    found = sorted(
        file for file in path.iterdir() if file.suffix.lower() in IMAGE_ENDINGS and file.is_file()
    )
    if not found:
        raise DataError(
            f"Expected images (PNG, JPEG, BMP, WebP, TIFF ...) in {path}, but found none."
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
        prediction = predict_image(trained, image, device, flip=options.flip, metres=metres)
        for suffix, picture in _pictures(trained, image, prediction):
            path = options.output / f"{name}-{suffix}.png"
            write_atomically(path, partial(picture.save, format="PNG"))
    print(f"{len(files) - refused} images predicted, see {options.output}/")
    if refused:
        raise OptionError(
            f"Expected {len(files)} readable images, but {refused} could not be read."
        )


def _check_depth(options: PredictOptions, trained: Trained) -> None:
    network = trained.network
    if options.depth is not None and not reads_depth(network):
        raise OptionError(
            f"Expected no --depth for {trained.path}, whose network reads images alone, but got "
            f"{options.depth}."
        )
    # RDFNet runs without depth too: the form "P" of Table I.
    if options.depth is None and reads_depth(network) and not isinstance(network, RDFNet):
        raise OptionError(
            f"Expected --depth for {trained.path}, whose network {type(network).__name__} reads "
            "depth, but got none."
        )


def _read_metres(path: Path, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    metres = to_metres(read_depth_png(path), 1 / _MILLIMETRES, path)
    if metres.shape != image.shape[:2]:
        raise DataError(
            f"Expected depth of {image.shape[0]} x {image.shape[1]}, the size of its image, in "
            f"{path}, but got {metres.shape[0]} x {metres.shape[1]}."
        )
    return metres


def _pictures(
    trained: Trained, image: NDArray[np.uint8], prediction: Prediction
) -> Iterator[tuple[str, Image.Image]]:
    labels = Image.fromarray(prediction.labels, "P")
    labels.putpalette(trained.palette.tobytes())
    yield "labels", labels
    colours = trained.palette[prediction.labels].astype(np.float32)
    blend = _BLEND * colours + (1 - _BLEND) * image
    yield "overlay", Image.fromarray(blend.round().astype(np.uint8))
    if prediction.metres is not None:
        yield "depth", Image.fromarray((_MILLIMETRES * prediction.metres).round().astype(np.uint16))
