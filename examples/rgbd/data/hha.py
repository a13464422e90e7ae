"""HHA (Gupta et al., ECCV 2014): horizontal disparity, height above ground, angle with gravity.

After the formulas of the published ``saveHHA``, for batches and without loops over pixels.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NYUDV2_INTRINSICS = (518.857901, 519.469611, 325.582449, 253.736166)
"""fx, fy, cx, cy of NYUDv2's colour camera at 480 x 640, in whose frame its labelled depth is."""

_STEPS = ((45.0, 5), (15.0, 5))
_ANGLE_RADIUS, _GRAVITY_RADIUS = 3, 10


def points_of(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Back-project depth (B, H, W) to points (B, 3, H, W) in metres: right, down, away.

    Args:
        depth: (B, H, W), metres.
        intrinsics: (B, 4) or (4,): fx, fy, cx, cy in pixels, of this size and crop of the image.
    """
    height, width = depth.shape[-2:]
    focal_x, focal_y, centre_x, centre_y = intrinsics.to(depth).reshape(-1, 4).T[..., None, None]
    columns = torch.arange(width, device=depth.device, dtype=depth.dtype)
    rows = torch.arange(height, device=depth.device, dtype=depth.dtype)[:, None]
    x = (columns - centre_x) / focal_x * depth
    y = (rows - centre_y) / focal_y * depth
    return torch.stack([x, y, depth], dim=1)


def plane_normals(depth: Tensor, intrinsics: Tensor, radius: int) -> Tensor:
    """Fit a plane around each pixel by least squares: a X/Z + b Y/Z + c = 1/Z.

    Args:
        depth: (B, H, W), metres, 0 = missing; a missing pixel takes no part in a fit.
        intrinsics: see ``points_of``.
        radius: of the window, (2 radius + 1) pixels wide.

    Returns:
        (B, 3, H, W) unit normals (right, down, away), away from the camera; 0 where the window has
        no plane.
    """
    work = depth.double()
    known = work > 0
    inverse = torch.where(known, 1 / torch.where(known, work, 1), 0)
    rays = points_of(torch.ones_like(work), intrinsics.double())
    terms = [rays[:, i] * rays[:, j] for i in range(3) for j in range(i, 3)]
    terms += [rays[:, i] * inverse for i in range(3)]
    weighed = torch.stack(terms, 1) * known[:, None]
    size = 2 * radius + 1
    sums = F.avg_pool2d(weighed, size, 1, radius, count_include_pad=True)
    xx, xy, xz, yy, yz, zz, *right = sums.unbind(1)
    matrix = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], -1).reshape(*xx.shape, 3, 3)
    # A ridge far below the entries keeps an empty or degenerate window solvable.
    ridge = 1e-9 * torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    solved = torch.linalg.solve(matrix + ridge, torch.stack(right, -1)[..., None])[..., 0]
    normals = F.normalize(solved, dim=-1).movedim(-1, 1)
    # c = n . P > 0 for a plane in front of the camera: the normal points away from it.
    return normals.to(depth.dtype)


def gravity_direction(normals: Tensor) -> Tensor:
    """Estimate which way is down from normals (B, 3, H, W): (B, 3), unit vectors.

    Ten steps: floors and ceilings are the normals within a limit of the estimate, walls those that
    are as near to a right angle with it; the new estimate is along the former and across the latter.
    """
    flat = normals.flatten(2).double()
    down = flat.new_tensor([0.0, 1.0, 0.0]).expand(len(flat), 3)
    for degrees, steps in _STEPS:
        limit = math.radians(degrees)
        for _ in range(steps):
            aligned = (down[:, None] @ flat)[:, 0].abs()
            known = flat.square().sum(1) > 0
            floor = flat * ((aligned > math.cos(limit)) & known)[:, None]
            wall = flat * ((aligned < math.sin(limit)) & known)[:, None]
            scatter = wall @ wall.transpose(1, 2) - floor @ floor.transpose(1, 2)
            axis = torch.linalg.eigh(scatter).eigenvectors[..., 0]
            sign = torch.where((axis * down).sum(-1, keepdim=True) < 0, -1.0, 1.0)
            down = axis * sign
    return down.to(normals.dtype)


def hha(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Compute HHA of metric depth without holes.

    Args:
        depth: (B, H, W), metres; in-painted, for a missing pixel has no disparity. 0 = missing.
        intrinsics: see ``points_of``.

    Returns:
        (B, 3, H, W) float, 0 .. 255, rounded: 31000 / max(centimetres, 100); height above the lowest
        point in centimetres, the camera at least 90 cm above it; angle with gravity in degrees + 38,
        so 38 for a floor, 128 for a wall, 218 for a ceiling. Missing pixels are 0.
    """
    known = depth > 0
    down = gravity_direction(plane_normals(depth, intrinsics, _GRAVITY_RADIUS))
    normals = plane_normals(depth, intrinsics, _ANGLE_RADIUS)
    up = -(down[..., None, None] * points_of(100 * depth, intrinsics)).sum(1)
    lowest = torch.where(known, up, torch.inf).amin((1, 2), keepdim=True)
    lowest = torch.where(lowest > -90, -130, lowest)
    cosine = (down[..., None, None] * normals).sum(1).clamp(-1, 1)
    disparity = 31000 / (100 * depth).clamp(min=100)
    channels = torch.stack([disparity, up - lowest, torch.rad2deg(cosine.acos()) + 38], 1)
    return channels.round().clamp(0, 255) * known[:, None]
