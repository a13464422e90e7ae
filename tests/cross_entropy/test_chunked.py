"""The CPU form of the one-pass cross-entropy: blocks of rows against the plain road."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from unittest import mock

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lwm_loss.cross_entropy import chunked
from lwm_loss.cross_entropy.settings import Settings
from tests.cross_entropy.support import (
    LAYOUTS,
    PLAIN,
    VOID,
    Case,
    assert_as_precise_as_torch,
    build,
    check,
    oracle,
)

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
ODD = (torch.nan, torch.inf, -torch.inf)
ONE_ROW = 1  # a block never gets smaller than a row


def blocks_of(elements: int) -> AbstractContextManager[object]:
    """Blocks of this many elements for each thread."""
    return mock.patch.object(chunked, "BLOCK_ELEMENTS", elements)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any shape, dtype, layout and option; logits at the labels' size or at any other."""
    axes = draw(st.sampled_from([2, 2, 3]))
    size = tuple(draw(st.lists(st.integers(1, 9), min_size=axes, max_size=axes)))
    source = None
    if axes == 2 and draw(st.booleans()):
        source = (draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    return Case(
        size=size,
        source=None if source == size else source,
        images=draw(st.integers(1, 3)),
        classes=draw(st.integers(1, 6)),
        dtype=draw(st.sampled_from(DTYPES)),
        ignored=draw(st.sampled_from([0.0, 0.3, 1.0])),
        weighted=draw(st.booleans()),
        smoothing=draw(st.sampled_from([0.0, 0.0, 0.1, 1.0])),
        ties=draw(st.booleans()),
        layout=draw(st.sampled_from(sorted(LAYOUTS))),
        odd=draw(st.sampled_from([None, None, *ODD])),
        odd_at="anywhere" if source else draw(st.sampled_from(["anywhere", "ignored", "label"])),
        seed=draw(st.integers(0, 1000)),
    )


@pytest.mark.slow
@given(case=cases(), block=st.sampled_from([ONE_ROW, 40, 100, chunked.BLOCK_ELEMENTS]))
@example(case=Case(size=(1, 1), images=1, classes=1), block=ONE_ROW)
@example(case=Case(size=(7, 5), classes=2), block=30)  # blocks of 3 rows: 3 + 3 + 1
@example(case=Case(size=(7, 5), classes=2, source=(3, 2)), block=30)
@example(case=Case(size=(6, 5), classes=2), block=30)  # no row left over
@example(case=Case(size=(9, 9), source=(1, 1)), block=ONE_ROW)
@example(case=Case(size=(1, 9), source=(9, 1)), block=ONE_ROW)
@settings(max_examples=200)
def test_against_the_plain_road(case: Case, block: int) -> None:
    with blocks_of(block):
        check(chunked, case)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("source", [None, (3, 4), (11, 16)])
def test_every_dtype_and_layout(
    dtype: torch.dtype, layout: str, source: tuple[int, int] | None
) -> None:
    case = Case(size=(6, 9), source=source, dtype=dtype, layout=layout, weighted=True)
    with blocks_of(2 * 5 * 9):
        check(chunked, case)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_an_image_that_is_one_block(dtype: torch.dtype) -> None:
    """Its scores are contiguous and are not copied, unless they are narrow."""
    check(chunked, Case(dtype=dtype, weighted=True))


@pytest.mark.parametrize("ratio", [(4, 4), (4, 8), (32, 16), (5, 3)])
def test_the_ratios_of_side_outputs(ratio: tuple[int, int]) -> None:
    source = (3, 4)
    case = Case(size=(3 * ratio[0], 4 * ratio[1]), source=source, dtype=torch.float64)
    with blocks_of(7 * 5 * case.size[1]):
        check(chunked, case)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
@pytest.mark.parametrize("source", [None, (4, 5)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_no_worse_than_torch_in_the_same_dtype(
    dtype: torch.dtype, source: tuple[int, int] | None, smoothing: float
) -> None:
    case = Case(size=(12, 15), source=source, classes=40, dtype=dtype, smoothing=smoothing)
    assert_as_precise_as_torch(chunked, case)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("odd_at", ["anywhere", "ignored", "label"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_that_are_not_finite(
    odd: float, odd_at: str, smoothing: float, weighted: bool
) -> None:
    case = Case(
        size=(6, 9), odd=odd, odd_at=odd_at, weighted=weighted, smoothing=smoothing, ignored=0.3
    )
    with blocks_of(2 * 5 * 9):
        check(chunked, case)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("source", [(3, 4), (11, 16), (6, 3), (1, 1), (2, 3)])
def test_only_pixels_made_of_a_source_that_is_not_finite_are_hit(
    odd: float, source: tuple[int, int]
) -> None:
    with blocks_of(2 * 5 * 9):
        check(chunked, Case(size=(6, 9), source=source, odd=odd, smoothing=0.1))


def test_a_source_under_ignored_pixels_alone_is_not_noticed() -> None:
    logits, target, _, grad = build(Case(size=(32, 32), source=(8, 8), images=1, classes=3))
    target[:, :10, :10] = VOID
    clean = logits.clone()
    logits[0, 0, 0, 0] = torch.nan
    loss, wrong, top = chunked.forward(logits, target, PLAIN)
    back = chunked.backward(grad, logits, target, top, PLAIN)
    expected = chunked.forward(clean, target, PLAIN)
    torch.testing.assert_close((loss, wrong), expected[:2])
    expected_back = chunked.backward(grad, clean, target, expected[2], PLAIN)
    torch.testing.assert_close(back, expected_back, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("source", [None, (3, 4)])
def test_a_gradient_that_is_not_finite_reaches_only_its_own_sources(
    source: tuple[int, int] | None,
) -> None:
    problem = build(Case(size=(6, 9), source=source, images=1, ignored=0.0))
    problem.grad[0, 5, 8] = torch.nan
    problem.target[0, 0, 0] = VOID
    problem.grad[0, 0, 0] = torch.inf  # at an ignored pixel: nobody asks
    _, _, top = chunked.forward(problem.logits, problem.target, PLAIN)
    back = chunked.backward(problem.grad, problem.logits, problem.target, top, PLAIN)
    finite = problem._replace(grad=problem.grad.clone())
    finite.grad[0, 0, 0] = 0.0
    truth = oracle(finite).grad
    assert bool(truth.isnan().any())
    torch.testing.assert_close(back.double(), truth, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("offset", [1e2, 1e4, -6e4])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_an_offset_that_all_scores_share_costs_no_digits(
    offset: float, smoothing: float, weighted: bool
) -> None:
    case = Case(
        size=(12, 15),
        classes=40,
        offset=offset,
        smoothing=smoothing,
        weighted=weighted,
        ignored=0.1,
    )
    assert_as_precise_as_torch(chunked, case)


def test_two_scores_far_from_zero() -> None:
    logits = torch.tensor([[[[10000.25]], [[9994.0]]]])
    target = torch.zeros(1, 1, 1, dtype=torch.long)
    _, _, top = chunked.forward(logits, target, PLAIN)
    grad = chunked.backward(torch.ones(1, 1, 1), logits, target, top, PLAIN)
    assert grad.flatten().tolist() == pytest.approx([-0.00192673, 0.00192673], rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_size_of_a_block_changes_nothing(dtype: torch.dtype) -> None:
    logits, target, weight, grad = build(Case(size=(9, 4), dtype=dtype, weighted=True))
    answers = []
    for rows in (1, 2, 4, 9):
        with blocks_of(rows * 5 * 4):
            forward = chunked.forward(logits, target, Settings(weight, VOID, 0.1))
            back = chunked.backward(grad, logits, target, forward[2], Settings(weight, VOID, 0.1))
            answers.append((*forward, back))
    for answer in answers[1:]:
        torch.testing.assert_close(answer, answers[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("source", [None, (2, 3)])
def test_first_class_wins_a_tie(source: tuple[int, int] | None) -> None:
    logits = torch.zeros(1, 6, *(source or (4, 5)))
    logits[:, 2:5] = 1.0
    for label in range(6):
        target = torch.full((1, 4, 5), label)
        _, wrong, _ = chunked.forward(logits, target, PLAIN)
        assert bool((wrong == (label != 2)).all())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_classes_that_are_ruled_out(dtype: torch.dtype) -> None:
    """A score of -inf is a probability of 0: no share of the sum, no gradient."""
    problem = build(Case(dtype=dtype, classes=6))
    problem.logits[:, ::3] = -torch.inf
    target = torch.where(problem.target == VOID, VOID, 1)
    target[0, 0, 0] = 0  # a ruled-out class that is true: the loss is infinite and stays so
    problem = problem._replace(target=target)
    loss, wrong, top = chunked.forward(problem.logits, target, PLAIN)
    grad = chunked.backward(problem.grad, problem.logits, target, top, PLAIN)
    truth = oracle(problem)
    assert torch.isposinf(loss[0, 0, 0])
    torch.testing.assert_close(loss.double(), truth.loss, rtol=1e-5, atol=1e-5)
    assert torch.equal(wrong, truth.wrong)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(grad.double(), truth.grad, rtol=2 * eps, atol=1e-6)


def test_huge_scores_do_not_overflow() -> None:
    problem = build(Case(classes=4))
    problem = problem._replace(logits=problem.logits * 1e30)
    loss, wrong, top = chunked.forward(problem.logits, problem.target, PLAIN)
    truth = oracle(problem)
    torch.testing.assert_close(loss.double(), truth.loss, rtol=1e-5, atol=0.0)
    assert torch.equal(wrong, truth.wrong)
    grad = chunked.backward(problem.grad, problem.logits, problem.target, top, PLAIN)
    torch.testing.assert_close(grad.double(), truth.grad, rtol=1e-5, atol=1e-6)


def test_nan_stays_visible() -> None:
    problem = build(Case(ignored=0.0))
    problem.logits[0, 2, 1, 1] = torch.nan
    loss, _, top = chunked.forward(problem.logits, problem.target, PLAIN)
    grad = chunked.backward(problem.grad, problem.logits, problem.target, top, PLAIN)
    assert bool(loss[0, 1, 1].isnan())
    assert bool(grad[0, :, 1, 1].isnan().all())
    assert int(loss.isnan().sum()) == 1
    assert int(grad.isnan().sum()) == problem.logits.shape[1]


def test_an_ignored_label_is_never_an_index() -> None:
    for void in (-100, -1, 255, 2**40):
        problem = build(Case())
        target = torch.where(problem.target == VOID, void, problem.target)
        _, _, top = chunked.forward(problem.logits, target, Settings(None, void))
        grad = chunked.backward(problem.grad, problem.logits, target, top, Settings(None, void))
        torch.testing.assert_close(grad.double(), oracle(problem).grad, rtol=1e-5, atol=1e-6)


class Largest(TorchDispatchMode):
    """The largest storage that any operation made."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {t.untyped_storage().data_ptr() for t in args if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            new = isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in given
            if new:
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return out


def test_low_resolution_logits_never_exist_at_full_size() -> None:
    case = Case(size=(48, 32), source=(6, 4), images=2, classes=10)
    logits, target, _, grad = build(case)
    with blocks_of(2 * 10 * 32), Largest() as largest:
        _, _, top = chunked.forward(logits, target, PLAIN)
        chunked.backward(grad, logits, target, top, PLAIN)
    full = logits.element_size() * 10 * target.numel()
    one_map = 8 * target.numel()  # a map of int64, the widest thing that is allowed
    assert 0 < largest.bytes <= one_map < full / 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_nothing_of_the_size_of_the_logits_but_the_gradient(dtype: torch.dtype) -> None:
    logits, target, _, grad = build(Case(size=(48, 32), classes=20, dtype=dtype))
    with blocks_of(2 * 20 * 32):
        with Largest() as forward:
            _, _, top = chunked.forward(logits, target, PLAIN)
        with Largest() as backward:
            result = chunked.backward(grad, logits, target, top, PLAIN)
    assert forward.bytes <= 8 * target.numel()
    assert backward.bytes == result.untyped_storage().nbytes() == logits.nbytes


def test_threads_change_nothing() -> None:
    logits, target, weight, grad = build(Case(size=(40, 30), weighted=True, source=(10, 7)))
    answers = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            loss, wrong, top = chunked.forward(logits, target, Settings(weight, VOID, 0.1))
            back = chunked.backward(grad, logits, target, top, Settings(weight, VOID, 0.1))
            answers.append((loss, wrong, back))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_exponentials_that_vanish(dtype: torch.dtype) -> None:
    """Below the smallest normal number 0 or next to it; above as `math.exp`, to the dtype's digits."""
    tiny = torch.finfo(dtype).tiny
    edge = math.log(tiny)
    scores = [0.0, -1.5, edge / 2, edge + 2, edge - 1e-3, edge - 10, 2 * edge, -math.inf]
    found = chunked.exp_(torch.tensor(scores, dtype=dtype)[:, None].repeat(1, 48))
    expected = torch.tensor([math.exp(score) for score in scores], dtype=dtype)
    for values, right in zip(found, expected, strict=True):
        torch.testing.assert_close(
            values, right.expand_as(values), rtol=1e-5 if dtype == torch.float32 else 1e-12,
            atol=2.1 * tiny,
        )  # fmt: skip
    assert bool((found[-1] == 0).all())
    assert bool((chunked.exp_(torch.full((3, 4, 5), math.nan)).isnan()).all())


def test_classes_far_below_have_no_gradient_and_cost_no_precision() -> None:
    """Ten classes 100 below the others, one of them -inf, against float64."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 14, 9, 11, generator=generator)
    logits[:, :10] -= 100
    logits[:, 4] = -torch.inf
    target = torch.randint(10, 14, (2, 9, 11), generator=generator)
    _, _, top = chunked.forward(logits, target, PLAIN)
    found = chunked.backward(torch.ones(target.shape), logits, target, top, PLAIN)
    wide = logits.double().requires_grad_()
    torch.nn.functional.cross_entropy(wide, target, reduction="sum").backward()
    assert wide.grad is not None
    torch.testing.assert_close(found.double(), wide.grad, rtol=1e-5, atol=1e-7)
    assert bool((found[:, :10].abs() < 1e-37).all())
    assert bool((found[:, 4] == 0).all())
