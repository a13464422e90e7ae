"""Joint augmentation of image, label and depth: flip, scale and crop, colour (Section IV-A).

Every random number is drawn from a generator that the caller hands in, in a fixed order. So a
frame depends on (seed, epoch, index) alone, whichever worker draws it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from examples.rgbd.data.augmentation import Augmentation
from examples.rgbd.data.frame import (
    IMAGENET_MEAN,
    FrameTensors,
    RGBDDataset,
    Sample,
    to_tensors,
    void_of,
)
from examples.rgbd.data.geometry import mirrored

_PADDING = tuple(round(255 * mean) for mean in IMAGENET_MEAN)
_LUMA = np.array([0.299, 0.587, 0.114])


class _View(NamedTuple):
    """A rectangle of the frame, and the rectangle of the output that it fills."""

    source: tuple[float, float, float, float]  # left, top, right, bottom in source pixels
    left: int
    top: int
    width: int
    height: int


def _nearest(start: float, stop: float, count: int, limit: int) -> NDArray[np.intp]:
    """The source index below the centre of each of `count` pixels over [start, stop)."""
    centres = start + (2 * np.arange(count) + 1) * (stop - start) / (2 * count)
    indices: NDArray[np.intp] = np.clip(np.floor(centres).astype(np.intp), 0, limit - 1)
    return indices


def _resample(
    sample: Sample, view: _View, size: tuple[int, int], flip: bool, resize_target: bool = True
) -> Sample:
    """Show `view` at the given size: colour bilinear with antialiasing, the rest nearest."""
    height, width = size
    left, top, right, bottom = view.source
    source_height, source_width = sample.label.shape
    picture = Image.fromarray(sample.image)
    if (view.source, view.width, view.height) != (
        (0.0, 0.0, float(source_width), float(source_height)), source_width, source_height,
    ):  # fmt: skip
        picture = picture.resize(
            (view.width, view.height), Image.Resampling.BILINEAR, box=view.source
        )
    whole = (view.width, view.height) == (width, height)
    if not whole:
        canvas = Image.new("RGB", (width, height), _PADDING)
        canvas.paste(picture, (view.left, view.top))
        picture = canvas
    if flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = np.asarray(picture)
    if not resize_target:
        return sample._replace(image=image)

    rows = _nearest(top, bottom, view.height, source_height)
    columns = _nearest(left, right, view.width, source_width)
    label = sample.label.take(rows, 0).take(columns, 1)
    depth = sample.depth.take(rows, 0).take(columns, 1)
    geometry = {kind: each.take(rows, 0).take(columns, 1) for kind, each in sample.geometry.items()}
    if not whole:
        inside = np.s_[view.top : view.top + view.height, view.left : view.left + view.width]
        padded_label = np.full(size, void_of(label), label.dtype)
        padded_depth = np.zeros(size, np.float32)
        padded_label[inside], padded_depth[inside] = label, depth
        label, depth = padded_label, padded_depth
        for kind, shown in geometry.items():
            padded = np.zeros((*size, 3), np.uint8)
            padded[inside] = shown
            geometry[kind] = padded
    if flip:
        label, depth = label[:, ::-1], depth[:, ::-1]
        geometry = {kind: mirrored(kind, each) for kind, each in geometry.items()}
    return sample._replace(image=image, label=label, depth=depth, geometry=geometry)


def resize(sample: Sample, size: tuple[int, int], resize_target: bool = True) -> Sample:
    """The whole frame at (height, width), for evaluation.

    Args:
        sample: the frame.
        size: (height, width) in pixels.
        resize_target: False leaves label and depth at their own size.
    """
    height, width = size
    source_height, source_width = sample.label.shape
    view = _View((0.0, 0.0, float(source_width), float(source_height)), 0, 0, width, height)
    return _resample(sample, view, size, flip=False, resize_target=resize_target)


def _draw_view(
    rng: np.random.Generator, scale: float, source: tuple[int, int], size: tuple[int, int]
) -> _View:
    """Where to look at a frame that fills `size` at scale 1."""
    across, down = rng.random(2)
    extents = []
    for share, source_extent, extent in zip((across, down), source[::-1], size[::-1], strict=True):
        if scale >= 1:  # crop: a window of 1/scale of the frame
            window = source_extent / scale
            start = share * (source_extent - window)
            extents.append((start, start + window, 0, extent))
        else:  # pad: the whole frame, smaller, somewhere in the output
            shown = max(round(extent * scale), 1)
            extents.append((0.0, float(source_extent), int(share * (extent - shown + 1)), shown))
    (left, right, at_x, width), (top, bottom, at_y, height) = extents
    return _View((left, top, right, bottom), at_x, at_y, width, height)


def _spread(rng: np.random.Generator, amount: float) -> float:
    return float(rng.uniform(1 - amount, 1 + amount))


def _colour_matrix(rng: np.random.Generator, options: Augmentation) -> NDArray[np.float64]:
    """Brightness, contrast, saturation and hue as one 3 x 4 matrix on RGB in 0 .. 255."""
    brightness = _spread(rng, options.brightness)
    contrast = _spread(rng, options.contrast)
    saturation = _spread(rng, options.saturation)
    angle = 2 * np.pi * float(rng.uniform(-options.hue, options.hue))
    # A turn about the grey axis (Rodrigues), then towards or away from the luminance.
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = (
        np.cos(angle) * np.eye(3)
        + np.sin(angle) * cross
        + (1 - np.cos(angle)) * np.outer(axis, axis)
    )
    saturate = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), _LUMA)
    linear = brightness * contrast * saturate @ turn
    offset = np.full((3, 1), 127.5 * (1 - contrast))
    return np.hstack([linear, offset])


def augment(
    sample: Sample,
    size: tuple[int, int],
    rng: np.random.Generator,
    options: Augmentation | None = None,
    metric: bool = True,
) -> Sample:
    """One random variation of a frame.

    The frame is stretched to `size` (the paper resizes every image to 640 x 480), and zoomed from
    there. Zooming by s shows things as large as if they were s times nearer: depth is divided by s.
    HHA and normals keep their values: that of a height or an angle does not depend on the distance,
    and a disparity that is stored in 8 bits stays that of the frame.

    Args:
        sample: the frame.
        size: (height, width) of the result.
        rng: where every random number comes from.
        options: how far to vary; None stands for the defaults.
        metric: depth is in metres. Relative depth has no scale that zooming would change.
    """
    options = options or Augmentation()
    flip = bool(rng.random() < options.flip)
    scale = float(np.exp(rng.uniform(*np.log(options.scale))))
    view = _draw_view(rng, scale, sample.label.shape, size)
    matrix = _colour_matrix(rng, options)
    # Colour first: padding keeps the mean colour, and no resampled pixel is altered twice.
    picture = Image.fromarray(sample.image).convert("RGB", tuple(matrix.ravel()))
    shown = _resample(sample._replace(image=np.asarray(picture)), view, size, flip)
    return shown._replace(depth=shown.depth / np.float32(scale)) if metric else shown


class Augmented(Dataset[FrameTensors]):
    """A data set seen through random variations, as tensors.

    The generator of a frame comes from (seed, epoch, index), so the number of workers changes
    nothing. Call `set_epoch` before each pass over the data. The epoch lies in shared memory:
    workers that a ``DataLoader`` keeps alive see it change.

    Args:
        dataset: the frames.
        size: (height, width) of what comes out.
        seed: of all variations, at least 0.
        options: how far to vary.
        metric: whether depth is in metres; see `augment`.
    """

    def __init__(
        self,
        dataset: RGBDDataset | Dataset[Sample],
        size: tuple[int, int],
        seed: int = 0,
        options: Augmentation | None = None,
        metric: bool = True,
    ) -> None:
        self.dataset = dataset
        self.size = size
        self.seed = seed
        self.options = options or Augmentation()
        self.metric = metric
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()

    @property
    def epoch(self) -> int:
        """The epoch whose variations are drawn."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Draw the variations of this epoch from now on, in all workers."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> FrameTensors:
        rng = np.random.default_rng([self.seed, self.epoch, index])
        sample = augment(self.dataset[index], self.size, rng, self.options, self.metric)
        return to_tensors(sample)


class Resized(Dataset[FrameTensors]):
    """A data set at one size without any variation, as tensors, for evaluation.

    Args:
        dataset: the frames.
        size: (height, width) of the images.
        resize_target: False leaves label and depth at their own size (batches of one then).
    """

    def __init__(
        self,
        dataset: RGBDDataset | Dataset[Sample],
        size: tuple[int, int],
        resize_target: bool = True,
    ) -> None:
        self.dataset = dataset
        self.size = size
        self.resize_target = resize_target

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> FrameTensors:
        return to_tensors(resize(self.dataset[index], self.size, self.resize_target))
