"""Criteria that people have: which of them can be wrapped, how, and which are refused."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import lwm_loss as lwm
from lwm_loss.testing import reference as ref
from tests.support import Scene, scene, to_numpy

IGNORED = 255


def mined(data: Scene, loss: Tensor) -> float:
    """Eq. 4 by the oracle, around a per-pixel loss."""
    numpy = [to_numpy(tensor) for tensor in data]
    weight = ref.loss_weight(*numpy, ref.Mining(ignore_index=IGNORED)).weight
    return ref.weighted_loss(weight, to_numpy(loss), numpy[1], ignore_index=IGNORED)


def wrap(criterion: Any, **options: Any) -> lwm.HardPixelLoss:
    """A criterion under the default weighting."""
    return lwm.HardPixelLoss(criterion, lwm.LossWeightModule(ignore_index=IGNORED), **options)


def cross_entropy(data: Scene, **options: Any) -> Tensor:
    """Cross-entropy by pixel."""
    return F.cross_entropy(
        data.logits, data.target, ignore_index=IGNORED, reduction="none", **options
    )


# --- torch ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"label_smoothing": 0.1}, {"weight": torch.tensor([0.1, 2.0, 1.0, 0.5, 3.0])}],
    ids=["plain", "smoothed", "weighted"],
)
def test_torch_cross_entropy(options: dict[str, Any]) -> None:
    data = scene()
    criterion = nn.CrossEntropyLoss(ignore_index=IGNORED, reduction="none", **options)
    truth = mined(data, cross_entropy(data, **options))
    if "weight" in options:  # as torch's own mean, which divides by the weights of the labels
        labels = data.target[data.target != IGNORED]
        truth *= len(labels) / float(options["weight"][labels].sum())
    assert wrap(criterion)(*data).item() == pytest.approx(truth, rel=1e-5)


def test_torch_nll() -> None:
    data = scene()
    log_p = data._replace(logits=data.logits.log_softmax(1))
    criterion = nn.NLLLoss(ignore_index=IGNORED, reduction="none")
    assert wrap(criterion)(*log_p).item() == pytest.approx(
        mined(data, cross_entropy(data)), rel=1e-5
    )


def test_torch_multi_margin_by_a_plain_function() -> None:
    data = scene()

    def margin(logits: Tensor, target: Tensor) -> Tensor:
        safe = target.where(target != IGNORED, 0)
        flat = logits.movedim(1, -1).flatten(0, -2)
        return F.multi_margin_loss(flat, safe.flatten(), reduction="none").view(target.shape)

    truth = mined(data, margin(data.logits, data.target))
    assert wrap(margin, ignore_index=IGNORED)(*data).item() == pytest.approx(truth, rel=1e-5)


def test_a_partial_function() -> None:
    data = scene()
    criterion = functools.partial(F.cross_entropy, ignore_index=IGNORED, reduction="none")
    assert wrap(criterion, ignore_index=IGNORED)(*data).item() == pytest.approx(
        mined(data, cross_entropy(data)), rel=1e-5
    )


def test_binary_cross_entropy_by_class() -> None:
    data = scene()

    class ByClass(nn.Module):
        """One value per class, as the sigmoid losses give it."""

        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            truth = F.one_hot(target.clamp(max=4), 5).movedim(-1, 1).to(logits.dtype)
            return F.binary_cross_entropy_with_logits(logits, truth, reduction="none")

    truth = mined(data, ByClass()(data.logits, data.target).sum(1))
    loss = wrap(ByClass(), ignore_index=IGNORED, sum_classes=True)
    assert loss(*data).item() == pytest.approx(truth, rel=1e-5)
    with pytest.raises(ValueError, match=r"ByClass.*sum_classes=True"):
        wrap(ByClass(), ignore_index=IGNORED)(*data)


# --- kornia and MONAI -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_kornia_focal() -> None:
    losses = pytest.importorskip("kornia.losses")
    data = scene()
    criterion = losses.FocalLoss(alpha=None, gamma=2.0, reduction="none", ignore_index=IGNORED)
    by_class = criterion(data.logits, data.target)
    assert by_class.shape == data.logits.shape
    loss = wrap(criterion, sum_classes=True)
    assert loss(*data).item() == pytest.approx(mined(data, by_class.sum(1)), rel=1e-5)
    focal = wrap(FocalByHand())
    assert loss(*data).item() == pytest.approx(focal(*data).item(), rel=1e-4)
    with pytest.raises(
        ValueError, match=r"FocalLoss.*\(2, 5, 13, 17\)|\(2, 5, 13, 17\).*FocalLoss"
    ):
        wrap(criterion)(*data)


class FocalByHand(nn.Module):
    """Softmax focal loss, one value per pixel."""

    ignore_index = IGNORED

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        safe = target.where(target != IGNORED, 0)
        log_p = logits.log_softmax(1).gather(1, safe[:, None])[:, 0]
        return -((1 - log_p.exp()) ** 2) * log_p


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("ignored", [0.0, 0.2])
def test_monai_focal(ignored: float) -> None:
    losses = pytest.importorskip("monai.losses")
    data = scene(ignored=ignored)
    focal = losses.FocalLoss(to_onehot_y=True, gamma=2.0, use_softmax=True, reduction="none")

    class WithChannel(nn.Module):
        """MONAI wants its labels as (B, 1, H, W) and knows no ignored ones."""

        def __init__(self) -> None:
            super().__init__()
            self.focal = focal

        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            safe = target.where(target != IGNORED, 0)
            by_class: Tensor = self.focal(logits, safe[:, None])
            return by_class

    by_class = WithChannel()(data.logits, data.target)
    assert by_class.shape == data.logits.shape
    loss = wrap(WithChannel(), sum_classes=True)
    assert loss(*data).item() == pytest.approx(mined(data, by_class.sum(1)), rel=1e-5)
    assert loss(*data).item() == pytest.approx(wrap(FocalByHand())(*data).item(), rel=1e-4)


# --- classes that behave like those of other libraries --------------------------------------------


class ScalarDespiteNone(nn.Module):
    """A focal loss that is built with reduction="none" and returns a scalar all the same."""

    def __init__(self, ignore_index: int | None = None, reduction: str = "none") -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.reduction = reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, ignore_index=IGNORED)


class KeepsAChannel(nn.Module):
    """A soft cross-entropy that returns (B, 1, H, W) with an ignore_index, (B, H, W) without."""

    def __init__(self, ignore_index: int | None = None) -> None:
        super().__init__()
        self.reduction = "none"
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.ignore_index is None:
            return F.cross_entropy(logits, target, reduction="none")
        each = F.cross_entropy(logits, target, ignore_index=self.ignore_index, reduction="none")
        return each[:, None]


class NoSuchMode(nn.Module):
    """A top-k cross-entropy without a mode by pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.top_k_percent_pixels = 0.2

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        each = F.cross_entropy(logits, target, ignore_index=IGNORED, reduction="none").flatten()
        return each.topk(int(0.2 * each.numel())).values.mean()


@pytest.mark.parametrize("criterion", [ScalarDespiteNone(), NoSuchMode()])
def test_a_scalar_is_refused_by_name(criterion: nn.Module) -> None:
    data = scene()
    with pytest.raises(ValueError, match=f"Expected .* but got .*{type(criterion).__name__}"):
        wrap(criterion)(*data)


def test_a_scalar_is_refused_even_for_one_pixel() -> None:
    data = scene(images=1, size=(1, 1), ignored=0.0)
    with pytest.raises(ValueError, match="ScalarDespiteNone"):
        wrap(ScalarDespiteNone())(*data)


@pytest.mark.parametrize("size", [(13, 17), (2, 5, 6)])
def test_a_channel_of_one_is_squeezed(size: tuple[int, ...]) -> None:
    data = scene(size=size)
    truth = mined(data, cross_entropy(data))
    assert wrap(KeepsAChannel(IGNORED))(*data).item() == pytest.approx(truth, rel=1e-5)


def test_an_ignore_index_of_none() -> None:
    data = scene(ignored=0.0)
    truth = mined(data, cross_entropy(data))
    assert wrap(KeepsAChannel(None))(*data).item() == pytest.approx(truth, rel=1e-5)


def test_a_transposed_result_is_refused() -> None:
    data = scene()
    with pytest.raises(ValueError, match=r"\(2, 17, 13\)"):
        wrap(lambda x, y: F.cross_entropy(x, y, ignore_index=IGNORED, reduction="none").mT)(*data)


class Gathers(nn.Module):
    """A criterion that has never heard of ignored labels: 255 would reach `gather`."""

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return -logits.log_softmax(1).gather(1, target[:, None])[:, 0]


def test_a_criterion_that_knows_no_ignored_labels() -> None:
    data = scene()
    truth = mined(data, cross_entropy(data))
    logits = data.logits.requires_grad_()
    loss = wrap(Gathers(), ignore_index=IGNORED)(*data)
    assert loss.item() == pytest.approx(truth, rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(1)[data.target == IGNORED] == 0).all()


@pytest.mark.parametrize("rubbish", [math.nan, math.inf, 1e30])
def test_the_criterions_value_at_ignored_pixels_is_not_used(rubbish: float) -> None:
    data = scene()

    class Rubbish(nn.Module):
        """Leaves rubbish where it was not asked."""

        ignore_index = IGNORED

        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            each = F.cross_entropy(logits, target, ignore_index=IGNORED, reduction="none")
            return each.masked_fill(target == IGNORED, rubbish)

    logits = data.logits.requires_grad_()
    loss = wrap(Rubbish())(*data)
    assert loss.item() == pytest.approx(mined(data, cross_entropy(data)), rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_the_criterions_own_ignored_label_is_found() -> None:
    data = scene()
    criterion = nn.CrossEntropyLoss(ignore_index=IGNORED, reduction="none")
    loss = lwm.HardPixelLoss(criterion, lwm.LossWeightModule())
    assert loss(*data).item() == pytest.approx(mined(data, cross_entropy(data)), rel=1e-5)


def test_criterion_and_weighting_are_submodules() -> None:
    criterion = nn.CrossEntropyLoss(weight=torch.ones(5), ignore_index=IGNORED, reduction="none")
    weighting = lwm.LossWeightModule(ignore_index=IGNORED)
    loss = lwm.HardPixelLoss(criterion, weighting)
    assert criterion in list(loss.modules())
    assert any(isinstance(module, lwm.LossWeightModule) for module in loss.modules())
    moved = loss.double()
    data = scene(dtype=torch.float64)
    assert moved(*data).dtype == torch.float64


def test_the_criterion_sees_the_logits_it_would_see_alone() -> None:
    # Masking by multiplying the logits would change the softmax of what remains.
    data = scene()
    seen: list[Tensor] = []

    class Looks(nn.Module):
        """Keeps what it was given."""

        ignore_index = IGNORED

        def forward(self, logits: Tensor, target: Tensor) -> Tensor:
            seen.append(logits.detach().clone())
            return F.cross_entropy(logits, target, ignore_index=IGNORED, reduction="none")

    wrap(Looks())(*data)
    assert torch.equal(seen[0], data.logits)


def test_two_criteria_agree_where_they_are_one() -> None:
    data = scene()
    one = wrap(nn.CrossEntropyLoss(ignore_index=IGNORED, reduction="none"))(*data)
    for other in (Gathers(), KeepsAChannel(IGNORED)):
        torch.testing.assert_close(wrap(other, ignore_index=IGNORED)(*data), one)
    objective = lwm.HardPixelMiningLoss(num_sides=0, criterion=Gathers(), ignore_index=IGNORED)(
        *data
    )
    plain = lwm.HardPixelMiningLoss(num_sides=0, ignore_index=IGNORED)(*data)
    torch.testing.assert_close(objective.total, plain.total)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_logits_are_widened_before_the_criterion(dtype: torch.dtype) -> None:
    data = scene(dtype=dtype)
    wide = data._replace(logits=data.logits.float())
    loss = wrap(Gathers(), ignore_index=IGNORED)
    assert loss(*data).item() == pytest.approx(loss(*wide).item(), rel=1e-6)


@pytest.mark.parametrize("criterion", [nn.CrossEntropyLoss(reduction="none"), Gathers()])
def test_logits_at_another_resolution(criterion: nn.Module) -> None:
    data = scene(dtype=torch.float64)
    small = scene(dtype=torch.float64, size=(5, 9), seed=4).logits.requires_grad_()
    large = F.interpolate(small, (13, 17), mode="bilinear", align_corners=False)
    options = {"ignore_index": IGNORED} if isinstance(criterion, Gathers) else {}
    if not options:
        criterion = nn.CrossEntropyLoss(ignore_index=IGNORED, reduction="none")
    given = wrap(criterion, upsample_logits=True, **options)(small, *data[1:])
    truth = wrap(criterion, **options)(large, *data[1:])
    torch.testing.assert_close(given, truth)
    torch.testing.assert_close(
        torch.autograd.grad(given, small)[0], torch.autograd.grad(truth, small)[0]
    )
    with pytest.raises(ValueError, match="target"):
        wrap(criterion, **options)(small, *data[1:])
