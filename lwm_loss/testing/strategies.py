"""Hypothesis strategies for everything that a depth-privileged loss is given.

Values are bounded and lie on small grids that every float dtype holds exactly, so that ties, exact
bin edges and repeated errors are common. A tensor is drawn as one string of bytes and a seed, each
byte naming an entry of a palette whose first entry is the dullest: examples shrink fast, to small
images full of dull values. Pass ``jitter=True`` to `batches` for values without ties.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

Cells = tuple[int, ...] | Literal["pixel"]

MISSING = (0.0, -1.0, math.nan, math.inf, -math.inf)
BIN_SIZES = (10.0, 1.0, 2.5, 7.0, 0.3, 32.0, 300.0)
DEPTH_RANGES = ((1.0, 256.0), (0.0, 10.0), (0.5, 8.0))


class Batch(NamedTuple):
    """One batch and the settings to mine it with.

    Attributes:
        logits: class scores ``(B, C, *S)``.
        target: labels ``(B, *S)`` in ``[0, C)`` or ``ignore_index``.
        pred_depth: predicted log-depth ``(B, *S)`` or ``(B, 1, *S)``.
        target_depth: depth, partly missing, with ``pred_depth``'s shape.
        depth_mask: booleans ``(B, *S)``, or None.
        cells: the grid of cells, or ``"pixel"``.
        bin_size: size of a depth bin.
        depth_range: lowest and highest depth.
        ignore_index: the label of pixels without a class.
    """

    logits: Tensor
    target: Tensor
    pred_depth: Tensor
    target_depth: Tensor
    depth_mask: Tensor | None
    cells: Cells
    bin_size: float
    depth_range: tuple[float, float]
    ignore_index: int


@st.composite
def _from_palette(
    draw: st.DrawFn, shape: Sequence[int], palette: Sequence[float], dtype: torch.dtype
) -> Tensor:
    count = math.prod(shape)
    chosen = draw(st.binary(min_size=count, max_size=count))
    # Hypothesis' mutations often leave long strings all zero; the seed keeps those values diverse.
    # Seed 0, where shrinking ends, adds nothing.
    seed = draw(st.integers(0, 2**16))
    shifts = random.Random(seed).randbytes(count) if seed else bytes(count)
    values = [
        palette[(byte + shift) % 256 % len(palette)]
        for byte, shift in zip(chosen, shifts, strict=True)
    ]
    wide = torch.float64 if dtype.is_floating_point else torch.int64
    return torch.tensor(values, dtype=wide).reshape(tuple(shape)).to(dtype)


def sizes(
    min_dims: int = 2, max_dims: int = 3, max_side: int = 9, max_pixels: int = 56
) -> st.SearchStrategy[tuple[int, ...]]:
    """Image sizes ``(H, W)`` from 1 x 1 up and volumes ``(D, H, W)`` of at least two slices.

    >>> from hypothesis import find
    >>> find(sizes(), lambda size: True)
    (1, 1)
    """
    side = st.integers(1, max_side)
    plane = st.tuples(side, side)
    volume = st.tuples(st.integers(2, 4), side, side)
    kinds = {2: plane, 3: volume}
    return st.one_of(*(kinds[dims] for dims in range(min_dims, max_dims + 1))).filter(
        lambda size: math.prod(size) <= max_pixels
    )


def logits(
    shape: Sequence[int], dtype: torch.dtype = torch.float32, bound: float = 8.0
) -> st.SearchStrategy[Tensor]:
    """Class scores of this shape, multiples of ``bound / 128`` in ``[-bound, bound]``.

    >>> from hypothesis import find
    >>> find(logits((1, 2, 1, 1)), lambda scores: True).flatten()
    tensor([0., 0.])
    """
    step = bound / 128
    palette = [step * (k // 2 + 1 if k % 2 else -k // 2) for k in range(256)]
    return _from_palette(shape, palette, dtype)


@st.composite
def targets(
    draw: st.DrawFn,
    shape: Sequence[int],
    num_classes: int,
    ignore_index: int = -100,
    dtype: torch.dtype = torch.int64,
) -> Tensor:
    """Labels of this shape: none, some or all of them ignored.

    >>> from hypothesis import find
    >>> find(targets((1, 1, 2), 3, ignore_index=255), lambda labels: bool((labels == 255).all()))
    tensor([[[255, 255]]])
    """
    ignored = {"none": 0, "some": max(1, num_classes // 2), "all": 1}
    kind = draw(st.sampled_from(["some", "some", "some", "none", "all"]))
    classes = [] if kind == "all" else list(range(num_classes))
    return draw(_from_palette(shape, classes + [ignore_index] * ignored[kind], dtype))


@st.composite
def depths(
    draw: st.DrawFn,
    shape: Sequence[int],
    bin_size: float = 10.0,
    depth_range: tuple[float, float] = (1.0, 256.0),
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Target depth of this shape, with none, some or all of it missing.

    Plain depths, exact bin edges and their neighbours, depths outside the range, and missing ones:
    zero, negative, NaN, infinite.

    >>> from hypothesis import find
    >>> find(depths((1, 1, 2)), lambda depth: bool((depth > 0).all()))
    tensor([[[6., 6.]]])
    """
    low, high = depth_range
    eps = torch.finfo(dtype).eps
    plain = [low + bin_size / 2] + [low + (high - low) * (k + 1) / 40 for k in range(40)]
    bins = max(1, math.ceil((high - low) / bin_size))
    edges = [low + bin_size * k for k in range(min(bins, 12) + 1)] + [high]
    edges = [edge for edge in edges if edge > 0.0]
    edges += [edge * (1 - eps) for edge in edges] + [edge * (1 + eps) for edge in edges]
    outside = [max(low, 0.25) / 2, high * 1.5, high * 4]
    kind = draw(st.sampled_from(["some", "some", "some", "none", "all"]))
    missing = {"none": [], "some": list(MISSING) * 6, "all": list(MISSING)}[kind]
    return draw(
        _from_palette(shape, missing if kind == "all" else plain + edges + outside + missing, dtype)
    )


def log_depths(
    shape: Sequence[int],
    depth_range: tuple[float, float] = (1.0, 256.0),
    dtype: torch.dtype = torch.float32,
) -> st.SearchStrategy[Tensor]:
    """Predicted log-depth of this shape, multiples of 1/16 about the logarithm of the range.

    >>> from hypothesis import find
    >>> find(log_depths((1, 1, 1)), lambda log_depth: True)
    tensor([[[0.]]])
    """
    top = math.floor(16 * math.log(depth_range[1])) + 2
    return _from_palette(shape, [k / 16 for k in range(top)], dtype)


def masks(shape: Sequence[int]) -> st.SearchStrategy[Tensor]:
    """Boolean masks of this shape, three quarters of them true.

    >>> from hypothesis import find
    >>> find(masks((1, 1, 1)), lambda mask: True)
    tensor([[[True]]])
    """
    return _from_palette(shape, [1, 1, 1, 0], torch.int64).map(lambda mask: mask.bool())


def cell_grids(dims: int) -> st.SearchStrategy[Cells]:
    """Grids of cells for images of two or three axes, with the paper's extremes.

    >>> from hypothesis import find
    >>> find(cell_grids(2), lambda cells: True)
    (1, 1)
    """
    count = st.integers(1, 9)
    plane = st.tuples(count, count)
    grids: st.SearchStrategy[Cells] = st.one_of(st.just((1, 1)), plane, st.just((8, 8)))
    if dims == 3:
        grids = st.one_of(grids, st.tuples(count, count, count))
    return st.one_of(grids, st.just("pixel"))


@st.composite
def batches(
    draw: st.DrawFn,
    *,
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64),
    dims: Sequence[int] = (2, 3),
    max_images: int = 3,
    max_classes: int = 5,
    max_side: int = 9,
    max_pixels: int = 56,
    jitter: bool = False,
) -> Batch:
    """Whole batches with the settings to mine them.

    Args:
        draw: hypothesis passes it.
        dtypes: float dtypes of logits and depths (target depth may be float32 all the same).
        dims: numbers of spatial axes.
        max_images: largest batch.
        max_classes: most classes, at least two.
        max_side: longest side.
        max_pixels: most pixels of an image.
        jitter: add small noise to logits and predicted depth, so that no two values tie.

    >>> from hypothesis import find
    >>> find(batches(), lambda batch: True).logits.flatten()
    tensor([0., 0.])
    """
    dtype = draw(st.sampled_from(list(dtypes)))
    size = draw(sizes(min(dims), max(dims), max_side, max_pixels))
    images = draw(st.integers(1, max_images))
    classes = draw(st.integers(2, max_classes))
    ignore_index = draw(st.sampled_from([-100, 255, -1]))
    bin_size = draw(st.sampled_from(BIN_SIZES))
    depth_range = draw(st.sampled_from(DEPTH_RANGES))
    map_shape = (images, *size)
    depth_shape = (images, 1, *size) if draw(st.booleans()) else map_shape
    depth_dtype = draw(st.sampled_from([dtype, torch.float32]))
    batch = Batch(
        logits=draw(logits((images, classes, *size), dtype)),
        target=draw(targets(map_shape, classes, ignore_index)),
        pred_depth=draw(log_depths(depth_shape, depth_range, dtype)),
        target_depth=draw(depths(depth_shape, bin_size, depth_range, depth_dtype)),
        depth_mask=draw(st.none() | masks(map_shape)),
        cells=draw(cell_grids(len(size))),
        bin_size=bin_size,
        depth_range=depth_range,
        ignore_index=ignore_index,
    )
    if not jitter:
        return batch
    noise = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    return batch._replace(
        logits=batch.logits + torch.rand(batch.logits.shape, generator=noise, dtype=dtype) / 16,
        pred_depth=batch.pred_depth
        + (1 + torch.rand(batch.pred_depth.shape, generator=noise, dtype=dtype)) / 32,
    )
