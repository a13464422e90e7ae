"""Turn a data set in any layout into one plain folder; see `plain` for its form."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from examples.rgbd.data.dataset import FrameSource
from examples.rgbd.data.description import MANIFEST, DepthFormat, Description, LabelFormat
from examples.rgbd.data.files.atomic import PARTS, write_bytes
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.units import steps_per_metre, to_sixteen_bits
from examples.rgbd.data.geometry import GeometryKind, compute_geometry, geometry_files
from examples.rgbd.data.inspect.pool import for_each_frame
from examples.rgbd.data.plain import frame_files
from examples.rgbd.data.spec import Split

_FOLDERS = ("image", "label", "depth")
_LEVEL = 65534 / 256  # steps of 16 bits to a level of relative depth


def encode_png(array: np.ndarray) -> bytes:
    """A PNG of uint8 (H, W, 3), uint8 (H, W) or uint16 (H, W)."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def _steps(frames: FrameSource) -> float:
    """Steps of 16 bits to a metre, or to a level of relative depth."""
    if not frames.metric:
        return _LEVEL
    # What other layouts hold is indoors, and millimetres is what their readers expect.
    return steps_per_metre(frames.depth_limits[1]) if frames.layout == "described" else 1000


def _is_copy_of(target: Path | None, source: Path | None) -> bool:
    """Whether a written file is there and as old as what it was made from."""
    try:
        return (
            target is None
            or source is None
            or target.stat().st_mtime_ns == source.stat().st_mtime_ns
        )
    except OSError:
        return False


def _store(target: Path, content: bytes, source: Path) -> None:
    """Write a file and give it the age of what it was made from, by which a change is seen."""
    target.parent.mkdir(parents=True, exist_ok=True)
    age = source.stat()
    write_bytes(target, content, times=(age.st_atime_ns, age.st_mtime_ns))


def write_frame(
    destination: Path,
    dataset: FrameSource,
    index: int,
    geometry: tuple[GeometryKind, ...] = (),
) -> bool:
    """Write one frame, unless it is there already and its source has not changed since.

    A JPEG is copied as it is: to decode and store it again would only make it larger.

    Returns:
        Whether the frame was written.

    Raises:
        DataError: if the frame cannot be read or written.
    """
    name = dataset.names[index]
    source = dataset.files(index)
    # Each file is whole or absent, so that looking at it is enough.
    written = frame_files(destination, name)
    if source.depth is None:
        geometry = ()
    places = geometry_files(destination, written.image)
    maps = {kind: places[kind] for kind in geometry}
    if all(map(_is_copy_of, written, source)) and all(
        _is_copy_of(path, source.depth) for path in maps.values()
    ):
        return False
    sample = dataset[index]
    try:
        jpeg = source.image.suffix.lower() in (".jpg", ".jpeg")
        content = source.image.read_bytes() if jpeg else encode_png(sample.image)
        image, other = (destination / "image" / f"{name}{end}" for end in (".jpg", ".png"))
        image, other = (image, other) if jpeg else (other, image)
        _store(image, content, source.image)
        other.unlink(missing_ok=True)  # of a source that had the image in another format
        _store(written.label, encode_png(sample.label), source.label)
        if source.depth is not None and written.depth is not None:
            stored = to_sixteen_bits(sample.depth, _steps(dataset))
            _store(written.depth, encode_png(stored), source.depth)
            for kind, path in maps.items():
                made = _geometry_of(dataset, index, kind, sample.depth)
                _store(path, encode_png(made), source.depth)
    except OSError as error:
        raise DataError(
            f"Expected to copy {source.image} to {destination}, but that failed: {error}."
        ) from None
    return True


def _geometry_of(
    frames: FrameSource, index: int, kind: GeometryKind, depth: NDArray[np.float32]
) -> NDArray[np.uint8]:
    camera = frames.camera(index)
    if camera is None:
        raise DataError(
            f"Expected the camera's intrinsics for --{kind}, but {MANIFEST} has none: add "
            '"intrinsics": {"fx": ..., "fy": ..., "cx": ..., "cy": ..., "height": ..., "width": ...}.'
        )
    try:
        return compute_geometry(kind, depth, camera)
    except DataError as error:
        raise DataError(f"{str(error)[:-1]} (frame {frames.names[index]}).") from None


def prepare(
    splits: Mapping[Split, FrameSource],
    destination: Path,
    workers: int = 4,
    source: Path | None = None,
    geometry: tuple[GeometryKind, ...] = (),
) -> dict[Split, int]:
    """Write all frames into a plain folder. Started again, it goes on where it stopped.

    A frame whose files have changed since is written again.

    Args:
        splits: "train" and "test".
        destination: the folder to write; it is made if need be.
        workers: processes; 0 works in this one.
        source: where the frames come from, remembered so that no other source is mixed in.
        geometry: maps to compute of each frame's depth, see `geometry`.

    Returns:
        How many frames each split has written this time.

    Raises:
        DataError: if a frame cannot be read or written, both splits have a frame of one name, or
            the folder was begun from another source; what was written until then stays and is not
            written again.
    """
    _check_names(splits)
    _check_geometry(splits, geometry)
    _begin(splits, destination, source)
    written: dict[Split, int] = {}
    for split, frames in splits.items():
        write = partial(write_frame, destination, geometry=geometry)
        done = for_each_frame(write, frames, workers, split)
        written[split] = sum(done)
    for part in destination.rglob(PARTS):  # of a run that was killed
        part.unlink()
    for split, frames in splits.items():
        content = "".join(f"{_line(destination, frames, index)}\n" for index in range(len(frames)))
        path = destination / f"{split}.txt"
        if not path.exists() or path.read_bytes() != content.encode():
            write_bytes(path, content.encode())
    return written


def _check_geometry(
    splits: Mapping[Split, FrameSource], geometry: tuple[GeometryKind, ...]
) -> None:
    """See that maps can be computed, before anything is written."""
    for frames in splits.values() if geometry else ():
        if not frames.metric:
            raise DataError(
                f"Expected depth in metres for --{geometry[0]}, but that of the {frames.split} frames "
                "is relative."
            )
        if frames.files(0).depth is not None:
            _geometry_of(frames, 0, geometry[0], frames[0].depth)


def _line(destination: Path, frames: FrameSource, index: int) -> str:
    """A frame's line in the list of its split: its name, or its files in a described folder."""
    if frames.layout != "described":
        return frames.names[index]
    files = frame_files(destination, frames.names[index])
    wanted = files if frames.files(index).depth is not None else files[:2]
    return "\t".join(str(p.relative_to(destination).as_posix()) for p in wanted if p is not None)


def _check_names(splits: Mapping[Split, FrameSource]) -> None:
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


def _manifest(first: FrameSource, source: Path | None) -> dict[str, Any]:
    """The content of ``dataset.json``."""
    origin = {} if source is None else {"source": str(source.expanduser().resolve())}
    if first.layout != "described":
        return {
            "dataset": first.spec.name,
            "depth": first.depth,
            "classes": list(first.classes),
            "source_layout": first.layout,
            **origin,
        }
    spec = first.spec
    depth = (
        DepthFormat(per_metre=_steps(first))
        if spec.metric
        else DepthFormat(per_metre=1.0, missing=(0,), kind="relative")
    )
    description = Description(
        name=spec.name,
        classes=spec.classes,
        near=spec.depth_limits[0],
        far=spec.depth_limits[1],
        label=LabelFormat(0, (255 if len(spec.classes) <= 255 else 65535,)),
        depth=depth,
        palette=spec.colours,
        intrinsics=spec.camera,
    )
    content: dict[str, Any] = json.loads(description.as_json())
    return content | origin


def _begin(splits: Mapping[Split, FrameSource], destination: Path, source: Path | None) -> None:
    """Make the folders and the description, or see that the one that is there is the same."""
    first = next(iter(splits.values()))
    if any(frames.layout == "plain" for frames in splits.values()):
        raise DataError("Expected a source in its original layout, but it is a prepared folder.")
    wanted = _manifest(first, source)
    content = json.dumps(wanted, indent=1).encode()
    path = destination / MANIFEST
    try:
        destination.mkdir(parents=True, exist_ok=True)
        if path.exists():
            _check_same(path, wanted)
            if path.read_bytes() != content:
                write_bytes(path, content)
        elif any(not found.match(f".{MANIFEST}{PARTS[1:]}") for found in destination.iterdir()):
            raise DataError(
                f"Expected an empty folder or one that prepare began in {destination}, but it has "
                "other content: choose another folder."
            )
        else:  # before anything else, so that a run that is killed here can be taken up
            write_bytes(path, content)
        for folder in _FOLDERS:
            (destination / folder).mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(
            f"Expected to make the folder {destination}, but that failed: {error.strerror}."
        ) from None


def _check_same(path: Path, wanted: dict[str, Any]) -> None:
    """See that a description tells of the same source. Old ones do not name it."""
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = {}
    begun = found.get("source") if isinstance(found, dict) else None
    if begun is not None and "source" in wanted and begun != wanted["source"]:
        raise DataError(
            f"Expected an empty folder or one begun from {wanted['source']} in {path.parent}, but "
            f"it was begun from {begun}: choose another folder."
        )
    if not isinstance(found, dict) or {k: v for k, v in found.items() if k != "source"} != {
        k: v for k, v in wanted.items() if k != "source"
    }:
        raise DataError(
            f"Expected an empty folder or one begun from the same source in {path.parent}, "
            f"but {path} tells of another one: choose another folder."
        )
