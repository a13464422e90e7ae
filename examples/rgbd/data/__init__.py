"""Data sets of colour, labels and depth, and how they are varied for training."""

from examples.rgbd.data.augment import Augmentation, Augmented, Resized, augment, resize
from examples.rgbd.data.classes import NYU40, SUN37, label_palette
from examples.rgbd.data.dataset import DepthKind, SourceDataset, Split
from examples.rgbd.data.files.errors import DataError
from examples.rgbd.data.frame import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    VOID,
    Batch,
    RGBDDataset,
    Sample,
    denormalise,
    normalise,
    to_tensors,
)
from examples.rgbd.data.nyudv2.dataset import NYUDv2
from examples.rgbd.data.rooms.dataset import GeneratedRooms
from examples.rgbd.data.sunrgbd.dataset import SUNRGBD

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "NYU40",
    "SUN37",
    "SUNRGBD",
    "VOID",
    "Augmentation",
    "Augmented",
    "Batch",
    "DataError",
    "DepthKind",
    "GeneratedRooms",
    "NYUDv2",
    "RGBDDataset",
    "Resized",
    "Sample",
    "SourceDataset",
    "Split",
    "augment",
    "denormalise",
    "label_palette",
    "normalise",
    "resize",
    "to_tensors",
]
