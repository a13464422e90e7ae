"""The command `estimate_depth`: depth of colour images by a monocular model, so that they can be mined.

A relative model gives numbers up to a scale and an offset that differ from image to image. What is
stored is their place between the least and the greatest of the image, rising with the distance: as
levels it is all that mining needs. See the page "No depth sensor?".
"""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from examples.rgbd.data.described import DescribedFrames
from examples.rgbd.data.description import MANIFEST, DepthFormat, parse_description, read_json
from examples.rgbd.data.files.anything import read_any_image
from examples.rgbd.data.files.atomic import write_bytes
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.pairing import find
from examples.rgbd.data.plain import is_prepared
from examples.rgbd.data.prepare import encode_png
from examples.rgbd.data.spec import Split
from examples.rgbd.options.commands import EstimateDepthOptions
from examples.rgbd.options.groups import OptionError
from examples.rgbd.progress import progress_bar
from examples.rgbd.reason import reason_of
from examples.rgbd.run.accelerator import pick_device

_SPLITS: tuple[Split, ...] = ("train", "test")
_RECORD = "model.json"
_MOST = 65535


def estimate_depth(options: EstimateDepthOptions) -> None:
    """Write a depth map for each image that has none yet, then name them in the lists."""
    root = options.folder.expanduser()
    described = (root / MANIFEST).exists() and options.images is None
    rows = _listed(root, options) if described else {}
    if described:
        images = [row[0] for split in rows.values() for row in split]
    else:
        if options.images is None:
            raise OptionError(
                f"Expected {root / MANIFEST}, or --images with a pattern such as 'rgb/*.png', but "
                "got neither."
            )
        images = find(root, options.images, "images")
    folder = root / options.output
    target = {image: f"{options.output}/{Path(image).with_suffix('.png')}" for image in images}
    if len(set(target.values())) < len(target):
        target = {image: f"{options.output}/{image}.png" for image in images}
    _check_record(folder, options)
    missing = [image for image in images if not (root / target[image]).exists()]
    if missing:
        model = _load(options)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / _RECORD, _record(options))
        for image in progress_bar(missing, "estimating depth", unit="image"):
            pixels = read_any_image(root / image)
            path = root / target[image]
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, encode_png(_stored(_predict(model, pixels), options.predicts)))
    print(
        f"{len(missing)} depth maps written to {folder}, {len(images) - len(missing)} there before"
    )
    if described:
        _name_in_lists(root, rows, target, options)
    else:
        relative = "" if options.predicts == "metres" else " --relative"
        print(
            f"next     python -m examples.rgbd.init {shlex.quote(str(root))} --images "
            f"{options.images!r} --labels "
            f"PATTERN --depth '{options.output}/**/*.png'{relative}"
        )


def _listed(root: Path, options: EstimateDepthOptions) -> dict[Split, list[tuple[str, str]]]:
    """Image and label of each frame of each split, as the lists name them.

    Raises:
        DataError: they name depth already that is not this command's.
    """
    content = read_json(root / MANIFEST)
    if is_prepared(content):
        raise DataError(
            f"Expected a folder without measured depth, but {root} is a prepared copy of "
            f"{content['dataset']}, which has it."
        )
    description = parse_description(content, root / MANIFEST)
    rows: dict[Split, list[tuple[str, str]]] = {}
    for split in _SPLITS:
        if split in description.splits:
            frames = DescribedFrames(root, split, description)
            files = [frames.files(index) for index in range(len(frames))]
            _check_replaced([each.depth for each in files], root, options)
            rows[split] = [
                (each.image.relative_to(root).as_posix(), each.label.relative_to(root).as_posix())
                for each in files
            ]
    return rows


def _check_replaced(depths: list[Path | None], root: Path, options: EstimateDepthOptions) -> None:
    """See that the lists do not lose the depth that they name."""
    own = root / options.output
    measured = [path for path in depths if path is not None and own not in path.parents]
    if measured and not options.replace:
        raise OptionError(
            f"Expected lists without depth, but those of {root} name {len(measured)} depth maps, "
            f"such as {measured[0]}: did you mean --replace, by which they name the estimated depth?"
        )


def _record(options: EstimateDepthOptions) -> bytes:
    return json.dumps({"model": options.model, "predicts": options.predicts}, indent=1).encode()


def _check_record(folder: Path, options: EstimateDepthOptions) -> None:
    """See that depth of two models is not mixed in one folder."""
    path = folder / _RECORD
    if not folder.exists():
        return
    found = path.read_bytes() if path.exists() else None
    if found != _record(options):
        raise DataError(
            f"Expected --output to be a new folder or one begun with {options.model}, but {folder} "
            f"{'tells of another model' if found else 'has other content'}: choose another."
        )


def _load(options: EstimateDepthOptions) -> Any:
    from transformers import pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return pipeline("depth-estimation", model=options.model, device=pick_device(options.device))
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = reason_of(error)
        raise DataError(
            f"Expected a depth-estimation model at {options.model}, a name on the Hugging Face hub "
            f"or a folder with its weights and image processor, but it cannot be loaded ({reason})."
        ) from None


@torch.no_grad()
def _predict(model: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the model gives for an image, at the image's size."""
    result = model(Image.fromarray(pixels))["predicted_depth"]
    depth = torch.as_tensor(result).float().cpu()
    depth = depth.reshape(1, 1, *depth.shape[-2:])
    if depth.shape[-2:] != pixels.shape[:2]:
        depth = torch.nn.functional.interpolate(
            depth, pixels.shape[:2], mode="bilinear", align_corners=False
        )
    found: NDArray[np.float32] = depth[0, 0].numpy()
    return found


def _stored(depth: NDArray[np.float32], predicts: str) -> NDArray[np.uint16]:
    """Millimetres, or the place between an image's least and greatest as 1 .. 65535; 0 missing."""
    known = np.isfinite(depth)
    if predicts == "metres":
        millimetres = np.clip(np.rint(np.where(known, depth, 0) * 1000.0), 0, _MOST - 1)
        return millimetres.astype(np.uint16)
    if not known.any():
        return np.zeros(depth.shape, np.uint16)
    low, high = float(depth[known].min()), float(depth[known].max())
    place = (np.where(known, depth, low) - low) / (high - low) if high > low else 0 * depth
    if predicts == "inverse":
        place = 1 - place
    return np.where(known, 1 + np.rint(place * (_MOST - 2)), 0).astype(np.uint16)


def _name_in_lists(
    root: Path,
    rows: dict[Split, list[tuple[str, str]]],
    target: dict[str, str],
    options: EstimateDepthOptions,
) -> None:
    """Name the depth in the lists, and say in the description what it is."""
    path = root / MANIFEST
    description = parse_description(read_json(path), path)
    depth = (
        DepthFormat()
        if options.predicts == "metres"
        else DepthFormat(per_metre=1.0, kind="relative")
    )
    for split, frames in rows.items():
        lines = "".join(f"{image}\t{label}\t{target[image]}\n" for image, label in frames)
        write_bytes(root / description.splits[split], lines.encode())
    write_bytes(path, dataclasses.replace(description, depth=depth).as_json().encode())
    print(f"{path} and its lists name the depth now, as {depth.kind}")
