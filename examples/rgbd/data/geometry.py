"""Maps that are computed from depth and kept beside a frame: HHA, and surface normals.

Both are uint8 (H, W, 3) and lie as PNG in a prepared folder, ``hha/NAME.png`` and
``normals/NAME.png``, where the image is ``image/NAME.jpg`` or ``.png``. HHA is in the order of RGB:
disparity, height, angle, as `examples.rgbd.data.hha.hha` has them. A normal (right, down, away) is
round(127 n) + 128, at most half a degree off. A missing pixel is 0 in all three channels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from examples.rgbd.data.intrinsics import Intrinsics

if TYPE_CHECKING:
    from torch import Tensor

GeometryKind = Literal["hha", "normals"]
GEOMETRY: tuple[GeometryKind, ...] = get_args(GeometryKind)

_STEPS, _ZERO = 127, 128


def compute_geometry(
    kind: GeometryKind, depth: NDArray[np.float32], camera: Intrinsics
) -> NDArray[np.uint8]:
    """Compute a map of metric depth (H, W), as it is stored: uint8 (H, W, 3)."""
    # torch is loaded when there is something to compute: the commands' options do without.
    import torch

    from examples.rgbd.data.hha import hha
    from examples.rgbd.data.normals import surface_normals

    shown = camera.at(depth.shape, "depth")
    metres = torch.from_numpy(np.ascontiguousarray(depth, np.float32))[None]
    intrinsics = torch.tensor([shown.fx, shown.fy, shown.cx, shown.cy], dtype=torch.float64)
    if kind == "hha":
        levels = hha(metres, intrinsics)[0]
    else:
        normals = surface_normals(metres, intrinsics)[0]
        known = normals.abs().sum(0) > 0
        levels = ((_STEPS * normals).round() + _ZERO) * known
    stored: NDArray[np.uint8] = levels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return stored


def mirrored(kind: str, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The map of the mirrored frame.

    Disparity, height and the angle with gravity are the same seen in a mirror; a normal that points
    to the right then points to the left.
    """
    flipped = stored[:, ::-1]
    if kind != "normals":
        return flipped
    known = flipped.any(-1)
    right = np.where(known, 2 * _ZERO - flipped[..., 0].astype(np.int16), 0).astype(np.uint8)
    return np.concatenate([right[..., None], flipped[..., 1:]], axis=-1)


def to_planes(kind: str, stored: NDArray[np.uint8]) -> Tensor:
    """float32 (3, H, W): HHA in its levels, or normals of length 1; 0 where they are missing."""
    import torch

    planes = torch.from_numpy(np.ascontiguousarray(stored.transpose(2, 0, 1))).float()
    if kind != "normals":
        return planes
    known = planes.sum(0) > 0
    return torch.nn.functional.normalize(planes - _ZERO, dim=0) * known


def geometry_files(root: Path, image: Path) -> dict[GeometryKind, Path]:
    """Where the maps of a frame lie in a prepared folder, beside its image."""
    name = image.relative_to(root).parts[1:]
    return {kind: root.joinpath(kind, *name).with_suffix(".png") for kind in GEOMETRY}
