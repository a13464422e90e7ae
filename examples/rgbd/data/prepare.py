"""Turn a data set in any layout into one plain folder; see `plain` for its form."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from examples.rgbd.data.dataset import SourceDataset, Split
from examples.rgbd.data.files.atomic import PARTS, write_atomically
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.inspect.pool import for_each_frame
from examples.rgbd.data.plain import MANIFEST, frame_files

_FOLDERS = ("image", "label", "depth")


def encode_png(array: np.ndarray) -> bytes:
    """A PNG of uint8 (H, W, 3), uint8 (H, W) or uint16 (H, W)."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def write_frame(destination: Path, dataset: SourceDataset, index: int) -> bool:
    """Write one frame, unless it is there already.

    A JPEG is copied as it is: to decode and store it again would only make it larger.

    Returns:
        Whether the frame was written.

    Raises:
        DataError: if the frame cannot be read or written.
    """
    name = dataset.names[index]
    # Each file is whole or absent, so that looking for it is enough.
    if all(path.exists() for path in frame_files(destination, name)):
        return False
    sample = dataset[index]
    source = dataset.files(index).image
    image = destination / "image" / name
    if source.suffix.lower() in (".jpg", ".jpeg"):
        write_atomically(image.with_suffix(".jpg"), source.read_bytes())
    else:
        write_atomically(image.with_suffix(".png"), encode_png(sample.image))
    millimetres = np.rint(sample.depth * 1000).astype(np.uint16)
    write_atomically(destination / "label" / f"{name}.png", encode_png(sample.label))
    write_atomically(destination / "depth" / f"{name}.png", encode_png(millimetres))
    return True


def prepare(
    splits: Mapping[Split, SourceDataset],
    destination: Path,
    workers: int = 4,
) -> dict[Split, int]:
    """Write all frames into a plain folder. Started again, it goes on where it stopped.

    Args:
        splits: "train" and "test".
        destination: the folder to write; it is made if need be.
        workers: processes; 0 works in this one.

    Returns:
        How many frames each split has written this time.

    Raises:
        DataError: if a frame cannot be read or written, both splits have a frame of one name, or
            the folder was begun from another source; what was written until then stays and is not
            written again.
    """
    _check_names(splits)
    _begin(splits, destination)
    written: dict[Split, int] = {}
    for split, frames in splits.items():
        done = for_each_frame(partial(write_frame, destination), frames, workers, split)
        written[split] = sum(done)
    for folder in ("", *_FOLDERS):
        for part in (destination / folder).glob(PARTS):  # of a run that was killed
            part.unlink()
    for split, frames in splits.items():
        content = "".join(f"{name}\n" for name in frames.names).encode()
        path = destination / f"{split}.txt"
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content)
    return written


def _check_names(splits: Mapping[Split, SourceDataset]) -> None:
    """See that no frame would be taken for another one that is there already."""
    seen: dict[str, Split] = {}
    for split, frames in splits.items():
        for index, name in enumerate(frames.names):
            if seen.setdefault(name, split) != split:
                raise DataError(
                    f"Expected frames of different names in {seen[name]} and {split}, but "
                    f"{frames.files(index).image} is number {name} of both: is a frame in both "
                    "lists, or does each split count from the start?"
                )


def _begin(splits: Mapping[Split, SourceDataset], destination: Path) -> None:
    """Make the folders and the description, or see that the one that is there is the same."""
    first = next(iter(splits.values()))
    if any(frames.layout == "plain" for frames in splits.values()):
        raise DataError("Expected a source in its original layout, but it is a prepared folder.")
    description = {
        "dataset": first.key,
        "depth": first.depth,
        "classes": list(first.classes),
        "source_layout": first.layout,
    }
    content = json.dumps(description, indent=1).encode()
    path = destination / MANIFEST
    try:
        destination.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if path.read_bytes() != content:
                raise DataError(
                    f"Expected an empty folder or one begun from the same source in {destination}, "
                    f"but {path} tells of another one: choose another folder."
                )
        elif any(not found.match(f".{MANIFEST}{PARTS[1:]}") for found in destination.iterdir()):
            raise DataError(
                f"Expected an empty folder or one that prepare began in {destination}, but it has "
                "other content: choose another folder."
            )
        else:  # before anything else, so that a run that is killed here can be taken up
            write_atomically(path, content)
        for folder in _FOLDERS:
            (destination / folder).mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(
            f"Expected to make the folder {destination}, but that failed: {error.strerror}."
        ) from None
