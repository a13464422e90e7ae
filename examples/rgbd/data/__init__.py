"""Data sets of colour, labels and depth, and how they are varied for training.

The names are looked up when they are used: a command line is parsed without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from examples.rgbd.data.augment import Augmented, Resized, augment, resize
    from examples.rgbd.data.augmentation import Augmentation
    from examples.rgbd.data.classes import NYU40, SUN37, label_palette
    from examples.rgbd.data.dataset import Files, FrameSource
    from examples.rgbd.data.files.errors import DataError
    from examples.rgbd.data.frame import (
        IMAGENET_MEAN,
        IMAGENET_STD,
        SAMPLE_VOID,
        VOID,
        FrameTensors,
        RGBDDataset,
        Sample,
        denormalise,
        normalise,
        to_tensors,
        void_of,
    )
    from examples.rgbd.data.nyudv2.spec import NYUDV2
    from examples.rgbd.data.rooms.dataset import GeneratedRooms
    from examples.rgbd.data.spec import DatasetSpec, DepthKind, DepthUse, Split
    from examples.rgbd.data.sunrgbd.spec import SUNRGBD

_NAMES = {
    "augment": "Augmented Resized augment resize",
    "augmentation": "Augmentation",
    "classes": "NYU40 SUN37 label_palette",
    "dataset": "Files FrameSource",
    "files.errors": "DataError",
    "frame": "IMAGENET_MEAN IMAGENET_STD SAMPLE_VOID VOID FrameTensors RGBDDataset Sample denormalise "
    "normalise to_tensors void_of",
    "nyudv2.spec": "NYUDV2",
    "rooms.dataset": "GeneratedRooms",
    "spec": "DatasetSpec DepthKind DepthUse Split",
    "sunrgbd.spec": "SUNRGBD",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "NYU40",
    "NYUDV2",
    "SAMPLE_VOID",
    "SUN37",
    "SUNRGBD",
    "VOID",
    "Augmentation",
    "Augmented",
    "DataError",
    "DatasetSpec",
    "DepthKind",
    "DepthUse",
    "Files",
    "FrameSource",
    "FrameTensors",
    "GeneratedRooms",
    "RGBDDataset",
    "Resized",
    "Sample",
    "Split",
    "augment",
    "denormalise",
    "label_palette",
    "normalise",
    "resize",
    "to_tensors",
    "void_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
