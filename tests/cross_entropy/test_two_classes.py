"""The form for two classes against torch in float64, where it applies and where it must not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lwm_loss.cross_entropy import chunked, two_classes
from lwm_loss.cross_entropy.settings import Settings

IGNORED = 255
FORMATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def scene(dtype: torch.dtype, size: tuple[int, ...] = (7, 9)) -> tuple[Tensor, Tensor, Tensor]:
    """Scores with ties and gaps of all sizes, labels, and a gradient of the loss."""
    torch.manual_seed(3)
    logits = torch.randn(2, 2, *size, dtype=torch.float64) * torch.logspace(-3, 2, size[-1])
    logits[0, 1, 0] = logits[0, 0, 0]
    target = torch.randint(2, (2, *size))
    target[1, 2] = IGNORED
    return logits.to(dtype), target, torch.randn(2, *size)


def with_gradient(logits: Tensor, target: Tensor, grad: Tensor, weight: Tensor | None) -> Tensor:
    """The gradient by torch."""
    logits = logits.detach().double().requires_grad_()
    loss = F.cross_entropy(logits, target, weight, ignore_index=IGNORED, reduction="none")
    return torch.autograd.grad(loss, logits, grad.double())[0]


@pytest.mark.parametrize("dtype", FORMATS, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [(7, 9), (3, 4, 5)])
def test_loss_error_and_gradient_are_those_of_torch(
    dtype: torch.dtype, weighted: bool, size: tuple[int, ...]
) -> None:
    logits, target, grad = scene(dtype, size)
    weight = torch.tensor([0.3, 2.0]) if weighted else None
    settings = Settings(weight, IGNORED)
    wide = None if weight is None else weight.double()
    assert two_classes.fits(logits, target, settings)
    result = two_classes.forward(logits, target, settings)
    assert result is not None
    loss, wrong, derivative = result
    truth = F.cross_entropy(logits.double(), target, wide, ignore_index=IGNORED, reduction="none")
    digits = 1e-12 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(loss.double(), truth, rtol=digits, atol=digits * 1e-3)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(wrong, (logits.argmax(1) != target) & (target != IGNORED))
    assert derivative.shape == (1, *loss.shape)
    gradient = two_classes.backward(grad, logits, target, derivative, settings)
    assert gradient.dtype == dtype
    expected = with_gradient(logits, target, grad, wide)
    # The incoming gradient is float32, and so is what half precision is computed in.
    digits = max(torch.finfo(dtype).eps, 1e-6)
    torch.testing.assert_close(gradient.double(), expected, rtol=digits, atol=2e-7)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
@pytest.mark.parametrize("ignored", [False, True])
def test_scores_that_are_not_finite_are_left_to_the_general_form(
    value: float, ignored: bool
) -> None:
    logits, target, grad = scene(torch.float32)
    place = (1, 2, 3) if ignored else (1, 3, 3)
    logits[place[0], 0, place[1], place[2]] = value
    logits[place[0], 1, place[1], place[2]] = -3e38 if value == 3e38 else 0.0
    settings = Settings(None, IGNORED)
    assert two_classes.forward(logits, target, settings) is None
    loss, _, top = chunked.forward(logits, target, settings)
    truth = F.cross_entropy(logits, target, ignore_index=IGNORED, reduction="none")
    torch.testing.assert_close(loss, truth, equal_nan=True)
    gradient = chunked.backward(grad, logits, target, top, settings)
    expected = with_gradient(logits, target, grad, None)
    if ignored:
        expected[1, :, 2] = 0.0
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-6, atol=2e-7, equal_nan=True)


def test_what_it_is_not_made_for() -> None:
    logits, target, _ = scene(torch.float32)
    assert not two_classes.fits(logits, target, Settings(None, IGNORED, 0.1))
    assert not two_classes.fits(logits, target[:, ::2], Settings(None, IGNORED))
    assert not two_classes.fits(logits.repeat(1, 2, 1, 1), target, Settings(None, IGNORED))


def test_a_gradient_that_is_not_finite_stays_where_it_is() -> None:
    logits, target, grad = scene(torch.float32)
    grad[1, 2, 0] = torch.nan  # at an ignored pixel
    grad[1, 3, 0] = torch.inf
    settings = Settings(None, IGNORED)
    _, _, derivatives = chunked.forward(logits, target, settings)
    gradient = chunked.backward(grad, logits, target, derivatives, settings)
    assert (~gradient.isfinite()).any(1).sum() == 1
    assert (gradient[1, :, 2] == 0).all()
