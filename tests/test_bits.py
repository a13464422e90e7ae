"""Masks by bits and comparisons by numpy against `where` and torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from lwm_loss._bits import as_bool, is_eager, keep, narrow_labels
from lwm_loss._pixels import depth_pixels, labelled_pixels

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
ODD = [0.0, -0.0, 1e-45, 3.0, -3.0, torch.inf, -torch.inf, torch.nan]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("transposed", [False, True])
def test_keep_is_where(dtype: torch.dtype, transposed: bool) -> None:
    values = torch.tensor(ODD * 2, dtype=dtype).reshape(4, 4)
    pixels = torch.arange(16).reshape(4, 4) % 3 == 0
    if transposed:
        values, pixels = values.t(), pixels.t()
    kept = keep(values, pixels)
    assert kept.dtype == dtype
    assert torch.equal(kept.nan_to_num(7.0), torch.where(pixels, values, 0).nan_to_num(7.0))


def test_the_gradient_is_exactly_0_where_nothing_is_kept() -> None:
    values = torch.tensor([1.0, torch.nan, 2.0, torch.inf], requires_grad=True)
    pixels = torch.tensor([True, False, True, False])
    (grad,) = torch.autograd.grad(
        keep(values, pixels), values, torch.tensor([5.0, torch.nan, 3, 2])
    )
    assert grad.tolist() == [5.0, 0.0, 3.0, 0.0]


def test_shapes_are_broadcast_as_by_where() -> None:
    values = torch.tensor([[1.0, torch.nan, 3.0]], requires_grad=True)
    pixels = torch.tensor([[True, False, True], [False, False, True]])
    kept = keep(values, pixels)
    assert kept.tolist() == [[1.0, 0.0, 3.0], [0.0, 0.0, 3.0]]
    (grad,) = torch.autograd.grad(kept.sum(), values)
    assert grad.tolist() == [[1.0, 0.0, 2.0]]


def test_keep_can_be_differentiated_twice() -> None:
    values = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    pixels = torch.tensor([[True, False, True], [False, True, True]])
    assert torch.autograd.gradgradcheck(lambda v: keep(v, pixels).pow(3), values)


def test_gradients_of_many_directions_at_once() -> None:
    values = torch.randn(2, 3, requires_grad=True)
    pixels = torch.tensor([[True, False, True], [False, True, True]])
    directions = torch.randn(4, 2, 3)
    (grads,) = torch.autograd.grad(keep(values, pixels), values, directions, is_grads_batched=True)
    assert torch.equal(grads, torch.where(pixels, directions, 0))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_depth_is_known_where_it_is_finite_and_positive(dtype: torch.dtype) -> None:
    depth = torch.tensor(ODD, dtype=dtype)
    known = [value > 0 and value < float("inf") for value in depth.tolist()]
    assert depth_pixels(depth).tolist() == known
    assert depth_pixels(depth.requires_grad_()).tolist() == known


def test_what_is_recorded_is_computed_by_torch() -> None:
    """A trace that numpy computed would hold the answer of the first batch for ever."""

    def program(depth: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert not is_eager(depth)
        known = depth_pixels(depth)
        return known, labelled_pixels(target, 255), keep(depth, known)

    first = torch.tensor([1.0, -1.0]), torch.tensor([255, 0])
    other = torch.tensor([-2.0, 2.0]), torch.tensor([1, 255])
    known, labelled, kept = make_fx(program)(*first)(*other)
    assert known.tolist() == [False, True]
    assert labelled.tolist() == [True, False]
    assert kept.tolist() == [0.0, 2.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("ignored", [-100, 255, 2**31 - 1, 2**31, 2**32 + 1, -(2**40)])
def test_an_ignored_label_is_ignored_however_wide_it_is(ignored: int, dtype: torch.dtype) -> None:
    target = torch.tensor([[0, 1, ignored], [ignored, 3, 0]])
    label, labelled = narrow_labels(target, ignored, dtype)
    assert labelled.tolist() == [[1, 1, 0], [0, 1, 1]]
    assert label.where(labelled == 1, -7).tolist() == [[0, 1, -7], [-7, 3, 0]]
    assert as_bool(labelled).tolist() == [[True, True, False], [False, True, True]]
