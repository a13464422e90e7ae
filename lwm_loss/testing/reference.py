"""Equations 1 to 9 of the paper, one pixel at a time.

The oracle of the tests, written to be read beside the paper: plain Python loops over images and
pixels, float64 throughout, numpy and `math` only. It shares no code with the library and is as slow
as it is plain. Names and order follow the equations.

Shapes: logits ``(B, C, *S)``, target ``(B, *S)``, depth ``(B, *S)`` or ``(B, 1, *S)``, where ``S``
is ``(H, W)`` or ``(D, H, W)``. Target depth is missing where it is not finite or not positive.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]
Pixel = tuple[int, ...]
Region = tuple[int, Pixel, int]
Cells = tuple[int, ...] | Literal["pixel"]


def pixels(size: Sequence[int]) -> Iterator[Pixel]:
    """Every pixel position of an image of this size, in reading order.

    >>> list(pixels((1, 2)))
    [(0, 0), (0, 1)]
    """
    return itertools.product(*(range(extent) for extent in size))


def pixels_of(image: int, shape: Sequence[int]) -> Iterator[Pixel]:
    """Every position of one image in maps of shape ``(B, *S)``.

    >>> list(pixels_of(3, (5, 1, 2)))
    [(3, 0, 0), (3, 0, 1)]
    """
    return ((image, *pixel) for pixel in pixels(shape[1:]))


def at_class(pixel: Pixel, j: int) -> Pixel:
    """Where logits ``(B, C, *S)`` hold the score of class j for a position of ``(B, *S)``.

    >>> at_class((3, 0, 1), 2)
    (3, 2, 0, 1)
    """
    return (pixel[0], j, *pixel[1:])


def without_channel(depth: Array) -> Array:
    """A depth map ``(B, 1, *S)`` as ``(B, *S)``; four axes, the second of one, are such a map.

    >>> without_channel(np.ones((2, 1, 4, 5))).shape, without_channel(np.ones((2, 3, 4, 5))).shape
    ((2, 4, 5), (2, 3, 4, 5))
    """
    return depth[:, 0] if depth.ndim >= 4 and depth.shape[1] == 1 else depth


def with_channel(depth: Array, target: Array) -> Array:
    """A depth map with its channel ``(B, 1, *S)``, whichever way it came.

    Beside labels even a volume of one slice, ``(B, 1, H, W)``, is told from an image and channel.

    >>> labels = np.zeros((2, 1, 4, 5), dtype=int)
    >>> with_channel(np.ones((2, 1, 4, 5)), labels).shape
    (2, 1, 1, 4, 5)
    """
    return depth[:, None] if depth.ndim == target.ndim else depth


def has_depth(depth: float, allowed: bool = True) -> bool:
    """Whether a pixel belongs to V_d: finite positive target depth inside the caller's mask.

    >>> [has_depth(depth) for depth in (2.0, 0.0, -1.0, math.nan, math.inf)]
    [True, False, False, False, False]
    """
    return allowed and math.isfinite(depth) and depth > 0.0


def depth_pixels(target_depth: Array, depth_mask: Array | None = None) -> npt.NDArray[np.bool_]:
    """V_d as a map of booleans, ``(B, *S)``.

    >>> depth_pixels(np.array([[[3.0, 0.0, np.nan]]])).tolist()
    [[[True, False, False]]]
    """
    depth = without_channel(target_depth)
    mask = None if depth_mask is None else without_channel(depth_mask)
    valid = np.zeros(depth.shape, dtype=np.bool_)
    for pixel in pixels(depth.shape):
        valid[pixel] = has_depth(float(depth[pixel]), mask is None or bool(mask[pixel]))
    return valid


def rescale_depth(
    depth: Array, near: float, far: float, depth_range: tuple[float, float] = (1.0, 256.0)
) -> Float:
    """Metres, linearly from ``[near, far]`` to the levels of D* and clamped; missing ones as 0.

    >>> rescale_depth(np.array([0.5, 5.5, 99.0, 0.0, np.nan]), near=0.5, far=10.5).tolist()
    [1.0, 128.5, 256.0, 0.0, 0.0]
    """
    low, high = depth_range
    levels = np.zeros(depth.shape)
    for pixel in pixels(depth.shape):
        metres = float(depth[pixel])
        if has_depth(metres):
            level = low + (metres - near) / (far - near) * (high - low)
            levels[pixel] = min(max(level, low), high)
    return levels


# --- Eq. 1: segmentation loss ---------------------------------------------------------------------


def log_softmax(scores: Sequence[float]) -> list[float]:
    """``log p_j`` of one pixel from its scores.

    >>> log_softmax([0.0, 0.0]) == [-math.log(2.0)] * 2
    True
    """
    highest = max(scores)
    log_sum = highest + math.log(math.fsum(math.exp(score - highest) for score in scores))
    return [score - log_sum for score in scores]


def cross_entropy(
    logits: Array,
    target: Array,
    *,
    ignore_index: int = -100,
    class_weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> Float:
    """Eq. 1 before the mean: ``-log p`` of the true class at each labelled pixel, 0 elsewhere.

    Class weights and label smoothing are torch's: with smoothing ``s`` the one-hot label becomes
    ``(1 - s) y + s / c``, and each class's term is multiplied by its weight.

    >>> cross_entropy(np.zeros((1, 2, 1, 2)), np.array([[[1, -100]]])).round(6).tolist()
    [[[0.693147, 0.0]]]
    """
    classes = logits.shape[1]
    weight = [1.0] * classes if class_weight is None else list(class_weight)
    loss = np.zeros(target.shape)
    for pixel in pixels(target.shape):
        label = int(target[pixel])
        if label == ignore_index:
            continue
        log_p = log_softmax([float(logits[at_class(pixel, j)]) for j in range(classes)])
        for j in range(classes):
            y = (1.0 - label_smoothing) * (j == label) + label_smoothing / classes
            if y != 0.0:
                loss[pixel] -= weight[j] * y * log_p[j]
    return loss


def labelled_count(target: Array, ignore_index: int = -100) -> int:
    """The n of Eqs. 1, 4 and 8: the labelled pixels of the batch.

    >>> labelled_count(np.array([[[0, 3, -100]]]))
    2
    """
    return sum(int(target[pixel]) != ignore_index for pixel in pixels(target.shape))


# --- Eq. 2: depth loss ----------------------------------------------------------------------------


def log_depth_error(
    pred_depth: Array,
    target_depth: Array,
    *,
    log_input: bool = True,
    depth_mask: Array | None = None,
) -> Float:
    """``log D - log D*`` on V_d and 0 elsewhere: R_i of Eq. 2, with its sign.

    >>> log_depth_error(np.array([[[1.0, 1.0]]]), np.array([[[1.0, 0.0]]])).tolist()
    [[[1.0, 0.0]]]
    """
    predicted, depth = without_channel(pred_depth), without_channel(target_depth)
    valid = depth_pixels(target_depth, depth_mask)
    error = np.zeros(depth.shape)
    for pixel in pixels(depth.shape):
        if valid[pixel]:
            value = float(predicted[pixel])
            log_d = value if log_input else math.log(value)
            error[pixel] = log_d - math.log(float(depth[pixel]))
    return error


def log_depth_mse(
    pred_depth: Array,
    target_depth: Array,
    *,
    log_input: bool = True,
    depth_mask: Array | None = None,
    normalizer: float | None = None,
) -> float:
    """Eq. 2: the mean over V_d of the squared log-depth error; 0 where no pixel has depth.

    >>> log_depth_mse(np.array([[[2.0, 7.0]]]), np.array([[[1.0, 0.0]]]))
    4.0
    """
    error = log_depth_error(pred_depth, target_depth, log_input=log_input, depth_mask=depth_mask)
    total = math.fsum(float(error[pixel]) ** 2 for pixel in pixels(error.shape))
    count = int(depth_pixels(target_depth, depth_mask).sum())
    return total / (normalizer if normalizer is not None else max(count, 1))


# --- Section III-B1: depth prediction error -------------------------------------------------------


def depth_prediction_error(
    pred_depth: Array,
    target_depth: Array,
    *,
    log_input: bool = True,
    normalize: bool = True,
    depth_mask: Array | None = None,
) -> Float:
    """R = ``|log D - log D*|`` on V_d, divided by its maximum within each image; 0 outside V_d.

    A NaN in the prediction makes the maximum NaN, and with it the image's whole map on V_d.

    >>> log_d, depth = np.array([[[1.0, 2.0, 9.0]]]), np.array([[[1.0, 1.0, 0.0]]])
    >>> depth_prediction_error(log_d, depth).tolist()
    [[[0.5, 1.0, 0.0]]]
    """
    signed = log_depth_error(pred_depth, target_depth, log_input=log_input, depth_mask=depth_mask)
    valid = depth_pixels(target_depth, depth_mask)
    dpe = np.zeros(signed.shape)
    for image in range(signed.shape[0]):
        peak = 0.0
        for pixel in pixels_of(image, signed.shape):
            error = abs(float(signed[pixel]))
            dpe[pixel] = error
            if error > peak or math.isnan(error):
                peak = error
        if normalize and peak != 0.0:
            for pixel in pixels_of(image, signed.shape):
                if valid[pixel]:
                    dpe[pixel] /= peak
    return dpe


# --- Eq. 3: depth-aware segmentation error --------------------------------------------------------


def cell_of(pixel: Pixel, size: Sequence[int], cells: Cells) -> Pixel:
    """The cell P_k of a pixel: ``floor(position * cells / size)`` on each axis.

    Two numbers on a volume divide its last two axes; ``"pixel"`` makes each pixel a cell.

    >>> [cell_of((0, x), (1, 5), (1, 2)) for x in range(5)]
    [(0, 0), (0, 0), (0, 0), (0, 1), (0, 1)]
    """
    if cells == "pixel":
        return tuple(pixel)
    grid = (1,) * (len(size) - len(cells)) + tuple(cells)
    return tuple(at * count // extent for at, count, extent in zip(pixel, grid, size, strict=True))


def depth_bin(depth: float, bin_size: float, depth_range: tuple[float, float]) -> int:
    """The depth bin B_t of a depth: ``floor((D* - low) / d)``, clamped to the bins there are.

    >>> [depth_bin(level, 10.0, (1.0, 256.0)) for level in (0.5, 1.0, 10.9, 11.0, 256.0, 999.0)]
    [0, 0, 0, 1, 25, 25]
    """
    low, high = depth_range
    bins = max(1, math.ceil((high - low) / bin_size))
    return min(max(math.floor((depth - low) / bin_size), 0), bins - 1)


def depth_aware_regions(
    target_depth: Array,
    *,
    cells: Cells = (8, 8),
    bin_size: float = 10.0,
    depth_range: tuple[float, float] = (1.0, 256.0),
) -> dict[Pixel, Region]:
    """The region (image, cell, bin) of each pixel of V_d, keyed by position in ``(B, *S)``.

    >>> depth_aware_regions(np.array([[[5.0, 0.0, 25.0]]]), cells=(1, 1))
    {(0, 0, 0): (0, (0, 0), 0), (0, 0, 2): (0, (0, 0), 2)}
    """
    depth = without_channel(target_depth)
    regions: dict[Pixel, Region] = {}
    for pixel in pixels(depth.shape):
        level = float(depth[pixel])
        if has_depth(level):
            cell = cell_of(pixel[1:], depth.shape[1:], cells)
            regions[pixel] = (pixel[0], cell, depth_bin(level, bin_size, depth_range))
    return regions


def misclassified(input: Array, target: Array, *, ignore_index: int = -100) -> Float:
    """Delta: 1 where the highest score (the first on a tie) is not the label's, 0 elsewhere.

    ``input`` is logits ``(B, C, *S)`` or an integer map ``(B, *S)`` of predicted labels.

    >>> misclassified(np.array([[[[1.0, 0.0]], [[1.0, 2.0]]]]), np.array([[[1, 1]]])).tolist()
    [[[1.0, 0.0]]]
    """
    delta = np.zeros(target.shape)
    for pixel in pixels(target.shape):
        if int(target[pixel]) == ignore_index:
            continue
        if input.ndim == target.ndim:
            guess = int(input[pixel])
        else:
            guess = 0
            for j in range(1, input.shape[1]):
                if input[at_class(pixel, j)] > input[at_class(pixel, guess)]:
                    guess = j
        delta[pixel] = float(guess != int(target[pixel]))
    return delta


def depth_aware_segmentation_error(
    input: Array,
    target: Array,
    target_depth: Array,
    *,
    cells: Cells = (8, 8),
    bin_size: float = 10.0,
    depth_range: tuple[float, float] = (1.0, 256.0),
    ignore_index: int = -100,
    depth_mask: Array | None = None,
) -> Float:
    """Eq. 3: the error rate of each region over its pixels in V_y and V_d, given to all of them.

    >>> logits = np.array([[[[1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0]]]])
    >>> depth_aware_segmentation_error(
    ...     logits, np.array([[[0, 1, -100]]]), np.full((1, 1, 3), 5.0), cells=(1, 1)
    ... ).tolist()
    [[[0.5, 0.5, 0.0]]]
    """
    return mean_error_of_regions(
        misclassified(input, target, ignore_index=ignore_index),
        target != ignore_index,
        target_depth,
        cells=cells,
        bin_size=bin_size,
        depth_range=depth_range,
        depth_mask=depth_mask,
    )


# --- Z of any dense task and of soft errors -------------------------------------------------------


def labels_of_pixel(target: Array, pixel: Pixel, task: str, ignore_index: int = -100) -> list[int]:
    """The labels of a pixel that count: a class, or a flag of each valid channel; [] if ignored.

    ``target`` is that of the task: classes ``(B, *S)`` or their probabilities ``(B, C, *S)``, one
    flag ``(B, 1, *S)``, or flags ``(B, C, *S)``, with -1 for a channel that is ignored.

    >>> labels_of_pixel(np.array([[[[1]], [[255]]]]), (0, 0, 0), "multilabel", 255)
    [1, -1]
    """
    if task == "multiclass" and target.ndim == len(pixel):
        label = int(target[pixel])
        return [] if label == ignore_index else [label]
    entries = [float(target[at_class(pixel, j)]) for j in range(target.shape[1])]
    if task == "multiclass":
        return [entries.index(max(entries))] if math.fsum(entries) != 0.0 else []
    flags = [-1 if entry == ignore_index else int(entry) for entry in entries]
    return flags if any(flag >= 0 for flag in flags) else []


def pixel_error(
    logits: Array, target: Array, task: str, error: str, ignore_index: int = -100
) -> Float:
    """The error ``(B, *S)`` that Z averages under a task; 0 where the pixel is ignored.

    ``error`` is ``"misclassified"``, ``"probability"`` (1 less that of the truth) or ``"loss"``.

    >>> scores, flags = np.array([[[[2.0]], [[-1.0]]]]), np.array([[[[1]], [[1]]]])
    >>> pixel_error(scores, flags, "multilabel", "misclassified").tolist()
    [[[0.5]]]
    """
    shape = (logits.shape[0], *logits.shape[2:])
    result = np.zeros(shape)
    for pixel in pixels(shape):
        truth = labels_of_pixel(target, pixel, task, ignore_index)
        if not truth:
            continue
        scores = [float(logits[at_class(pixel, j)]) for j in range(logits.shape[1])]
        if task == "multiclass":
            logs = log_softmax(scores)
            if error == "misclassified":
                result[pixel] = float(scores.index(max(scores)) != truth[0])
            elif error == "probability":
                result[pixel] = 1.0 - math.exp(logs[truth[0]])
            elif target.ndim == logits.ndim:
                shares = [float(target[at_class(pixel, j)]) for j in range(len(scores))]
                result[pixel] = -math.fsum(p * log for p, log in zip(shares, logs, strict=True))
            else:
                result[pixel] = -logs[truth[0]]
            continue
        errors = []
        for score, flag in zip(scores, truth, strict=True):
            if flag < 0:
                continue
            signed = score if flag else -score
            loss = math.log1p(math.exp(-abs(signed))) + max(-signed, 0.0)
            kinds = {
                "misclassified": float((score > 0) != bool(flag)),
                "probability": 1.0 - math.exp(-loss),
                "loss": loss,
            }
            errors.append(kinds[error])
        result[pixel] = math.fsum(errors) / len(errors)
    return result


def mean_error_of_regions(
    errors: Array,
    labelled: Array,
    target_depth: Array,
    *,
    cells: Cells = (8, 8),
    bin_size: float = 10.0,
    depth_range: tuple[float, float] = (1.0, 256.0),
    depth_mask: Array | None = None,
    relative: bool = False,
) -> Float:
    """The mean error of each region over its pixels in V_y and V_d, given to all of them.

    With ``relative`` means are divided by the largest of their image, as for ``error="loss"``.

    >>> errors, depth = np.array([[[4.0, 2.0, 1.0]]]), np.array([[[5.0, 5.0, 25.0]]])
    >>> mean_error_of_regions(
    ...     errors, np.ones((1, 1, 3), bool), depth, cells=(1, 1), relative=True
    ... ).round(3).tolist()
    [[[1.0, 1.0, 0.333]]]
    """
    target_depth = with_channel(target_depth, labelled)
    depth_mask = None if depth_mask is None else with_channel(depth_mask, labelled)
    known = depth_pixels(target_depth, depth_mask)
    members: dict[Region, list[Pixel]] = {}
    regions = depth_aware_regions(
        target_depth, cells=cells, bin_size=bin_size, depth_range=depth_range
    )
    for pixel, region in regions.items():
        if known[pixel] and labelled[pixel]:
            members.setdefault(region, []).append(pixel)
    means = {
        region: math.fsum(float(errors[pixel]) for pixel in inside) / len(inside)
        for region, inside in members.items()
    }
    result = np.zeros(labelled.shape)
    for region, inside in members.items():
        mean = means[region]
        if relative:
            largest = max(other for at, other in means.items() if at[0] == region[0])
            mean = mean / largest if largest else 0.0
        for pixel in inside:
            result[pixel] = mean
    return result


# --- Section III-B3 and Eq. 4: fusion and the weighted loss ---------------------------------------

FUSIONS: dict[str, Callable[[float, float], float]] = {
    "sum": lambda r, z: r + z,
    "product": lambda r, z: r * z,
    "max": lambda r, z: r if math.isnan(r) else max(r, z),
    "dpe": lambda r, z: r,
    "dse": lambda r, z: z,
}


def fuse(dpe: Array, dse: Array, mode: str = "sum") -> Float:
    """M = F(R, Z) pixel by pixel: ``"sum"``, ``"product"``, ``"max"``, or one map alone.

    >>> fuse(np.array([[[0.5]]]), np.array([[[0.25]]]), "product").tolist()
    [[[0.125]]]
    """
    fused = np.zeros(dpe.shape)
    for pixel in pixels(dpe.shape):
        fused[pixel] = FUSIONS[mode](float(dpe[pixel]), float(dse[pixel]))
    return fused


class Mining(NamedTuple):
    """The settings of the loss weight module."""

    cells: Cells = (8, 8)
    bin_size: float = 10.0
    depth_range: tuple[float, float] = (1.0, 256.0)
    fusion: str = "sum"
    ignore_index: int = -100
    log_input: bool = True


class Maps(NamedTuple):
    """R, Z and M, each ``(B, *S)``."""

    dpe: Float
    dse: Float
    weight: Float


def loss_weight(
    input: Array,
    target: Array,
    pred_depth: Array,
    target_depth: Array,
    mining: Mining | None = None,
    *,
    depth_mask: Array | None = None,
) -> Maps:
    """The loss weight module: R and Z, and M = F(R, Z) on V_y, 0 elsewhere.

    >>> one = np.ones((1, 1, 2))
    >>> loss_weight(np.zeros((1, 2, 1, 2)), np.array([[[1, -100]]]), one, one).weight.tolist()
    [[[2.0, 0.0]]]
    """
    mining = mining or Mining()
    dpe = depth_prediction_error(
        with_channel(pred_depth, target),
        with_channel(target_depth, target),
        log_input=mining.log_input,
        depth_mask=None if depth_mask is None else with_channel(depth_mask, target),
    )
    dse = depth_aware_segmentation_error(
        input,
        target,
        target_depth,
        cells=mining.cells,
        bin_size=mining.bin_size,
        depth_range=mining.depth_range,
        ignore_index=mining.ignore_index,
        depth_mask=depth_mask,
    )
    weight = fuse(dpe, dse, mining.fusion)
    for pixel in pixels(target.shape):
        if int(target[pixel]) == mining.ignore_index:
            weight[pixel] = 0.0
    return Maps(dpe, dse, weight)


def weighted_loss(
    weight: Array,
    loss: Array,
    target: Array,
    *,
    ignore_index: int = -100,
    normalizer: float | None = None,
    class_weight: Sequence[float] | None = None,
) -> float:
    """Eq. 4: ``sum(M * loss) / n`` over V_y; 0 for an empty V_y.

    n is the caller's, or V_y's size, with class weights the sum of those of its labels.

    >>> weighted_loss(np.array([[[2.0, 1.0]]]), np.array([[[3.0, 5.0]]]), np.array([[[0, -100]]]))
    6.0
    """
    total = math.fsum(
        float(weight[pixel]) * float(loss[pixel])
        for pixel in pixels(target.shape)
        if int(target[pixel]) != ignore_index
    )
    if normalizer is None and class_weight is None:
        normalizer = float(labelled_count(target, ignore_index))
    elif normalizer is None and class_weight is not None:
        labels = [int(target[pixel]) for pixel in pixels(target.shape)]
        normalizer = math.fsum(class_weight[j] for j in labels if j != ignore_index)
    return total / (normalizer or 1.0)


# --- Eqs. 6 to 8: curriculum ----------------------------------------------------------------------


def curriculum_threshold(weight_map: Array, progress: float, mask: Array | None = None) -> Float:
    """eta_e of each image: ``u1 + e / E (u2 - u1)``, u1 the lower median of M and u2 its maximum.

    Both are taken over the mask (V_y); an image without a pixel in it has threshold 0.

    >>> curriculum_threshold(np.array([[[0.0, 1.0, 2.0, 6.0]]]), 0.5).tolist()
    [3.5]
    """
    thresholds = np.zeros(weight_map.shape[0])
    for image in range(weight_map.shape[0]):
        inside = sorted(
            float(weight_map[pixel])
            for pixel in pixels_of(image, weight_map.shape)
            if mask is None or mask[pixel]
        )
        if inside:
            u1, u2 = inside[(len(inside) - 1) // 2], inside[-1]
            thresholds[image] = u1 + progress * (u2 - u1)
    return thresholds


def curriculum_filter(weight_map: Array, progress: float, mask: Array | None = None) -> Float:
    """Eq. 8: M where ``M < eta_e`` (strictly) and 0 elsewhere; all of M from ``e >= E`` on.

    >>> curriculum_filter(np.array([[[0.0, 1.0, 2.0, 6.0]]]), 0.5).tolist()
    [[[0.0, 1.0, 2.0, 0.0]]]
    """
    threshold = curriculum_threshold(weight_map, progress, mask)
    kept = np.zeros(weight_map.shape)
    for pixel in pixels(weight_map.shape):
        value = float(weight_map[pixel])
        if progress >= 1.0 or value < threshold[pixel[0]]:
            kept[pixel] = value
    return kept


# --- Section III-C, Eqs. 5 and 9: side outputs and the whole objective ----------------------------


def upsample(logits: Array, size: Sequence[int]) -> Float:
    """Linear interpolation, ``align_corners=False``: output i samples ``(i + 1/2) in / out - 1/2``.

    >>> upsample(np.array([[[[0.0, 4.0]]]]), (1, 4)).tolist()
    [[[[0.0, 1.0, 3.0, 4.0]]]]
    """
    neighbours = []
    for inside, outside in zip(logits.shape[2:], size, strict=True):
        axis = []
        for i in range(outside):
            source = max((i + 0.5) * inside / outside - 0.5, 0.0)
            below = min(math.floor(source), inside - 1)
            share = source - below
            axis.append(((below, 1.0 - share), (min(below + 1, inside - 1), share)))
        neighbours.append(axis)
    resized = np.zeros((*logits.shape[:2], *size))
    for image, j in pixels(logits.shape[:2]):
        small = logits[image, j]
        for pixel in pixels(size):
            corners = itertools.product(
                *(axis[i] for axis, i in zip(neighbours, pixel, strict=True))
            )
            resized[image, j][pixel] = math.fsum(
                float(small[tuple(at for at, _ in corner)])
                * math.prod(share for _, share in corner)
                for corner in corners
            )
    return resized


def resize_nearest(values: Array, size: Sequence[int]) -> Array:
    """A per-pixel map ``(B, *S)`` at another size: output i takes input ``floor(i * in / out)``.

    >>> resize_nearest(np.array([[[1, 2, 3, 4, 5]]]), (1, 2)).tolist()
    [[[1, 3]]]
    """
    resized = np.zeros((values.shape[0], *size), dtype=values.dtype)
    for pixel in pixels(size):
        source = tuple(
            i * inside // outside
            for i, inside, outside in zip(pixel, values.shape[1:], size, strict=True)
        )
        for image in range(values.shape[0]):
            resized[image][pixel] = values[image][source]
    return resized


class Terms(NamedTuple):
    """The terms of Eqs. 5 and 9; ``sides`` before beta, ``weight`` as it was applied to L_h."""

    total: float
    segmentation: float
    depth: float
    hard: float
    sides: tuple[float, ...]
    weight: Float


def total_loss(
    logits: Array,
    target: Array,
    pred_depth: Array,
    target_depth: Array,
    side_logits: Sequence[Array] = (),
    *,
    alpha: float = 1.0,
    beta: float = 0.1,
    mining: Mining | None = None,
    progress: float = 1.0,
    resize: str = "logits",
    depth_mask: Array | None = None,
    class_weight: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
    normalizer: float | None = None,
    depth_normalizer: float | None = None,
) -> Terms:
    """Eq. 9, L_T; from ``progress = e / E >= 1`` on it is Eq. 5, L_HPM.

    A side output is compared at the target's size (``resize="logits"``) or at its own size with
    the nearest label and depths (``resize="target"``).

    >>> one, zeros = np.ones((1, 1, 1)), np.zeros((1, 2, 1, 1))
    >>> terms = total_loss(zeros, np.array([[[1]]]), one, one, [zeros])
    >>> round(terms.segmentation, 4), terms.depth, round(terms.hard, 4), round(terms.total, 4)
    (0.6931, 1.0, 1.3863, 3.2181)
    """
    mining = mining or Mining()
    ignore_index = mining.ignore_index

    def weighted(weight: Array, scores: Array, labels: Array) -> float:
        loss = cross_entropy(
            scores,
            labels,
            ignore_index=ignore_index,
            class_weight=class_weight,
            label_smoothing=label_smoothing,
        )
        return weighted_loss(
            weight,
            loss,
            labels,
            ignore_index=ignore_index,
            normalizer=normalizer,
            class_weight=class_weight,
        )

    def mined(
        scores: Array, labels: Array, predicted: Array, measured: Array, mask: Array | None
    ) -> tuple[float, Float]:
        weight = loss_weight(scores, labels, predicted, measured, mining, depth_mask=mask).weight
        kept = curriculum_filter(weight, progress, labels != ignore_index)
        return weighted(kept, scores, labels), kept

    pred_depth, target_depth = with_channel(pred_depth, target), with_channel(target_depth, target)
    depth_mask = None if depth_mask is None else with_channel(depth_mask, target)
    predicted, measured = pred_depth[:, 0], target_depth[:, 0]
    mask = None if depth_mask is None else depth_mask[:, 0]
    l_s = weighted(np.ones(target.shape), logits, target)
    l_d = log_depth_mse(
        pred_depth,
        target_depth,
        log_input=mining.log_input,
        depth_mask=depth_mask,
        normalizer=depth_normalizer,
    )
    l_h, kept = mined(logits, target, predicted, measured, mask)
    l_hk = []
    for side in side_logits:
        if resize == "logits":
            scores = upsample(side, target.shape[1:])
            l_hk.append(mined(scores, target, predicted, measured, mask)[0])
        else:
            size = side.shape[2:]
            labels = resize_nearest(target, size)
            small = [resize_nearest(depth, size) for depth in (predicted, measured)]
            small_mask = None if mask is None else resize_nearest(mask, size)
            l_hk.append(mined(side, labels, small[0], small[1], small_mask)[0])
    total = l_s + l_d + alpha * l_h + beta * math.fsum(l_hk)
    return Terms(total, l_s, l_d, l_h, tuple(l_hk), kept)


# --- Table IV: the rivals -------------------------------------------------------------------------


def labelled_pixels(image: int, target: Array, ignore_index: int) -> list[Pixel]:
    """The pixels of one image in V_y.

    >>> labelled_pixels(0, np.array([[[4, -100]]]), -100)
    [(0, 0, 0)]
    """
    return [p for p in pixels_of(image, target.shape) if int(target[p]) != ignore_index]


def true_class_probability(logits: Array, target: Array, ignore_index: int = -100) -> Float:
    """Probability of the true class at each labelled pixel, 1 elsewhere.

    >>> true_class_probability(np.zeros((1, 4, 1, 1)), np.array([[[2]]])).tolist()
    [[[0.25]]]
    """
    loss = cross_entropy(logits, target, ignore_index=ignore_index)
    probability = np.ones(target.shape)
    for pixel in pixels(target.shape):
        probability[pixel] = math.exp(-float(loss[pixel]))
    return probability


def ohem_weight(
    logits: Array,
    target: Array,
    threshold: float = 0.7,
    min_kept: int = 10_000,
    ignore_index: int = -100,
) -> Float:
    """Online hard example mining: 1 where the true class is improbable, 0 elsewhere.

    That is ``p_true < threshold``, or among the image's ``min_kept`` lowest, ties included.

    >>> logits = np.array([[[[0.0, 5.0, 9.0]], [[0.0, 0.0, 0.0]]]])
    >>> ohem_weight(logits, np.zeros((1, 1, 3), dtype=int), min_kept=2).tolist()
    [[[1.0, 1.0, 0.0]]]
    """
    probability = true_class_probability(logits, target, ignore_index)
    weight = np.zeros(target.shape)
    for image in range(target.shape[0]):
        inside = labelled_pixels(image, target, ignore_index)
        for pixel in inside:
            lower = sum(probability[other] < probability[pixel] for other in inside)
            weight[pixel] = float(probability[pixel] < threshold or lower < min_kept)
    return weight


def focal_weight(
    logits: Array, target: Array, gamma: float = 2.0, ignore_index: int = -100
) -> Float:
    """Focal loss as a weight: ``(1 - p_true) ** gamma`` on V_y, 0 elsewhere.

    >>> focal_weight(np.zeros((1, 2, 1, 1)), np.array([[[0]]])).tolist()
    [[[0.25]]]
    """
    probability = true_class_probability(logits, target, ignore_index)
    weight = np.zeros(target.shape)
    for pixel in pixels(target.shape):
        if int(target[pixel]) != ignore_index:
            weight[pixel] = (1.0 - float(probability[pixel])) ** gamma
    return weight


def loss_max_pooling(losses: Sequence[float], ratio: float = 0.3, p: float = 1.7) -> list[float]:
    """Loss max-pooling of one image (Rota Bulo et al., CVPR 2017).

    The weights w that maximise ``sum(w * losses)`` under ``norm_p(w) <= n ** (-1 / q)`` and
    ``max(w) <= tau``, with ``tau = n ** (-1 / q) * m ** (-1 / p)`` and m supporting pixels.

    >>> [round(w, 6) for w in loss_max_pooling([1.0, 2.0, 3.0], ratio=1.0)]
    [0.333333, 0.333333, 0.333333]
    """
    n = len(losses)
    q = p / (p - 1.0)
    m = max(ratio * n, 1.0)
    tau = n ** (-1.0 / q) * m ** (-1.0 / p)
    ascending = sorted(range(n), key=lambda i: losses[i])
    below, level, running = 0, 0.0, 0.0
    for i, index in enumerate(ascending, start=1):
        running += losses[index] ** q
        c = m - n + i
        if c > 0.0 and c * losses[index] ** q <= running:
            below, level = i, (running / c) ** (1.0 / q)
    weight = [tau] * n
    for index in ascending[:below]:
        # A loss of zero at level zero gains nothing from weight; zero keeps the norm's constraint.
        weight[index] = tau * (losses[index] / level) ** (q - 1.0) if level > 0.0 else 0.0
    return weight


def loss_max_pooling_weight(
    logits: Array, target: Array, ratio: float = 0.3, p: float = 1.7, ignore_index: int = -100
) -> Float:
    """Loss max-pooling on the cross-entropy, times each image's labelled pixels; 0 outside V_y.

    Eq. 4 then gives the mean over images, weighted by their labelled pixels.

    >>> loss_max_pooling_weight(np.zeros((1, 2, 1, 1)), np.array([[[0]]])).tolist()
    [[[1.0]]]
    """
    loss = cross_entropy(logits, target, ignore_index=ignore_index)
    weight = np.zeros(target.shape)
    for image in range(target.shape[0]):
        inside = labelled_pixels(image, target, ignore_index)
        if inside:
            pooled = loss_max_pooling([float(loss[pixel]) for pixel in inside], ratio, p)
            for pixel, value in zip(inside, pooled, strict=True):
                weight[pixel] = len(inside) * value
    return weight
