"""What every data set of the examples yields, and its one conversion to tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from examples.rgbd.data.geometry import to_planes
from examples.rgbd.data.intrinsics import Intrinsics

SAMPLE_VOID = 255
"""Label of pixels that carry no class in the label map of a `Sample` with up to 255 classes."""

VOID = 65535
"""Label of pixels that carry no class, in tensors; pass it as ``ignore_index``."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Sample(NamedTuple):
    """One frame as numpy arrays.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        label: uint8 (H, W), classes 0 .. C-1 and 255 for void; uint16 and 65535 with more than 255
            classes. See `void_of`.
        depth: float32 (H, W), metres along the optical axis (or levels of relative depth), 0 where
            it is missing.
        name: what to call the frame in a message or a file name.
        geometry: uint8 (H, W, 3) maps of the depth by kind, "hha" or "normals", where they are asked
            for; see `geometry`.
    """

    image: NDArray[np.uint8]
    label: NDArray[np.uint8] | NDArray[np.uint16]
    depth: NDArray[np.float32]
    name: str
    geometry: Mapping[str, NDArray[np.uint8]] = {}


class FrameTensors(NamedTuple):
    """One frame as tensors or, collated, a batch of such frames.

    Attributes:
        image: float32 (3, H, W) or (B, 3, H, W), normalised with ImageNet's mean and deviation.
        label: int64 (H, W) or (B, H, W), `VOID` = void.
        depth: float32 (H, W) or (B, H, W), metres, 0 = missing.
        name: the name, or the list of names.
        geometry: float32 (3, H, W) or (B, 3, H, W) by kind: HHA in its levels, unit normals; 0 =
            missing.
    """

    image: Tensor
    label: Tensor
    depth: Tensor
    name: str | list[str]
    geometry: Mapping[str, Tensor] = {}


class RGBDDataset(Dataset[Sample]):
    """Base class of the data sets: a sequence of `Sample` that knows its classes.

    Attributes:
        classes: the class names, in the order of the label values.
        palette: uint8 (C, 3), one colour for each class.
        depth_limits: (near, far) in metres, what ``rescale_depth`` maps to [1, 256].
        metric: whether depth is in metres; relative depth is in levels, other for each image.
    """

    classes: tuple[str, ...]
    palette: NDArray[np.uint8]
    depth_limits: tuple[float, float]
    metric: bool = True

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Sample:
        raise NotImplementedError

    @property
    def shared_camera(self) -> Intrinsics | None:
        """The camera of all frames, if there is one and it is known."""
        return None


def void_of(label: NDArray[np.integer]) -> int:
    """The number that stands for void in a label map: the largest that its dtype holds."""
    return int(np.iinfo(label.dtype).max)


# One table look-up for each channel replaces a division, a subtraction and a multiplication.
_NORMALISE = [
    ((np.arange(256, dtype=np.float64) / 255.0 - mean) / std).astype(np.float32)
    for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)
]


def normalise(image: NDArray[np.uint8]) -> Tensor:
    """uint8 (H, W, 3) to float32 (3, H, W), normalised with ImageNet's mean and deviation."""
    planes = np.empty((3, *image.shape[:2]), np.float32)
    for channel, table in enumerate(_NORMALISE):
        np.take(table, image[..., channel], out=planes[channel], mode="clip")
    return torch.from_numpy(planes)


def denormalise(image: Tensor) -> NDArray[np.uint8]:
    """The inverse of `normalise`, for pictures: float (3, H, W) to uint8 (H, W, 3)."""
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    colours = image.detach().float().cpu().permute(1, 2, 0) * std + mean
    result: NDArray[np.uint8] = (colours * 255).round().clamp(0, 255).to(torch.uint8).numpy()
    return result


def to_tensors(sample: Sample) -> FrameTensors:
    """The network's input and its targets; depth stays in metres."""
    label = sample.label.astype(np.int64)
    label[sample.label == void_of(sample.label)] = VOID
    return FrameTensors(
        image=normalise(sample.image),
        label=torch.from_numpy(label),
        depth=torch.from_numpy(np.ascontiguousarray(sample.depth, dtype=np.float32)),
        name=sample.name,
        geometry={kind: to_planes(kind, stored) for kind, stored in sample.geometry.items()},
    )
