"""The one-pass cross-entropy as torch sees it: operators, autograd, transforms, compilers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad

import lwm_loss as lwm
from lwm_loss.cross_entropy import chunked, pixel_cross_entropy
from lwm_loss.cross_entropy.operators import fused_backward, fused_forward
from tests.cross_entropy.support import LAYOUTS, VOID, Case, Problem, build, oracle

LOW = Case(size=(6, 8), source=(3, 5), weighted=True, smoothing=0.1)
SAME = Case(size=(5, 7), weighted=True, smoothing=0.1)
BOTH = pytest.mark.parametrize("case", [SAME, LOW], ids=["same size", "low resolution"])


class Spy:
    """Counts the passes of the fused form, and keeps the sizes of the logits it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.forward = self.backward = 0
        self.sizes: list[torch.Size] = []
        for name in ("forward", "backward"):
            monkeypatch.setattr(chunked, name, self._counting(name, getattr(chunked, name)))

    def _counting(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        def counting(*args: Tensor) -> object:
            setattr(self, name, getattr(self, name) + 1)
            if name == "forward":
                self.sizes.append(args[0].shape[2:])
            return function(*args)

        return counting

    @property
    def passes(self) -> tuple[int, int]:
        return self.forward, self.backward


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)


def loss_of(
    case: Case, impl: str = "auto", problem: Problem | None = None
) -> Callable[..., Tensor]:
    """The loss of a case's target as a function of the logits alone."""
    problem = build(case) if problem is None else problem

    def loss(logits: Tensor) -> Tensor:
        value, _ = pixel_cross_entropy(
            logits,
            problem.target,
            ignore_index=VOID,
            weight=problem.weight,
            label_smoothing=case.smoothing,
            impl=impl,
        )
        return value

    return loss


# --- the contract of an operator -----------------------------------------------------------------


# opcheck itself looks at the gradient of a tensor that is no leaf, and newer torch says so.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@BOTH
@pytest.mark.parametrize(
    ("layout", "dtype"),
    [
        *((layout, torch.float64) for layout in LAYOUTS),
        *(("channels_last", dtype) for dtype in (torch.float32, torch.bfloat16)),
    ],
    ids=str,
)
def test_opcheck(case: Case, layout: str, dtype: torch.dtype) -> None:
    options = {**vars(case), "dtype": dtype, "layout": layout}
    problem = build(Case(**options))
    logits = problem.logits.requires_grad_()
    settings = (problem.weight, VOID, case.smoothing)
    torch.library.opcheck(fused_forward, (logits, problem.target, *settings))
    with torch.no_grad():
        _, _, top = fused_forward(logits, problem.target, *settings)
    torch.library.opcheck(
        fused_backward, (problem.grad, logits.detach(), problem.target, top, *settings)
    )


def test_fake_tensors_have_the_shapes_of_real_ones() -> None:
    for case in (SAME, LOW, Case(size=(2, 3, 4), layout="channels_last")):
        for dtype in (torch.float64, torch.float16):
            problem = build(Case(**{**vars(case), "dtype": dtype}))
            options = (problem.weight, VOID, case.smoothing)
            real = fused_forward(problem.logits, problem.target, *options)
            real += (
                fused_backward(problem.grad, problem.logits, problem.target, real[2], *options),
            )
            mode = FakeTensorMode()
            logits, target, weight, grad = (
                None if tensor is None else mode.from_tensor(tensor) for tensor in problem
            )
            with mode:
                options = (weight, VOID, case.smoothing)
                fake = fused_forward(logits, target, *options)
                fake += (fused_backward(grad, logits, target, fake[2], *options),)
            for one, other in zip(fake, real, strict=True):
                assert one.shape == other.shape
                assert one.dtype == other.dtype
                assert one.stride() == other.stride()


def test_two_numbers_a_pixel_are_kept_for_backward() -> None:
    problem = build(SAME)
    logits = problem.logits.requires_grad_()
    inputs = {t.untyped_storage().data_ptr() for t in (logits, problem.target, problem.weight)}
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in inputs:
            kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = loss_of(SAME, problem=problem)(logits)
    assert [tensor.shape for tensor in kept] == [(2, *loss.shape)]


# --- derivatives ---------------------------------------------------------------------------------


@pytest.mark.slow
@BOTH
def test_first_derivative(case: Case, spy: Spy) -> None:
    problem = build(Case(**{**vars(case), "dtype": torch.float64}))
    loss = loss_of(case)
    assert torch.autograd.gradcheck(loss, problem.logits.requires_grad_())
    assert spy.backward > 0
    (grad,) = torch.autograd.grad(loss(problem.logits), problem.logits, problem.grad)
    torch.testing.assert_close(grad, oracle(problem, case.smoothing).grad)


@pytest.mark.slow
@BOTH
def test_second_derivative_falls_back(case: Case, spy: Spy) -> None:
    problem = build(Case(**{**vars(case), "dtype": torch.float64, "size": (2, 3), "images": 1}))
    loss = loss_of(Case(**{**vars(case), "size": (2, 3), "images": 1}))
    assert torch.autograd.gradgradcheck(loss, problem.logits.requires_grad_())
    assert spy.forward > 0


def test_penalty_on_the_gradient() -> None:
    """What double backward is for."""
    answers = []
    for impl in ("fused", "torch"):
        problem = build(SAME)
        logits = problem.logits.double().requires_grad_()
        (grad,) = torch.autograd.grad(loss_of(SAME, impl)(logits).sum(), logits, create_graph=True)
        answers.append(torch.autograd.grad(grad.square().sum(), logits)[0])
    torch.testing.assert_close(answers[0], answers[1])
    assert bool(answers[0].count_nonzero() > 0)


ODD = (torch.nan, torch.inf, -torch.inf)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("source", [None, (3, 5)])
@pytest.mark.parametrize("how", ["torch", "fused", "graph of the gradient", "transform"])
def test_ignored_is_ignored_in_every_form(
    how: str, source: tuple[int, int] | None, odd: float
) -> None:
    case = Case(
        size=(6, 8), source=source, odd=odd, weighted=True, smoothing=0.1, ignored=0.5, images=3
    )
    problem = build(case)
    problem.target[1] = VOID  # an image by itself, as a side output may have
    problem.logits[1] = odd
    problem.logits[2] = problem.logits[0].nan_to_num(0, 0, 0)
    truth = oracle(problem, case.smoothing)
    loss = loss_of(case, "torch" if how == "torch" else "auto", problem)
    logits = problem.logits.requires_grad_()
    if how == "transform":
        _, pull = torch.func.vjp(loss, logits)
        (grad,) = pull(problem.grad)
    else:
        graph = how == "graph of the gradient"
        (grad,) = torch.autograd.grad(loss(logits), logits, problem.grad, create_graph=graph)
    torch.testing.assert_close(
        grad.detach().double(), truth.grad, rtol=1e-5, atol=1e-5, equal_nan=True
    )
    assert grad[1].count_nonzero() == 0
    assert bool(grad[2].isfinite().all())


def test_ignored_is_ignored_in_the_second_derivative() -> None:
    problem = build(Case(dtype=torch.float64, odd=torch.nan, odd_at="ignored"))
    logits = problem.logits.requires_grad_()
    loss = loss_of(Case(), problem=problem)(logits)
    (grad,) = torch.autograd.grad(loss.sum(), logits, create_graph=True)
    (second,) = torch.autograd.grad(grad.square().sum(), logits)
    assert bool(second.isfinite().all())
    ignored = (problem.target == VOID).unsqueeze(1)
    assert (second * ignored).count_nonzero() == 0
    assert second.count_nonzero() > 0


def test_no_gradient_where_none_is_asked_for(spy: Spy) -> None:
    logits = build(SAME).logits
    assert not loss_of(SAME)(logits).requires_grad
    with torch.no_grad():
        assert not loss_of(SAME)(logits.requires_grad_()).requires_grad
    with torch.inference_mode():
        loss_of(SAME)(logits.detach())
    assert spy.passes == (3, 0)


def test_an_expanded_gradient_of_a_sum() -> None:
    """`sum().backward()` hands over one number with strides of 0."""
    problem = build(LOW)
    logits = problem.logits.requires_grad_()
    loss_of(LOW)(logits).sum().backward()
    ones = problem._replace(grad=torch.ones_like(problem.grad), logits=problem.logits.detach())
    truth = oracle(ones, LOW.smoothing).grad
    torch.testing.assert_close(logits.grad.double(), truth, rtol=1e-5, atol=1e-5)


# --- which road is taken -------------------------------------------------------------------------


@pytest.mark.parametrize("case", [SAME, LOW, Case(size=(2, 3, 4))], ids=str)
def test_auto_takes_the_fused_form(case: Case, spy: Spy) -> None:
    logits = build(case).logits.requires_grad_()
    loss_of(case)(logits).sum().backward()
    assert spy.passes == (1, 1)


def test_both_forms_agree_and_only_one_is_fused(spy: Spy) -> None:
    problem = build(LOW)
    plain = loss_of(LOW, "torch")(problem.logits)
    assert spy.passes == (0, 0)
    torch.testing.assert_close(loss_of(LOW, "fused")(problem.logits), plain)
    assert spy.passes == (1, 0)


def test_volumes_of_another_size_fall_back(spy: Spy) -> None:
    problem = build(Case(size=(4, 6, 5), source=(2, 3, 2)))
    loss, wrong = pixel_cross_entropy(problem.logits, problem.target, ignore_index=VOID)
    truth = oracle(problem)
    torch.testing.assert_close(loss.double(), truth.loss, rtol=1e-5, atol=1e-5)
    assert torch.equal(wrong, truth.wrong)
    assert spy.passes == (0, 0)


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)])
def test_no_pixels(shape: tuple[int, ...]) -> None:
    logits = torch.zeros(shape, requires_grad=True)
    loss, wrong = pixel_cross_entropy(logits, torch.zeros(shape[0], *shape[2:]).long())
    assert loss.shape == wrong.shape == (shape[0], *shape[2:])
    loss.sum().backward()
    assert logits.grad is not None


@pytest.mark.parametrize("size", [(0, 5), (4, 0)])
def test_no_pixels_but_scores_at_another_size(size: tuple[int, int]) -> None:
    logits = torch.ones(2, 3, 2, 2, requires_grad=True)
    loss, wrong = pixel_cross_entropy(logits, torch.zeros(2, *size, dtype=torch.long))
    assert loss.shape == wrong.shape == (2, *size)
    loss.sum().backward()
    assert torch.equal(logits.grad, torch.zeros(2, 3, 2, 2))


@pytest.mark.parametrize("impl", ["torch", "auto"])
@pytest.mark.parametrize("shape", [(41,), (2,), (0,), (3, 1), ()])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_of_the_wrong_length(
    impl: str, shape: tuple[int, ...], smoothing: float
) -> None:
    logits, target = torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    for scores in (logits, logits.half(), torch.zeros(1, 3, 2, 2)):
        with pytest.raises(ValueError, match="Expected `weight`") as error:
            pixel_cross_entropy(
                scores, target, weight=torch.ones(shape), label_smoothing=smoothing, impl=impl
            )
        assert str(error.value) == (
            "Expected `weight` to hold one weight for each of the 3 classes of the scores, "
            f"shape (3,), but got shape {shape}."
        )


def test_class_weights_of_the_wrong_length_when_compiled() -> None:
    torch._dynamo.reset()
    logits, target = torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    compiled = torch.compile(pixel_cross_entropy, backend="eager")
    with pytest.raises(ValueError, match="each of the 3 classes"):
        compiled(logits, target, weight=torch.ones(2))


def test_class_weights_on_another_device_or_none() -> None:
    logits, target = torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"Expected `weight` on the device of `logits`, cpu"):
        pixel_cross_entropy(logits, target, weight=torch.ones(3, device="meta"))
    with pytest.raises(TypeError, match=r"Expected `weight` to be a torch.Tensor, but got list"):
        pixel_cross_entropy(logits, target, weight=[1.0, 1.0, 1.0])


@pytest.mark.parametrize("smoothing", [-0.1, 1.5, float("nan")])
def test_label_smoothing_out_of_range(smoothing: float) -> None:
    logits, target = torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"Expected `label_smoothing` to be in \[0, 1\], but got"):
        pixel_cross_entropy(logits, target, label_smoothing=smoothing)


def test_a_form_that_is_none() -> None:
    problem = build(SAME)
    with pytest.raises(ValueError, match="Expected `impl` to be one of"):
        pixel_cross_entropy(problem.logits, problem.target, impl="triton")


@pytest.mark.parametrize(
    "case", [Case(size=(4, 6, 5), source=(2, 3, 2)), Case(size=(0, 3))], ids=["volume", "empty"]
)
def test_fused_is_refused_where_it_cannot_run(case: Case) -> None:
    problem = build(case)
    with pytest.raises(ValueError, match="did you mean impl='auto'"):
        pixel_cross_entropy(problem.logits, problem.target, ignore_index=VOID, impl="fused")


# --- function transforms, compilers, autocast ----------------------------------------------------


# torch itself scripts a few rules when forward mode is first used.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_function_transforms_fall_back(spy: Spy) -> None:
    problem = build(Case())

    def one(logits: Tensor, target: Tensor) -> Tensor:
        return pixel_cross_entropy(logits[None], target[None], ignore_index=VOID)[0].sum()

    truth = oracle(problem._replace(grad=torch.ones_like(problem.grad)))
    per_image = torch.func.vmap(one)(problem.logits, problem.target)
    torch.testing.assert_close(per_image.double(), truth.loss.sum((1, 2)), rtol=1e-5, atol=1e-5)
    grads = torch.func.vmap(torch.func.grad(one))(problem.logits, problem.target)
    torch.testing.assert_close(grads.double(), truth.grad, rtol=1e-5, atol=1e-5)
    logits, target = problem.logits[0, :, :2, :2].double(), problem.target[0, :2, :2]
    hessian = torch.func.hessian(one)(logits, target)
    assert hessian.shape == (*logits.shape, *logits.shape)
    assert bool(hessian.isfinite().all())
    _, slope = torch.func.jvp(lambda x: one(x, target), (logits,), (torch.ones_like(logits),))
    assert abs(slope.item()) < 1e-9  # adding the same to all scores changes no probability
    assert spy.passes == (0, 0)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_dual_tensors_keep_their_tangent() -> None:
    problem = build(Case(dtype=torch.float64))
    loss = loss_of(Case(), problem=problem)
    direction = torch.ones_like(problem.logits).cumsum(1)
    with forward_ad.dual_level():
        value = loss(forward_ad.make_dual(problem.logits, direction))
        tangent = forward_ad.unpack_dual(value).tangent
    _, expected = torch.func.jvp(loss, (problem.logits,), (direction,))
    torch.testing.assert_close(tangent, expected)


def test_jacobians_of_many_directions_at_once() -> None:
    problem = build(Case(size=(1, 2), images=1))
    jacobian = torch.autograd.functional.jacobian(
        loss_of(Case(), problem=problem), problem.logits, vectorize=True
    )
    for pixel in range(2):
        grad = torch.zeros_like(problem.grad)
        grad[..., pixel] = 1.0
        truth = oracle(problem._replace(grad=grad)).grad
        torch.testing.assert_close(jacobian[0, 0, pixel].double(), truth, rtol=1e-5, atol=1e-6)


def test_targets_under_vmap_alone() -> None:
    problem = build(Case(images=1))
    targets = torch.stack([problem.target, problem.target.flip(1)])
    losses = torch.func.vmap(
        lambda target: pixel_cross_entropy(problem.logits, target, ignore_index=VOID)[0]
    )(targets)
    for target, loss in zip(targets, losses, strict=True):
        torch.testing.assert_close(
            loss.double(), oracle(problem._replace(target=target)).loss, rtol=1e-5, atol=1e-5
        )


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_in_one_piece_and_still_fused(case: Case, dynamic: bool, spy: Spy) -> None:
    torch._dynamo.reset()
    problem = build(case)
    loss = loss_of(case)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    logits = problem.logits.requires_grad_()
    value = compiled(logits)
    (grad,) = torch.autograd.grad(value, logits, problem.grad)
    assert spy.passes == (1, 1)
    truth = oracle(problem, case.smoothing)
    torch.testing.assert_close(value.double(), truth.loss, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(grad.double(), truth.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@BOTH
def test_ignored_pixels_are_written_when_compiled(case: Case) -> None:
    """What an operator leaves unwritten would come out of a compiler as garbage."""
    torch._dynamo.reset()
    case = Case(**{**vars(case), "ignored": 1.0})
    logits = build(case).logits.requires_grad_()
    compiled = torch.compile(loss_of(case), fullgraph=True, backend="aot_eager")
    torch.use_deterministic_algorithms(True)
    try:
        value = compiled(logits)
        (grad,) = torch.autograd.grad(value.sum(), logits)
    finally:
        torch.use_deterministic_algorithms(False)
    assert value.count_nonzero() == grad.count_nonzero() == 0


def test_autocast_changes_nothing() -> None:
    problem = build(Case(dtype=torch.bfloat16))
    outside = loss_of(Case())(problem.logits)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss_of(Case())(problem.logits)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


def test_two_runs_are_equal_to_the_last_bit() -> None:
    problem = build(LOW)
    runs = []
    for _ in range(2):
        logits = problem.logits.detach().requires_grad_()
        value = loss_of(LOW)(logits)
        runs.append((value.detach(), *torch.autograd.grad(value, logits, problem.grad)))
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


# --- the whole objective -------------------------------------------------------------------------


SIZES = [(12, 16), (6, 8), (3, 4), (2, 2), (1, 1)]  # of the output and its sides


class Unrecognised(nn.CrossEntropyLoss):
    """Cross-entropy that takes the ordinary road, for it is not the class itself."""


def objective_step(
    criterion: nn.Module | None, num_sides: int, resize: str = "logits"
) -> tuple[Tensor, ...]:
    noise = torch.Generator().manual_seed(0)
    target = torch.randint(5, (2, 12, 16), generator=noise)
    target[torch.rand(target.shape, generator=noise) < 0.2] = VOID
    depth = 1 + 200 * torch.rand(2, 12, 16, generator=noise)
    log_depth = depth.log() + 0.1 * torch.randn(2, 12, 16, generator=noise)
    scores = [
        torch.randn(2, 5, *size, generator=noise).requires_grad_()
        for size in SIZES[: 1 + num_sides]
    ]
    curriculum = lwm.SelfPacedCurriculum(4)
    curriculum.step()
    loss = lwm.HardPixelMiningLoss(
        num_sides, curriculum=curriculum, criterion=criterion, ignore_index=VOID, resize=resize
    )
    terms = loss(scores[0], target, log_depth.requires_grad_(), depth, side_logits=scores[1:])
    return terms.total, *torch.autograd.grad(terms.total, [*scores, log_depth])


@pytest.mark.parametrize("num_sides", [0, 4])
def test_the_objective_reads_each_output_once(num_sides: int, spy: Spy) -> None:
    fused = objective_step(None, num_sides)
    assert spy.passes == (1 + num_sides, 1 + num_sides)
    assert spy.sizes == SIZES[: 1 + num_sides]  # nobody has interpolated a side before
    plain = objective_step(Unrecognised(ignore_index=VOID, reduction="none"), num_sides)
    assert spy.passes == (1 + num_sides, 1 + num_sides)
    for one, other in zip(fused, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_sides_at_their_own_size(spy: Spy) -> None:
    fused = objective_step(None, 4, resize="target")
    assert spy.passes == (5, 5)
    plain = objective_step(Unrecognised(ignore_index=VOID, reduction="none"), 4, resize="target")
    for one, other in zip(fused, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_class_weights_and_smoothing_reach_the_fused_form(spy: Spy) -> None:
    options = {
        "weight": torch.tensor([0.5, 2.0, 1.0, 0.0, 3.0]),
        "label_smoothing": 0.1,
        "ignore_index": VOID,
        "reduction": "none",
    }
    fused = objective_step(nn.CrossEntropyLoss(**options), 1)
    assert spy.passes == (2, 2)
    for one, other in zip(fused, objective_step(Unrecognised(**options), 1), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


FIRST_STEP = """
import sys, torch, lwm_loss as lwm
logits, log_depth = torch.zeros(1, 3, 4, 5, requires_grad=True), torch.zeros(1, 4, 5)
objective = lwm.HardPixelMiningLoss(0, curriculum=lwm.SelfPacedCurriculum(2))
target = torch.zeros(1, 4, 5, dtype=torch.long)
objective(logits, target, log_depth, torch.ones(1, 4, 5)).total.backward()
assert "torch._dynamo" not in sys.modules
"""


@pytest.mark.slow
def test_a_first_step_does_not_load_the_compiler() -> None:
    """Which takes as long as hundreds of steps."""
    subprocess.run([sys.executable, "-c", FIRST_STEP], check=True)
