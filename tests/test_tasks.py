"""Every dense task and every error of a pixel, against the oracle's loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import lwm_loss as lwm
import lwm_loss.functional as LF
from lwm_loss.testing import reference as ref
from tests.support import scene, to_numpy

ERRORS = ("misclassified", "probability", "loss")
VOID = 255


def targets_of(task: str, kind: str, seed: int, size: tuple[int, ...], channels: int) -> Tensor:
    """A target of a task in one of its forms, a fifth of it ignored."""
    noise = torch.Generator().manual_seed(seed)
    shape = (2, channels, *size)
    if kind == "probabilities":
        target = torch.rand(shape, generator=noise)
        target = target / target.sum(1, keepdim=True)
        gone = torch.rand((2, 1, *size), generator=noise) < 0.2
        return torch.where(gone, 0, target)
    if task == "multiclass":
        target = torch.randint(channels, (2, *size), generator=noise)
    else:
        target = torch.randint(2, shape, generator=noise)
    target[torch.rand(target.shape, generator=noise) < 0.2] = VOID
    if task == "multilabel":
        target[0, :, 0, 0] = VOID
    if kind == "without channel":
        target = target[:, 0]
    return target.float() if kind == "float" else target


FORMS = [
    ("multiclass", "integers"),
    ("multiclass", "probabilities"),
    ("binary", "integers"),
    ("binary", "float"),
    ("binary", "without channel"),
    ("multilabel", "integers"),
    ("multilabel", "float"),
]


class Problem:
    """A batch of a task, and what the oracle says of it."""

    def __init__(self, task: str, kind: str, seed: int, size: tuple[int, ...] = (6, 7)) -> None:
        self.task = task
        channels = 1 if task == "binary" else 4
        noise = torch.Generator().manual_seed(seed + 1)
        self.logits = 6 * torch.rand((2, channels, *size), generator=noise) - 3
        self.target = targets_of(task, kind, seed, size, channels)
        self.depth = 1 + 250 * torch.rand((2, *size), generator=noise)
        self.depth[torch.rand(self.depth.shape, generator=noise) < 0.2] = 0
        self.log_depth = self.depth.clamp(min=1).log() + torch.rand(self.depth.shape)
        flags = self.target
        if kind == "without channel":
            flags = flags[:, None]
        self.arrays = to_numpy(self.logits), to_numpy(flags)
        self.labelled = np.array(
            [
                bool(ref.labels_of_pixel(self.arrays[1], pixel, task, VOID))
                for pixel in ref.pixels(self.depth.shape)
            ]
        ).reshape(self.depth.shape)

    def errors(self, error: str) -> np.ndarray:
        return ref.pixel_error(*self.arrays, self.task, error, VOID)

    def z(self, error: str, cells: tuple[int, int] | str = (2, 2)) -> np.ndarray:
        return ref.mean_error_of_regions(
            self.errors(error),
            self.labelled,
            to_numpy(self.depth),
            cells=cells,
            bin_size=60.0,
            relative=error == "loss",
        )


@settings(max_examples=25)
@given(
    st.sampled_from(FORMS),
    st.sampled_from(ERRORS),
    st.sampled_from([(2, 2), (1, 1), "pixel"]),
    st.integers(0, 999),
)
def test_z_of_every_task_is_the_oracles(
    form: tuple[str, str], error: str, cells: tuple[int, int] | str, seed: int
) -> None:
    problem = Problem(*form, seed)
    ours = LF.depth_aware_segmentation_error(
        problem.logits,
        problem.target,
        problem.depth,
        cells=cells,
        bin_size=60.0,
        ignore_index=VOID,
        task=problem.task,
        error=error,
    )
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours, problem.z(error, cells), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS, ids="-".join)
@pytest.mark.parametrize("error", ERRORS)
def test_z_of_float64_scores_has_their_precision(form: tuple[str, str], error: str) -> None:
    problem = Problem(*form, 5)
    options = {"cells": (2, 2), "bin_size": 60.0, "ignore_index": VOID, "task": problem.task}
    ours = LF.depth_aware_segmentation_error(
        problem.logits.double(), problem.target, problem.depth, error=error, **options
    )
    assert ours.dtype == torch.float64
    # Soft errors are rounded to 1.5e-11; class probabilities come in float32.
    bound = 1e-7 if form[1] == "probabilities" and error == "loss" else 1e-10
    np.testing.assert_allclose(ours, problem.z(error), rtol=0, atol=bound)


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_the_loss_of_well_fitted_flags_is_no_rounding(task: str) -> None:
    # Losses of 1e-7 and less, which a difference of scores of 16 does not have.
    channels = 1 if task == "binary" else 3
    scores = torch.linspace(16, 24, 8 * channels).reshape(1, channels, 1, 8)
    target = (torch.arange(8 * channels) % 2).reshape(scores.shape)
    logits = torch.where(target == 1, scores, -scores)
    depth = torch.ones(1, 1, 8)
    options = {"cells": "pixel", "task": task, "error": "loss"}
    ours = LF.depth_aware_segmentation_error(logits, target, depth, **options)
    truth = LF.depth_aware_segmentation_error(logits.double(), target, depth, **options)
    exact = np.log1p(np.exp(-scores.double().numpy())).mean(1)
    np.testing.assert_allclose(truth, exact / exact.max(), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(ours.double(), truth, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_an_infinite_score_of_the_right_sign_is_right(task: str, error: str) -> None:
    target = torch.tensor([0, 1, 0, 1]).reshape(1, 1, 1, 4)
    logits = torch.tensor([-math.inf, math.inf, 3.0, -3.0]).reshape(1, 1, 1, 4)
    z = LF.depth_aware_segmentation_error(
        logits, target, torch.ones(1, 1, 4), cells="pixel", task=task, error=error
    )
    assert z[0, 0, :2].tolist() == [0.0, 0.0]
    assert (z[0, 0, 2:] > 0.9).all()


@pytest.mark.parametrize("form", FORMS, ids="-".join)
@pytest.mark.parametrize("error", ERRORS)
def test_the_objective_of_every_task_is_the_oracles(form: tuple[str, str], error: str) -> None:
    problem = Problem(*form, 7)
    weighting = lwm.LossWeightModule(
        cells=(2, 2), bin_size=60.0, task=problem.task, error=error, ignore_index=VOID
    )
    objective = lwm.HardPixelMiningLoss(0, weighting=weighting)
    logits = problem.logits.clone().requires_grad_()
    terms = objective(logits, problem.target, problem.log_depth, problem.depth)
    loss = problem.errors("loss")
    r = LF.depth_prediction_error(problem.log_depth, problem.depth).numpy()
    weight = np.where(problem.labelled, r + problem.z(error), 0)
    n = problem.labelled.sum()
    assert terms.segmentation.item() == pytest.approx(loss[problem.labelled].sum() / n, rel=1e-5)
    assert terms.hard.item() == pytest.approx((weight * loss).sum() / n, rel=1e-5)
    np.testing.assert_allclose(terms.weight, weight, rtol=1e-5, atol=1e-6)
    terms.total.backward()
    assert logits.grad is not None
    moved = (logits.grad != 0).any(1).numpy()
    assert (moved == problem.labelled).all()


@pytest.mark.parametrize("kind", ["integers", "float", "without channel"])
def test_binary_is_the_two_channel_network(kind: str) -> None:
    problem = Problem("binary", kind, 3)
    two = torch.cat([torch.zeros_like(problem.logits), problem.logits], 1)
    classes = problem.target.reshape(problem.depth.shape).long()
    depths = problem.log_depth, problem.depth
    for error in ERRORS:
        one = lwm.HardPixelMiningLoss(
            0, weighting=lwm.LossWeightModule(task="binary", error=error, ignore_index=VOID)
        )(problem.logits, problem.target, *depths)
        other = lwm.HardPixelMiningLoss(
            0, weighting=lwm.LossWeightModule(error=error, ignore_index=VOID)
        )(two, classes, *depths)
        torch.testing.assert_close(one.total, other.total)
        torch.testing.assert_close(one.weight, other.weight)


def test_a_boolean_mask_is_a_binary_target() -> None:
    problem = Problem("binary", "without channel", 4)
    target = problem.target == 1
    weighting = lwm.LossWeightModule(task="binary")
    objective = lwm.HardPixelMiningLoss(0, weighting=weighting)
    by_bool = objective(problem.logits, target, problem.log_depth, problem.depth)
    by_int = objective(problem.logits, target.byte(), problem.log_depth, problem.depth)
    assert torch.equal(by_bool.total, by_int.total)


def test_a_score_of_zero_is_no_foreground() -> None:
    ones = torch.ones(1, 1, 2)
    z = LF.depth_aware_segmentation_error(
        torch.zeros(1, 1, 1, 2), torch.tensor([[[0, 1]]]), ones, cells="pixel", task="binary"
    )
    assert z.tolist() == [[[0.0, 1.0]]]


@pytest.mark.parametrize("task", ["binary", "multilabel"])
@pytest.mark.parametrize("resize", ["logits", "target"])
def test_side_outputs_of_other_tasks(task: str, resize: str) -> None:
    problem = Problem(task, "integers", 5)
    weighting = lwm.LossWeightModule(task=task, ignore_index=VOID)
    objective = lwm.HardPixelMiningLoss(2, weighting=weighting, resize=resize)
    small = F.avg_pool2d(problem.logits, 2).requires_grad_()
    terms = objective(
        problem.logits, problem.target, problem.log_depth, problem.depth, [problem.logits, small]
    )
    torch.testing.assert_close(terms.sides[0], terms.hard)
    (grad,) = torch.autograd.grad(terms.total, small)
    assert grad.isfinite().all()
    assert grad.count_nonzero() > 0


def test_predicted_labels_of_every_task() -> None:
    for task, kind in (("binary", "integers"), ("multilabel", "integers")):
        problem = Problem(task, kind, 6)
        options = {"cells": (2, 2), "ignore_index": VOID, "task": task}
        labels = (problem.logits > 0).long()
        if task == "binary":
            labels = labels[:, 0]
        by_bool = LF.depth_aware_segmentation_error(
            labels == 1, problem.target, problem.depth, **options
        )
        ours = LF.depth_aware_segmentation_error(labels, problem.target, problem.depth, **options)
        same = LF.depth_aware_segmentation_error(
            problem.logits, problem.target, problem.depth, **options
        )
        assert torch.equal(ours, same)
        assert torch.equal(by_bool, same)
        with pytest.raises(TypeError, match="scores"):
            LF.depth_aware_segmentation_error(
                labels, problem.target, problem.depth, **options, error="probability"
            )


@pytest.mark.parametrize("one_pass", [True, False])
def test_an_error_of_ones_own(one_pass: bool) -> None:
    data = scene()
    seen: list[Tensor] = []

    def error(logits: Tensor, target: Tensor) -> Tensor:
        seen.append(target)
        assert not logits.requires_grad
        return 3 * logits[:, 0] - target  # clamped to [0, 1]

    criterion = nn.CrossEntropyLoss(ignore_index=255, reduction="none")
    if not one_pass:
        criterion = nn.Sequential()
        criterion.forward = lambda logits, target: F.cross_entropy(  # type: ignore[method-assign]
            logits, target, reduction="none"
        )
    weighting = lwm.LossWeightModule(
        cells=(1, 1), bin_size=300.0, fusion="dse", ignore_index=255, error=error
    )
    objective = lwm.HardPixelMiningLoss(0, weighting=weighting, criterion=criterion)
    weight = objective(data.logits.requires_grad_(), *data[1:]).weight
    counted = (data.target != 255) & (data.target_depth > 0)
    values = (3 * data.logits[:, 0] - data.target).clamp(0, 1).detach()
    for image in range(2):
        inside = counted[image]
        mean = values[image][inside].double().mean().float()
        torch.testing.assert_close(weight[image][inside], mean.expand(int(inside.sum())))
        assert weight[image][~inside].count_nonzero() == 0
    assert int(seen[0].max()) < 5  # an ignored label never reaches an index


@pytest.mark.parametrize("error", ["probability", "loss", "multilabel"])
def test_soft_sums_do_not_depend_on_the_order(error: str) -> None:
    images, classes, size = 1, 4, (40, 50)
    noise = torch.Generator().manual_seed(1)
    logits = torch.randn(images, classes, *size, generator=noise)
    depth = torch.full((images, *size), 5.0)
    task = "multilabel" if error == "multilabel" else "multiclass"
    if task == "multilabel":
        target = torch.randint(2, logits.shape, generator=noise)
    else:
        target = torch.randint(classes, depth.shape, generator=noise)
    options = {"cells": (1, 1), "task": task}
    options["error"] = "misclassified" if task == "multilabel" else error

    def z(order: Tensor) -> Tensor:
        def shuffle(values: Tensor) -> Tensor:
            return values.flatten(-2)[..., order].reshape(values.shape)

        moved = LF.depth_aware_segmentation_error(
            shuffle(logits), shuffle(target), depth, **options
        )
        return moved.unique()

    first = z(torch.arange(2000))
    assert len(first) == 1
    for _ in range(5):
        assert torch.equal(z(torch.randperm(2000, generator=noise)), first)


def test_soft_errors_are_means_within_1e_5() -> None:
    # A million pixels of one region, where a float32 sum is off by more than that.
    logits = torch.zeros(1, 2, 1000, 1000)
    logits[:, 0] = torch.linspace(-9, 9, 10**6).reshape(1, 1000, 1000)
    target, depth = torch.zeros(1, 1000, 1000).long(), torch.ones(1, 1000, 1000)
    measure = lwm.DepthAwareSegmentationError(cells=(1, 1), error="probability")
    truth = (1 - logits.double().softmax(1)[:, 0]).mean()
    assert abs(measure(logits, target, depth)[0, 0, 0] - truth) < 1e-6


def test_the_loss_of_a_region_is_relative_to_the_largest() -> None:
    # Two regions of each image; one pixel's score is so bad that its loss is infinite.
    logits = torch.zeros(2, 2, 1, 4)
    logits[0, 0] = torch.tensor([[0.0, -1.0, -2.0, -3.0]])
    logits[1, 0, 0, 0] = -math.inf
    target, depth = torch.zeros(2, 1, 4).long(), torch.tensor([[[5.0, 5.0, 99.0, 99.0]]] * 2)
    z = LF.depth_aware_segmentation_error(logits, target, depth, cells=(1, 1), error="loss")
    low, high = (
        sum(math.log1p(math.exp(score)) for score in scores) / 2 for scores in ((0, 1), (2, 3))
    )
    assert z[0].tolist() == [pytest.approx([low / high, low / high, 1.0, 1.0])]
    assert z[1].tolist() == [pytest.approx([1.0, 1.0, 0.0, 0.0])]


def test_a_nan_score_counts_as_wrong_in_soft_errors() -> None:
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 0, 0, 0] = math.nan
    target, depth = torch.zeros(1, 1, 2).long(), torch.ones(1, 1, 2)
    for error in ("probability", "loss"):
        z = LF.depth_aware_segmentation_error(logits, target, depth, cells="pixel", error=error)
        assert z[0, 0, 0] == 1.0


def pixelwise(logits: Tensor, target: Tensor) -> Tensor:
    """A binary loss of the user that returns (B, 1, *S) and takes the target as it came."""
    return F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")


def test_the_criterion_sees_the_target_as_it_came() -> None:
    seen: list[Tensor] = []

    def criterion(logits: Tensor, target: Tensor) -> Tensor:
        seen.append(target)
        return pixelwise(logits, target.reshape(logits.shape))

    for kind in ("integers", "float", "without channel"):
        problem = Problem("binary", kind, 8)
        weighting = lwm.LossWeightModule(task="binary", ignore_index=VOID)
        loss = lwm.HardPixelLoss(criterion, weighting)
        value = loss(problem.logits, problem.target, problem.log_depth, problem.depth)
        assert seen[-1].shape == problem.target.shape
        assert seen[-1].dtype == problem.target.dtype
        assert torch.equal(seen[-1] == 1, problem.target == 1)
        builtin = lwm.HardPixelLoss(nn.BCEWithLogitsLoss(reduction="none"), weighting)
        torch.testing.assert_close(
            builtin(problem.logits, problem.target, problem.log_depth, problem.depth), value
        )


def test_a_multilabel_criterion_is_summed_over_valid_entries() -> None:
    problem = Problem("multilabel", "integers", 9)
    weighting = lwm.LossWeightModule(task="multilabel", ignore_index=VOID)
    loss = lwm.HardPixelLoss(pixelwise, weighting, sum_classes=True)
    logits = problem.logits.clone()
    invalid = problem.target == VOID
    logits[invalid] = math.nan
    logits.requires_grad_()
    value = loss(logits, problem.target, problem.log_depth, problem.depth)
    value.backward()
    assert logits.grad is not None
    assert (logits.grad[invalid] == 0).all()
    each = pixelwise(problem.logits, torch.where(invalid, 0, problem.target))
    weight = weighting(problem.logits, problem.target, problem.log_depth, problem.depth)
    by_hand = (weight * torch.where(invalid, 0, each).sum(1)).sum() / problem.labelled.sum()
    torch.testing.assert_close(value, by_hand)


def test_class_probabilities_are_torchs_own_mean() -> None:
    problem = Problem("multiclass", "probabilities", 10)
    target = problem.target + (problem.target.sum(1, keepdim=True) == 0) / 4  # none is ignored
    class_weight = torch.tensor([0.5, 1.0, 2.0, 3.0])
    options = {"weight": class_weight, "label_smoothing": 0.1}
    criterion = nn.CrossEntropyLoss(reduction="none", **options)
    objective = lwm.HardPixelMiningLoss(0, criterion=criterion)
    terms = objective(problem.logits, target, problem.log_depth, problem.depth)
    torch.testing.assert_close(
        terms.segmentation, nn.CrossEntropyLoss(**options)(problem.logits, target)
    )


@pytest.mark.parametrize("form", FORMS, ids="-".join)
def test_an_empty_batch_of_every_task_is_0_with_a_graph(form: tuple[str, str]) -> None:
    problem = Problem(*form, 11)
    weighting = lwm.LossWeightModule(task=problem.task, ignore_index=VOID)
    logits = problem.logits[:0].requires_grad_()
    maps = problem.target[:0], problem.log_depth[:0], problem.depth[:0]
    terms = lwm.HardPixelMiningLoss(0, weighting=weighting)(logits, *maps)
    assert terms.total == 0
    terms.total.backward()


def test_one_hot_probabilities_are_their_labels() -> None:
    data = scene()
    labelled = data.target != 255
    one_hot = F.one_hot(torch.where(labelled, data.target, 0), 5).movedim(-1, 1)
    soft = one_hot.float() * labelled[:, None]
    by_label = lwm.HardPixelMiningLoss(0, ignore_index=255)(*data)
    by_share = lwm.HardPixelMiningLoss(0, ignore_index=255)(data.logits, soft, *data[2:])
    torch.testing.assert_close(by_share.total, by_label.total)
    assert torch.equal(by_share.weight, by_label.weight)


BAD: dict[str, tuple[Callable[[], object], list[str]]] = {
    "one channel": (
        lambda: run("multiclass", torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2).long()),
        ["logits", "(1, 1, 2, 2)", 'task="binary"'],
    ),
    "two channels of a binary task": (
        lambda: run("binary", torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2).long()),
        ["logits", "(1, 2, 2, 2)", 'task="multiclass"'],
    ),
    "a flag of 2": (
        lambda: run("binary", torch.zeros(1, 1, 2, 2), torch.full((1, 2, 2), 2)),
        ["target", "0, 1 or ignore_index=-100", "got 2"],
    ),
    "a flag of 255": (
        lambda: run("multilabel", torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 255.0)),
        ["target", "did you mean ignore_index=255?"],
    ),
    "flags of another size": (
        lambda: run("binary", torch.zeros(1, 1, 2, 2), torch.zeros(1, 3, 2)),
        ["target", "(1, 2, 2) or (1, 1, 2, 2)", "(1, 3, 2)"],
    ),
    "classes for a multilabel task": (
        lambda: run("multilabel", torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2).long()),
        ["target", "(1, 3, 2, 2)", 'task="multiclass"'],
    ),
    "probabilities of other classes": (
        lambda: run("multiclass", torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 2, 2)),
        ["target", "(1, 3, 2, 2)", "(1, 4, 2, 2)"],
    ),
    "scores for probabilities": (
        lambda: run("multiclass", torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), -1.0)),
        ["target", "probabilities", "-1"],
    ),
    "an unknown task": (
        lambda: lwm.LossWeightModule(task="regression"),  # type: ignore[arg-type]
        ["`task`", "'regression'", "multilabel"],
    ),
    "an unknown error": (
        lambda: lwm.LossWeightModule(error="soft"),  # type: ignore[arg-type]
        ["`error`", "'soft'", "probability"],
    ),
    "an error of another shape": (
        lambda: run(
            "multiclass",
            torch.zeros(1, 3, 2, 2),
            torch.zeros(1, 2, 2).long(),
            error=lambda logits, target: logits,
        ),
        ["`error`", "(1, 2, 2)", "(1, 3, 2, 2)"],
    ),
    "cross-entropy of a binary task": (
        lambda: lwm.HardPixelLoss(
            nn.CrossEntropyLoss(reduction="none"), lwm.LossWeightModule(task="binary")
        ),
        ["criterion", "CrossEntropyLoss", "BCEWithLogitsLoss"],
    ),
}


def run(task: str, logits: Tensor, target: Tensor, **options: object) -> Tensor:
    weighting = lwm.LossWeightModule(task=task, fusion="dse", **options)  # type: ignore[arg-type]
    return weighting(logits, target, None, torch.ones(1, 2, 2))


@pytest.mark.parametrize("case", BAD)
def test_the_sentence(case: str) -> None:
    call, words = BAD[case]
    with pytest.raises(ValueError, match=r"^Expected .+, but got .+") as caught:
        call()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("error", ["probability", "loss"])
@pytest.mark.parametrize("options", [{"label_smoothing": 0.3}, {"weight": torch.rand(5) + 0.5}])
def test_z_is_of_the_plain_cross_entropy_whatever_the_criterion(
    error: Any, options: dict[str, Any]
) -> None:
    data = scene()
    weighting = lwm.LossWeightModule(error=error, ignore_index=255)
    criterion = nn.CrossEntropyLoss(ignore_index=255, reduction="none", **options)
    terms = lwm.HardPixelMiningLoss(0, weighting=weighting, criterion=criterion)(*data)
    torch.testing.assert_close(terms.weight, weighting(*data))
