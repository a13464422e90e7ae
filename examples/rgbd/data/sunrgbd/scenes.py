"""SUN RGB-D's scene folders: finding them through crooked lists, and reading what lies in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.files.images import read_depth_png
from examples.rgbd.data.files.matlab import load_mat
from examples.rgbd.data.files.units import MILLIMETRE, to_metres
from examples.rgbd.data.intrinsics import Intrinsics
from examples.rgbd.data.spec import DepthKind, Split

ARCHIVE = "SUNRGBD"
FARTHEST = 8
"""Metres; the toolbox cuts all depth there."""


def below_archive(path: str) -> str:
    r"""The part of a listed path below the folder SUNRGBD, with single forward slashes.

    The lists were written on other machines: ``/n/fs/sun3d/data/SUNRGBD/kv1/NYUdata/NYU0001/``,
    ``../SUN/SUNRGBD/kv2/...-resize\\depth_bfx/0000103.png``, ``kv1//NYUdata/NYU0001//image/...``.
    """
    parts = [part for part in path.strip().replace("\\", "/").split("/") if part not in ("", ".")]
    if ARCHIVE in parts:
        parts = parts[parts.index(ARCHIVE) + 1 :]
    return "/".join(parts)


def archive_folder(root: Path) -> Path:
    """The folder SUNRGBD: in the root, or the root itself.

    Raises:
        DataError: if there is none.
    """
    for folder in (root / ARCHIVE, root):
        if any((folder / sensor).is_dir() for sensor in ("kv1", "kv2", "realsense", "xtion")):
            return folder
    raise DataError(
        f"Expected the folder {ARCHIVE} with kv1, kv2, realsense or xtion in {root}, but found "
        "none of them: is it the folder above or below?"
    )


def read_all_split(path: Path) -> dict[Split, list[str]]:
    """The scene folders of both splits, relative to SUNRGBD, from the toolbox's ``allsplit.mat``.

    Raises:
        DataError: if the file cannot be read or holds something else.
    """
    scenes: dict[Split, list[str]] = {}
    for split, key in (("train", "alltrain"), ("test", "alltest")):
        entries = load_mat(path, key)
        if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
            raise DataError(f"Expected a list of folders as {key!r} in {path}, but got other data.")
        scenes[split] = [below_archive(entry) for entry in entries]  # type: ignore[index]
    return scenes


def only_picture(folder: Path, suffix: str, kind: str) -> Path:
    """The one picture in a folder of a scene.

    Raises:
        DataError: if there is none, or more than one.
    """
    try:
        found = sorted(
            path
            for path in folder.iterdir()
            if path.suffix.lower() == suffix and not path.name.startswith(".")
        )
    except OSError:  # there is no such folder, or it may not be read
        found = []
    if len(found) != 1:
        got = "none" if not found else f"{len(found)} of them"
        raise DataError(
            f"Expected one {suffix} file with {kind} in {folder}, but found {got}: is the archive "
            "unpacked completely?"
        )
    return found[0]


def depth_folder(depth: DepthKind) -> str:
    """The folder of a scene that holds this kind of depth."""
    return "depth_bfx" if depth == "inpainted" else "depth"


def read_rotated_depth(path: Path) -> NDArray[np.float32]:
    """Depth in metres from a picture whose bits are rotated left by three, as all of theirs are.

    Raises:
        DataError: one sentence that names the file.
    """
    stored = read_depth_png(path)
    stored = np.where(stored == 65535, 0, stored).astype(np.uint16)  # a hole, as 0
    millimetres = (stored >> 3) | (stored << 13)
    # What a sensor can see is below 2^13 mm, so that rotated numbers end in three zero bits.
    # Plain millimetres do not, and come out beyond 8 m nearly everywhere.
    seen = np.count_nonzero(stored)
    if np.count_nonzero(stored & 7) > 0.75 * seen > 0:
        raise DataError(
            f"Expected depth with its bits rotated, as SUN RGB-D stores it, in {path}, but most of "
            "its numbers cannot be that: are these plain millimetres?"
        )
    return to_metres(np.minimum(millimetres, 1000 * FARTHEST), MILLIMETRE, path)


def read_intrinsics(path: Path, size: tuple[int, ...]) -> Intrinsics:
    """The camera of a scene: a matrix of nine numbers, whose pixels count from 1.

    Args:
        path: the file ``intrinsics.txt`` of the scene.
        size: (height, width) of its image.

    Raises:
        DataError: one sentence that names the file.
    """
    try:
        matrix = np.array(path.read_text(encoding="utf-8").split(), dtype=np.float64).reshape(3, 3)
    except OSError as error:
        raise DataError(
            f"Expected the intrinsics of a scene's camera in {path}, but reading failed: "
            f"{error.strerror}."
        ) from None
    except ValueError:
        raise DataError(
            f"Expected nine numbers, the intrinsics of a scene's camera, in {path}, but found others."
        ) from None
    focal = float(matrix[0, 0]), float(matrix[1, 1])
    if not (np.isfinite(matrix).all() and min(focal) > 0):
        raise DataError(f"Expected positive focal lengths in {path}, but got {focal}.")
    return Intrinsics(*focal, float(matrix[0, 2]) - 1, float(matrix[1, 2]) - 1, size[0], size[1])
