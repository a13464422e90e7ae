"""What the tests of every form of the one-pass cross-entropy share: cases, and an oracle.

The oracle is torch's own `interpolate` + `cross_entropy` + `argmax` in float64, and autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lwm_loss.cross_entropy.settings import Settings

VOID = 255
PLAIN = Settings(None, VOID)


@dataclass(frozen=True)
class Case:
    """One problem. `source` is the size of the logits where it is not the labels'.

    `odd_at` other than "anywhere" is for logits at the size of the labels.
    """

    size: tuple[int, ...] = (5, 7)
    source: tuple[int, ...] | None = None
    images: int = 2
    classes: int = 5
    dtype: torch.dtype = torch.float32
    ignored: float = 0.2
    weighted: bool = False
    smoothing: float = 0.0
    ties: bool = False
    layout: str = "contiguous"
    offset: float = 0.0  # that all scores have in common
    odd: float | None = None  # NaN or an infinity, which some of the scores are
    odd_at: str = "anywhere"  # or "ignored", or "label": the label's own score
    seed: int = 0

    def __str__(self) -> str:
        default = Case()
        parts = [
            f"{name}={value}"
            for name, value in vars(self).items()
            if value != getattr(default, name)
        ]
        return ",".join(parts).replace(" ", "") or "default"


class Problem(NamedTuple):
    logits: Tensor
    target: Tensor
    weight: Tensor | None
    grad: Tensor


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.contiguous(),
    "channels_last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
    "transposed": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "batch last": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    "strided": lambda x: x.repeat_interleave(2, -1).repeat_interleave(2, 1)[:, ::2, ..., ::2],
    "strided channels_last": lambda x: LAYOUTS["channels_last"](x.repeat_interleave(2, -1))[
        ..., ::2
    ],
    "offset": lambda x: F.pad(x, (1, 2))[..., 1:-2],
}


def build(case: Case, device: str = "cpu") -> Problem:
    """The tensors of a case, from a generator of their own."""
    noise = torch.Generator().manual_seed(case.seed)
    source = case.size if case.source is None else case.source

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=noise, dtype=torch.float64)

    logits = 3 * normal(case.images, case.classes, *source)
    if case.ties:
        # Whole classes alike tie at every size; rounded scores only where nothing interpolates.
        logits[:, 1::2] = logits[:, : 2 * (case.classes // 2) : 2]
        logits = logits.round() if case.source is None else logits
    target = torch.randint(case.classes, (case.images, *case.size), generator=noise)
    target[torch.rand(target.shape, generator=noise) < case.ignored] = VOID
    if case.odd is not None:
        chosen = torch.rand(logits.shape, generator=noise) < 0.1
        if case.odd_at == "ignored":
            chosen |= (target == VOID).unsqueeze(1)
            chosen &= (target == VOID).unsqueeze(1)
        elif case.odd_at == "label":
            own = torch.arange(case.classes).reshape(-1, *[1] * len(case.size))
            chosen = own == torch.where(target % 2 == 0, target, VOID).unsqueeze(1)
        logits[chosen] = case.odd
    logits += case.offset
    weight = normal(case.classes).abs().float() if case.weighted else None
    grad = normal(*target.shape)
    if case.layout == "transposed":  # of all tensors, for none is asked to be contiguous
        target, grad = LAYOUTS["transposed"](target), LAYOUTS["transposed"](grad)
    return Problem(
        LAYOUTS[case.layout](logits.to(device, case.dtype)),
        target.to(device),
        None if weight is None else weight.to(device),
        grad.to(device, torch.float64 if case.dtype == torch.float64 else torch.float32),
    )


class Answer(NamedTuple):
    loss: Tensor
    wrong: Tensor
    grad: Tensor


def plain(problem: Problem, smoothing: float, dtype: torch.dtype) -> Answer:
    """torch's own road in a dtype, interpolation included; an ignored score is worth nothing."""
    logits = problem.logits.detach().to(dtype).requires_grad_()
    size = problem.target.shape[1:]
    full = logits
    if logits.shape[2:] != size:
        mode = "bilinear" if len(size) == 2 else "trilinear"
        full = F.interpolate(logits, size, mode=mode, align_corners=False)
    full = torch.where((problem.target == VOID).unsqueeze(1), 0, full)
    loss = F.cross_entropy(
        full,
        problem.target,
        None if problem.weight is None else problem.weight.to(dtype),
        ignore_index=VOID,
        reduction="none",
        label_smoothing=smoothing,
    )
    (grad,) = torch.autograd.grad(loss, logits, problem.grad.to(dtype))
    wrong = (full.argmax(1) != problem.target) & (problem.target != VOID)
    return Answer(loss.detach(), wrong, grad)


def oracle(problem: Problem, smoothing: float = 0.0) -> Answer:
    """The truth, in float64."""
    return plain(problem, smoothing, torch.float64)


@contextmanager
def filled_memory() -> Iterator[None]:
    """Memory that nobody writes holds NaN (or 255) here: torch fills it when told to be exact."""
    torch.use_deterministic_algorithms(True)
    try:
        assert bool(torch.empty(4096).isnan().all())
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def assert_accurate(ours: Tensor, truth: Tensor, dtype: torch.dtype, arithmetic: float) -> None:
    """Within a few roundings of the arithmetic, and one of the dtype that the result is kept in."""
    kept = torch.finfo(dtype).eps if dtype in (torch.float16, torch.bfloat16) else 0.0
    tiny = torch.finfo(dtype).tiny if kept else 0.0
    bound = kept * truth.abs() + tiny + arithmetic * (1 + truth.abs())
    error = (ours.double() - truth).abs()
    same = (ours == truth) | (ours.isnan() & truth.isnan())
    assert bool(((error <= bound) & truth.isfinite() | same).all()), (
        f"off by {float((error - bound)[~same].max()):g}"
    )


def check(engine: ModuleType, case: Case, device: str = "cpu") -> None:
    """Forward and backward of one form against the oracle: values, dtypes, strides, every pixel."""
    problem = build(case, device)
    settings = Settings(problem.weight, VOID, case.smoothing)
    with filled_memory():
        loss, wrong, top = engine.forward(problem.logits, problem.target, settings)
        grad = engine.backward(problem.grad, problem.logits, problem.target, top, settings)
    wide = torch.float64 if case.dtype == torch.float64 else torch.float32
    low = case.source is not None
    # Whether a share is exactly 0, and so 0 * inf a NaN, is a matter of the dtype.
    truth = plain(problem, case.smoothing, wide if low and case.odd else torch.float64)
    arithmetic = (64 if low else 16) * torch.finfo(wide).eps

    assert loss.dtype == top.dtype == wide
    assert wrong.dtype == torch.bool
    assert loss.shape == wrong.shape == top.shape[1:] == problem.target.shape
    assert case.odd is not None or bool(top.isfinite().all())
    assert_accurate(loss, truth.loss, wide, arithmetic)
    assert torch.equal(wrong, truth.wrong)
    # A bool made of another byte than 0 and 1 compares equal and still counts wrongly.
    assert int(wrong.view(torch.uint8).max()) <= 1

    assert grad.dtype == case.dtype
    assert grad.shape == problem.logits.shape
    assert grad.stride() == torch.empty_like(problem.logits).stride()
    assert_accurate(grad, truth.grad, case.dtype, arithmetic * gathered(case))
    ignored = problem.target == VOID
    assert loss[ignored].count_nonzero() == 0
    if not low:
        assert grad.movedim(1, -1)[ignored].count_nonzero() == 0


def gathered(case: Case) -> float:
    """About how many pixels add up to the gradient of one score."""
    if case.source is None:
        return 1.0
    share = 1.0
    for full, low in zip(case.size, case.source, strict=True):
        share *= max(1.0, 2 * full / low)
    return share


def assert_as_precise_as_torch(
    engine: ModuleType, case: Case, device: str = "cpu", *, truncates: bool = False
) -> None:
    """|truth - ours| <= |truth - torch in the same dtype| + a rounding, pixel by pixel.

    `truncates` says that what stores the gradient cuts digits off instead of rounding them.
    """
    problem = build(case, device)
    settings = Settings(problem.weight, VOID, case.smoothing)
    loss, _, top = engine.forward(problem.logits, problem.target, settings)
    grad = engine.backward(problem.grad, problem.logits, problem.target, top, settings)
    truth, rival = oracle(problem, case.smoothing), plain(problem, case.smoothing, case.dtype)
    single = 8 * torch.finfo(torch.float32).eps
    # The gradient is rounded to the dtype of the logits, however exact it was before.
    kept = max(single, torch.finfo(case.dtype).eps * (1.0 if truncates else 0.5))
    for ours, theirs, exact, rounding in (
        (loss, rival.loss, truth.loss, single),
        (grad, rival.grad, truth.grad, kept),
    ):
        error = (exact - ours.double()).abs()
        bound = (exact - theirs.double()).abs() + single * gathered(case) + rounding * exact.abs()
        assert bool((error <= bound).all()), f"off by {float((error - bound).max()):g}"
