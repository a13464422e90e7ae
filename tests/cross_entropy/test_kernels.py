"""The Triton kernels: on the CPU through Triton's interpreter, on a GPU as they are.

The interpreter takes about 20 ms for a step of a loop, so the problems are tiny here and the
blocks with them: several programs to an image, several chunks to the classes.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

if not torch.cuda.is_available():
    # Before triton is first imported: that is when it decides.
    os.environ.setdefault("TRITON_INTERPRET", "1")
pytest.importorskip("triton", reason="the kernels need triton")

import lwm_loss as lwm
from lwm_loss.cross_entropy import kernels, launch
from lwm_loss.cross_entropy.dispatch import pixel_cross_entropy
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

# The interpreter's own dealings with numpy, in the oldest triton that is supported.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning"),
    # numpy speaks of inf - inf, and the like, where a GPU is silent.
    pytest.mark.filterwarnings(
        "ignore:(invalid value|overflow|divide by zero|All-NaN):RuntimeWarning"
    ),
]
HAS_CUDA = torch.cuda.is_available()
needs_cuda = pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA device")
on_both = pytest.mark.parametrize(
    "device",
    [
        pytest.param(
            "cpu",
            id="interpreter",
            marks=pytest.mark.skipif(HAS_CUDA, reason="the kernels run on the CUDA device"),
        ),
        pytest.param("cuda", marks=[pytest.mark.cuda, needs_cuda]),
    ],
)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs and chunks so small that tiny problems take several of each."""
    monkeypatch.setattr(launch, "BLOCK", 16)
    monkeypatch.setattr(launch, "SOURCE_BLOCK", 8)
    monkeypatch.setattr(launch, "CHUNK", 4)


def test_the_kernels_can_run_at_all() -> None:
    interpreted = type(kernels.forward_kernel).__name__ == "InterpretedFunction"
    assert interpreted != HAS_CUDA, (
        "triton was imported before TRITON_INTERPRET=1 was set: tests/conftest.py has to set it"
    )


FULL = [
    Case(size=(1, 1), images=1, classes=1),
    Case(size=(1, 1), images=3, classes=2, ignored=0.0),
    Case(size=(4, 4), classes=4),  # exactly one block, exactly one chunk
    Case(size=(4, 8), classes=8, weighted=True),  # exactly two of each
    Case(size=(3, 7), classes=5, smoothing=0.1),  # one and a bit of each
    Case(size=(5, 7), classes=9, weighted=True, smoothing=0.1),
    Case(size=(5, 7), classes=9, weighted=True, smoothing=1.0),
    Case(ignored=1.0, weighted=True, smoothing=0.1),
    Case(ignored=0.0),
    Case(ties=True, classes=7, ignored=0.0),
    Case(size=(2, 3, 5)),
    Case(size=(2, 3, 5), layout="channels_last", dtype=torch.bfloat16, weighted=True),
    Case(size=(2, 3, 5), layout="transposed"),
    Case(size=(2, 3, 5), layout="strided"),
    *[Case(layout=layout, weighted=True) for layout in LAYOUTS],
    *[Case(dtype=dtype, ties=True, smoothing=0.2) for dtype in DTYPES],
    *[Case(dtype=dtype, layout="channels_last") for dtype in DTYPES],
    *[
        Case(size=(3, 7), classes=9, odd=odd, odd_at=at, smoothing=smoothing, ignored=0.3)
        for odd in (torch.nan, torch.inf, -torch.inf)
        for at, smoothing in (("anywhere", 0.0), ("ignored", 0.1), ("label", 0.0), ("label", 0.1))
    ],
    Case(size=(3, 7), classes=9, odd=-torch.inf, weighted=True, smoothing=0.1),
]


@pytest.mark.slow
@on_both
@pytest.mark.parametrize("case", FULL, ids=str)
@pytest.mark.usefixtures("small_blocks")
def test_at_the_size_of_the_labels(case: Case, device: str) -> None:
    check(launch, case, device)


LOW = [
    Case(size=(4, 5), source=(2, 3), images=1, classes=3, weighted=True, smoothing=0.1),
    Case(size=(4, 6), source=(3, 4), images=2, classes=3, dtype=torch.bfloat16),  # two programs
    Case(size=(3, 2), source=(5, 4), images=1, classes=5, ties=True, layout="channels_last"),
    Case(size=(1, 4), source=(3, 1), images=1, classes=3, dtype=torch.float16, layout="strided"),
    Case(size=(3, 3), source=(1, 1), images=1, classes=2, ignored=1.0, weighted=True),
    *[
        Case(size=(5, 6), source=(3, 3), images=1, classes=5, odd=odd, smoothing=0.1)
        for odd in (torch.nan, torch.inf, -torch.inf)
    ],
]


@on_both
@pytest.mark.parametrize("case", LOW, ids=str)
@pytest.mark.usefixtures("small_blocks")
def test_at_another_size(case: Case, device: str) -> None:
    check(launch, case, device)


@pytest.mark.slow
@on_both
@pytest.mark.parametrize("source", [(4, 6), (3, 1)], ids=str)
@pytest.mark.parametrize("size", [(8, 12), (9, 7), (5, 3), (2, 3), (13, 1), (1, 16)], ids=str)
@pytest.mark.usefixtures("small_blocks")
def test_interpolation_at_any_ratio(
    size: tuple[int, int], source: tuple[int, int], device: str
) -> None:
    case = Case(size=size, source=source, images=1, classes=3, ignored=0.1, weighted=True)
    check(launch, case, device)


@pytest.mark.slow
@on_both
@pytest.mark.parametrize("size", [(6, 7), (3, 4)], ids=str)
@pytest.mark.usefixtures("small_blocks")
def test_an_image_of_nan_reaches_no_other(size: tuple[int, int], device: str) -> None:
    # It lies right behind the first image's last score, where an index too far would end up.
    problem = build(Case(size=size, source=(3, 4), images=2, classes=3), device)
    problem.logits[1] = torch.nan
    loss, _, top = launch.forward(problem.logits, problem.target, PLAIN)
    grad = launch.backward(problem.grad, problem.logits, problem.target, top, PLAIN)
    assert bool(loss[0].isfinite().all())
    assert bool(grad[0].isfinite().all())


@pytest.mark.slow
@on_both
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.usefixtures("small_blocks")
def test_no_worse_than_torch_in_the_same_dtype(dtype: torch.dtype, device: str) -> None:
    case = Case(size=(4, 9), classes=21, dtype=dtype, smoothing=0.1)
    # The interpreter's conversion to bfloat16 truncates; that of a GPU rounds to nearest.
    truncates = device == "cpu" and dtype == torch.bfloat16
    assert_as_precise_as_torch(launch, case, device, truncates=truncates)


@pytest.mark.slow
@on_both
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [1e4, -6e4])
@pytest.mark.usefixtures("small_blocks")
def test_an_offset_that_all_scores_share_costs_no_digits(
    offset: float, weighted: bool, device: str
) -> None:
    case = Case(size=(4, 9), classes=21, offset=offset, smoothing=0.1, weighted=weighted)
    assert_as_precise_as_torch(launch, case, device)


@on_both
@pytest.mark.usefixtures("small_blocks")
def test_a_class_that_is_ruled_out_at_every_source(device: str) -> None:
    problem = build(Case(size=(4, 5), source=(2, 3), images=1, classes=3, ignored=0.0), device)
    problem.logits[:, 2] = -torch.inf
    target = problem.target % 2
    problem = problem._replace(target=target)
    loss, wrong, top = launch.forward(problem.logits, target, PLAIN)
    grad = launch.backward(problem.grad, problem.logits, target, top, PLAIN)
    truth = oracle(problem)
    torch.testing.assert_close(loss.double(), truth.loss, rtol=1e-5, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(grad.double(), truth.grad, rtol=1e-5, atol=1e-5, equal_nan=True)
    assert torch.equal(wrong, truth.wrong)


@on_both
def test_blocks_of_the_real_size(device: str) -> None:
    check(launch, Case(size=(13, 21), images=2, classes=40, weighted=True), device)


@pytest.mark.slow
@on_both
@pytest.mark.parametrize("source", [None, (2, 3)])
@pytest.mark.usefixtures("small_blocks")
def test_first_class_wins_a_tie(source: tuple[int, int] | None, device: str) -> None:
    logits = torch.zeros(1, 6, *(source or (4, 5)), device=device)
    logits[:, 3:6] = 1.0  # classes 3 and 4 meet in different chunks
    for label in range(6):
        target = torch.full((1, 4, 5), label, device=device)
        _, wrong, _ = launch.forward(logits, target, PLAIN)
        assert bool((wrong == (label != 3)).all())


@on_both
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.usefixtures("small_blocks")
def test_classes_that_are_ruled_out(dtype: torch.dtype, device: str) -> None:
    problem = build(Case(dtype=dtype, classes=9, size=(3, 4)), device)
    problem.logits[:, :5] = -torch.inf  # the whole first chunk, and more
    target = torch.where(problem.target == VOID, VOID, 6)
    target[0, 0, 0] = 0  # ruled out and true: the loss is infinite and stays so
    problem = problem._replace(target=target)
    loss, wrong, top = launch.forward(problem.logits, target, PLAIN)
    grad = launch.backward(problem.grad, problem.logits, target, top, PLAIN)
    truth = oracle(problem)
    assert bool(torch.isposinf(loss[0, 0, 0]))
    torch.testing.assert_close(loss.double(), truth.loss, rtol=1e-5, atol=1e-5)
    assert torch.equal(wrong, truth.wrong)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(grad.double(), truth.grad, rtol=2 * eps, atol=1e-6)


@on_both
@pytest.mark.usefixtures("small_blocks")
def test_nan_stays_visible(device: str) -> None:
    problem = build(Case(ignored=0.0, size=(3, 4)), device)
    problem.logits[0, 2, 1, 1] = torch.nan
    loss, _, top = launch.forward(problem.logits, problem.target, PLAIN)
    assert bool(loss[0, 1, 1].isnan())
    assert int(loss.isnan().sum()) == 1
    grad = launch.backward(problem.grad, problem.logits, problem.target, top, PLAIN)
    assert int(grad.isnan().sum()) == problem.logits.shape[1]


@on_both
@pytest.mark.parametrize("void", [-100, -1, 255, 2**40])
@pytest.mark.usefixtures("small_blocks")
def test_an_ignored_label_is_never_an_index(void: int, device: str) -> None:
    problem = build(Case(weighted=True, size=(3, 4)), device)
    target = torch.where(problem.target == VOID, void, problem.target)
    settings = Settings(problem.weight, void)
    loss, _, top = launch.forward(problem.logits, target, settings)
    grad = launch.backward(problem.grad, problem.logits, target, top, settings)
    truth = oracle(problem)
    torch.testing.assert_close(loss.double(), truth.loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grad.double(), truth.grad, rtol=1e-5, atol=1e-6)


# --- on a GPU only: what the interpreter cannot show ---------------------------------------------

SIDES = ((12, 16), (6, 8), (3, 4), (2, 2))


def objective_batch() -> list[torch.Tensor]:
    noise = torch.Generator().manual_seed(0)
    target = torch.randint(5, (2, 48, 64), generator=noise)
    target[torch.rand(target.shape, generator=noise) < 0.2] = VOID
    depth = 1 + 200 * torch.rand(2, 48, 64, generator=noise)
    log_depth = depth.log() + 0.1 * torch.randn(2, 48, 64, generator=noise)
    sides = [torch.randn(2, 5, *size, generator=noise) for size in SIDES]
    logits = torch.randn(2, 5, 48, 64, generator=noise)
    return [tensor.cuda() for tensor in (logits, target, log_depth, depth, *sides)]


def objective_step(loss: lwm.HardPixelMiningLoss, batch: list[torch.Tensor]) -> list[torch.Tensor]:
    """The total and the gradients of everything that has one."""
    logits, target, log_depth, depth, *sides = batch
    leaves = [tensor.detach().requires_grad_() for tensor in (logits, log_depth, *sides)]
    terms = loss(leaves[0], target, leaves[1], depth, side_logits=leaves[2:])
    return [terms.total.detach(), *torch.autograd.grad(terms.total, leaves)]


def whole_objective() -> lwm.HardPixelMiningLoss:
    curriculum = lwm.SelfPacedCurriculum(4)
    curriculum.step()
    return lwm.HardPixelMiningLoss(4, curriculum=curriculum, ignore_index=VOID).cuda()


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_objective_agrees_with_its_plain_form(dtype: torch.dtype) -> None:
    class Unrecognised(nn.CrossEntropyLoss):
        """Cross-entropy that takes the ordinary road, for it is not the class itself."""

    batch = [t.to(dtype) if t.is_floating_point() else t for t in objective_batch()]
    fused = whole_objective()
    plain = whole_objective()
    plain.criterion = Unrecognised(ignore_index=VOID, reduction="none")
    ours, theirs = objective_step(fused, batch), objective_step(plain, batch)
    eps = torch.finfo(dtype).eps
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=max(1e-4, 2 * eps), atol=1e-5)


@pytest.mark.cuda
@needs_cuda
def test_the_objective_in_a_cuda_graph() -> None:
    loss, batch = whole_objective(), objective_batch()
    expected = objective_step(loss, batch)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            objective_step(loss, batch)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = objective_step(loss, batch)
    graph.replay()
    torch.testing.assert_close(captured, expected)
    # New values in the same memory: the graph computes, it does not remember.
    batch[0].mul_(-1)
    graph.replay()
    torch.testing.assert_close(captured, objective_step(loss, batch))
    assert not torch.equal(captured[0], expected[0])


@pytest.mark.cuda
@needs_cuda
def test_the_objective_is_deterministic() -> None:
    loss, batch = whole_objective(), objective_batch()
    torch.use_deterministic_algorithms(True)
    try:
        first, *others = [objective_step(loss, batch) for _ in range(3)]
    finally:
        torch.use_deterministic_algorithms(False)
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.cuda
@needs_cuda
def test_nothing_waits_for_the_device() -> None:
    loss, batch = whole_objective(), objective_batch()
    objective_step(loss, batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        objective_step(loss, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
@needs_cuda
def test_compiled_by_inductor() -> None:
    loss, batch = whole_objective(), objective_batch()
    compiled = torch.compile(loss, fullgraph=True)
    torch.testing.assert_close(
        objective_step(compiled, batch), objective_step(loss, batch), rtol=1e-4, atol=1e-6
    )


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("layout", LAYOUTS)
def test_operator_contract(layout: str) -> None:
    from lwm_loss.cross_entropy.operators import fused_forward

    logits, target, weight, _ = build(Case(layout=layout, weighted=True), "cuda")
    torch.library.opcheck(fused_forward, (logits.requires_grad_(), target, weight, VOID, 0.1))


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_more_than_two_to_the_thirty_one_scores(layout: str) -> None:
    classes, height, width = 3, 27_000, 27_000  # 2.19e9 scores, 4.4 GB of bfloat16
    if torch.cuda.mem_get_info()[0] < 32e9:
        pytest.skip("needs 32 GB of free memory on the CUDA device")
    shape = (1, classes, height, width)
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    logits = torch.zeros(shape, dtype=torch.bfloat16, device="cuda").to(memory_format=memory)
    target = torch.zeros((1, height, width), dtype=torch.long, device="cuda")
    # The last row holds values of its own, and its true class the highest addresses there are.
    last = torch.randn(classes, width, dtype=torch.bfloat16, device="cuda")
    logits[0, :, -1] = last
    target[0, -1] = 2
    logits.requires_grad_()
    loss, wrong = pixel_cross_entropy(logits, target, impl="fused")
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    expected = nn.functional.cross_entropy(last.float().T, target[0, -1], reduction="none")
    torch.testing.assert_close(loss[0, -1], expected)
    assert torch.equal(wrong[0, -1], last.float().argmax(0) != 2)
    truth = last.float().softmax(0)
    truth[2] -= 1
    torch.testing.assert_close(grad[0, :, -1].float(), truth, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(
        loss[0, 0], torch.full((width,), 3.0, device="cuda").log(), rtol=1e-5, atol=1e-5
    )
