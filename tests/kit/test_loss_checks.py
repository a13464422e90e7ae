"""Every check of a loss catches its fault by name, and lets healthy losses pass."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lwm_loss as lwm
from lwm_loss.testing import ContractError, check_loss, checks
from lwm_loss.testing.registry import loss_check
from lwm_loss.testing.subjects.loss import LossProbe
from tests.kit import losses as zoo
from tests.kit.leaving_out import leave_out
from tests.kit.shown import assert_all_caught

CLASSES = 6
IGNORED = zoo.IGNORED


def curriculum(kind):
    def make():
        return kind(epochs=4)

    make.__name__ = kind.__name__
    return make


def weighting(kind):
    def make():
        return kind(ignore_index=IGNORED)

    make.__name__ = kind.__name__
    return make


def wrapped(kind):
    """The faulty weighting within a loss."""

    def make():
        criterion = nn.CrossEntropyLoss(ignore_index=IGNORED, reduction="none")
        return lwm.HardPixelLoss(criterion, kind(ignore_index=IGNORED))

    make.__name__ = f"HardPixelLoss_{kind.__name__}"
    return make


def epoch_on_the_class():
    shared = zoo.EpochOnTheClass(4)
    shared.reset()
    return shared


FAULTS = {
    "check_non_finite_ignored_pixels_stay_out": (
        zoo.DerivativeOfIgnoredScores,
        zoo.GeneralisedCrossEntropy,
        zoo.CountsBrokenScores,
    ),
    "check_class_weights_are_relative": (zoo.DividedByTheCount,),
    "check_curriculum_set_epoch": (curriculum(zoo.CountsEpochsFromOne),),
    "check_loss_output": (
        zoo.ReturnsIntegers,
        zoo.AddsInfinity,
        zoo.ReturnsANumber,
        zoo.OneValueAnImage,
    ),
    "check_reductions_agree": (
        zoo.SumOfEachImage,
        zoo.SumOfAll,
        zoo.NoneHasNoWeight,
        zoo.MeanOverHalf,
    ),
    "check_batch_permutation": (zoo.FirstImageCountsTwice,),
    "check_class_permutation": (zoo.BackgroundCountsLess,),
    "check_images_do_not_influence_each_other": (
        zoo.HardestOfTheBatch,
        weighting(zoo.NormalisedOverTheBatch),
        wrapped(zoo.NormalisedOverTheBatch),
        weighting(zoo.RegionsAcrossImages),
        wrapped(zoo.RegionsAcrossImages),
    ),
    "check_saturated_logits_stay_finite": (zoo.LogOfSoftmax, zoo.SteepFocal),
    "check_labelled_pixels_get_a_gradient": (zoo.Detached, zoo.ErrorRate),
    "check_ignored_pixels_get_no_gradient": (
        zoo.OneWhereIgnored,
        zoo.IgnoredBecomesClassZero,
        zoo.IgnoredIsClamped,
        zoo.SmoothsEverywhere,
    ),
    "check_right_predictions_cost_less": (zoo.MaximisesTheProbability, zoo.RewardsWrongDepth),
    "check_hard_pixels_weigh_no_less": (
        weighting(zoo.ShareOfRightPixels),
        wrapped(zoo.ShareOfRightPixels),
        weighting(zoo.SimilarityOfDepth),
    ),
    "check_ignored_pixels_do_not_count": (
        zoo.MeanOverAllPixels,
        zoo.MaskedLogits,
        zoo.MultipliesTheLoss,
        zoo.RateOfAllPixels,
    ),
    "check_all_ignored_is_zero": (
        zoo.GradientOfNothing,
        nn.CrossEntropyLoss,
        zoo.NaNWhenAllIgnored,
        zoo.NewZeroWhenAllIgnored,
    ),
    "check_missing_depth_does_not_leak": (
        zoo.ZerosCost,
        zoo.MultipliesTheMask,
        zoo.SingleWhere,
        zoo.ZeroIsDepth,
        zoo.CountsMissingDepth,
    ),
    "check_weight_map_is_detached": (
        weighting(zoo.WeightKeepsItsGradient),
        wrapped(zoo.WeightKeepsItsGradient),
        zoo.BareSoftWeight,
        zoo.LossThroughTheWeight,
        lwm.FocalWeighting,
    ),
    "check_weight_map_is_non_negative": (
        weighting(zoo.SignedWeight),
        wrapped(zoo.SignedWeight),
    ),
    "check_weight_map_is_bounded": (
        weighting(zoo.TripledWeight),
        wrapped(zoo.TripledWeight),
        zoo.RawError,
    ),
    "check_error_rate_is_constant_on_regions": (
        weighting(zoo.RateByPixel),
        wrapped(zoo.RateByPixel),
        zoo.CellsOfARoundedSize,
        zoo.BinsFromZero,
        zoo.ErrorsForARate,
    ),
    "check_weight_map_matches_reference": (
        weighting(zoo.RegionsAcrossImages),
        weighting(zoo.TripledWeight),
        weighting(zoo.LastOfATie),
        weighting(zoo.BinaryAtAHalf),
    ),
    "check_low_precision": (
        zoo.InfiniteDerivativeInHalf,
        zoo.HalfMean,
        zoo.SmallEpsilon,
        weighting(zoo.CountsInHalf),
    ),
    "check_loss_torch_compile": (
        zoo.OtherWhenCompiled,
        zoo.BooleanIndexing,
        zoo.ReadsACount,
        zoo.BranchesOnLabels,
    ),
    "check_loss_deep_copy": (
        zoo.ForgetsAPrivateNumber,
        zoo.HoldsALock,
        zoo.ForgetsWhenCopied,
        epoch_on_the_class,
    ),
    "check_loss_inputs_are_not_modified": (zoo.WritesToTheTarget, zoo.WritesToTheDepth),
    "check_loss_is_deterministic": (
        zoo.WarmsUp,
        zoo.DrawsPixels,
        curriculum(zoo.MovesInForward),
    ),
    "check_loss_keeps_global_state": (zoo.TurnsGradientsOn, zoo.TurnsGradientsOff),
    "check_curriculum_kept_share_grows": (
        curriculum(zoo.KeepsAList),
        curriculum(zoo.HalvesWhatItKeeps),
        curriculum(zoo.KeepsAll),
        curriculum(zoo.KeepsTheHard),
        curriculum(zoo.NeverMoves),
        curriculum(zoo.KeepsLess),
    ),
    "check_curriculum_masked_pixels_do_not_count": (curriculum(zoo.ForgetsTheMask),),
    "check_curriculum_state_dict": (
        zoo.unregistered,
        curriculum(zoo.EpochInPython),
        curriculum(zoo.EpochNotSaved),
        zoo.HoldsUnregistered,
    ),
}


def cross_entropy(**options):
    return nn.CrossEntropyLoss(ignore_index=IGNORED, reduction="none", **options)


def whole_objective():
    return lwm.HardPixelMiningLoss(num_sides=2, ignore_index=IGNORED)


def smoothed_and_weighted():
    inner = cross_entropy(weight=torch.linspace(0.5, 2, CLASSES), label_smoothing=0.1)
    return lwm.HardPixelMiningLoss(
        num_sides=1,
        criterion=inner,
        curriculum=lwm.SelfPacedCurriculum(3),
        weighting=lwm.LossWeightModule(cells=(2, 3), fusion="max", ignore_index=IGNORED),
        resize="target",
    )


def mined(weighting):
    return lwm.HardPixelLoss(cross_entropy(), weighting)


def of_task(task, **options):
    inner = nn.BCEWithLogitsLoss(reduction="none")
    return lwm.HardPixelLoss(
        inner, lwm.LossWeightModule(task=task, ignore_index=IGNORED), **options
    )


HEALTHY = {
    "binary": lambda: of_task("binary"),
    "multilabel": lambda: of_task("multilabel", sum_classes=True),
    "multilabel-weights": lambda: lwm.LossWeightModule(task="multilabel", error="probability"),
    "LossWeightModule": lambda: lwm.LossWeightModule(ignore_index=IGNORED),
    "product": lambda: lwm.LossWeightModule(cells=(1, 1), fusion="product", bin_size=40.0),
    "dse": lambda: lwm.LossWeightModule(fusion="dse"),
    "pixel": lambda: lwm.LossWeightModule(cells="pixel"),
    "depth": lambda: lwm.LossWeightModule(log_input=False, ignore_index=IGNORED),
    "DepthPredictionError-raw": lambda: lwm.DepthPredictionError(normalize=False),
    "OwnRate": zoo.OwnRate,
    "ErrorInMetres": zoo.ErrorInMetres,
    "NearCountsMore": zoo.NearCountsMore,
    "dpe": lambda: lwm.LossWeightModule(fusion="dpe", ignore_index=IGNORED),
    "DepthEdgeWeighting": lambda: lwm.DepthEdgeWeighting(radius=1),
    "DepthEdgeWeighting-boundaries": lambda: lwm.DepthEdgeWeighting(radius=1, boundaries_only=True),
    "LabelBoundaryWeighting": lambda: lwm.LabelBoundaryWeighting(radius=1),
    "OHEMWeighting": lambda: lwm.OHEMWeighting(min_kept=5),
    "LossMaxPoolingWeighting": lambda: lwm.LossMaxPoolingWeighting(ignore_index=IGNORED),
    "HardPixelLoss": lambda: mined(lwm.LossWeightModule(ignore_index=IGNORED)),
    "HardPixelLoss-focal": lambda: mined(lwm.FocalWeighting(ignore_index=IGNORED)),
    "HardPixelMiningLoss": whole_objective,
    "HardPixelMiningLoss-options": smoothed_and_weighted,
    "SelfPacedCurriculum": lambda: lwm.SelfPacedCurriculum(4),
    "LogDepthMSELoss": lwm.LogDepthMSELoss,
    "Plain": zoo.Plain,
    "WithDepth": zoo.WithDepth,
    "WithMetres": zoo.WithMetres,
    "ClassBalanced": lambda: zoo.ClassBalanced(torch.linspace(0.5, 2, CLASSES)),
    "function": lambda: zoo.plain_function,
    "CrossEntropyLoss-none": cross_entropy,
    "CrossEntropyLoss-sum": lambda: nn.CrossEntropyLoss(
        weight=torch.linspace(0.5, 2, CLASSES), ignore_index=IGNORED, reduction="sum"
    ),
    "partial": lambda: functools.partial(F.cross_entropy, ignore_index=IGNORED, reduction="none"),
}
TORCHS = {"check_non_finite_ignored_pixels_stay_out": "torch multiplies NaN by 0"}
EXPECTED = {
    "CrossEntropyLoss-none": TORCHS,
    "CrossEntropyLoss-sum": TORCHS,
    "partial": TORCHS,
    "HardPixelLoss-focal": {
        "check_weight_map_is_detached": "the factor of the focal loss has a gradient"
    },
}


# One of each kind of code is compiled here; tests/test_compile.py compiles the library's own.
COMPILED = ("HardPixelMiningLoss-options", "Plain", "OwnRate", "WithMetres", "function")


@functools.cache
def report_of(name):
    """The report on a healthy loss."""
    with pytest.MonkeyPatch.context() as patch:
        if name not in COMPILED:
            leave_out(patch, loss_check, "check_loss_torch_compile")
        return check_loss(
            HEALTHY[name](),
            CLASSES,
            on_fail="return",
            expected_failed_checks=EXPECTED.get(name),
            max_examples=3,
            seed=1,
        )


@pytest.mark.slow
def test_every_check_has_a_fault_to_catch_and_a_healthy_loss_that_passes():
    assert set(FAULTS) == set(loss_check.checks)
    passed = {
        result.name
        for name in ("HardPixelMiningLoss-options", "Plain", "CrossEntropyLoss-none")
        for result in report_of(name)
        if result.status == "passed"
    }
    assert passed == set(loss_check.checks)


@pytest.mark.slow
@pytest.mark.usefixtures("unshrunk")
@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_caught_at_every_branch_and_shown_by_what_is_printed(name):
    assert_all_caught(name, FAULTS[name], "criterion", CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_loss_passes(name):
    report = report_of(name)
    assert not report.failed, report
    assert len([result for result in report if result.status == "passed"]) > 5
    xfailed = {result.name for result in report if result.status == "xfailed"}
    assert xfailed == set(EXPECTED.get(name, {}))


@pytest.mark.parametrize(
    ("criterion", "kind"),
    [
        (lwm.LossWeightModule(), "weighting"),
        (lwm.FocalWeighting(), "weighting"),
        (zoo.BareSoftWeight(), "weighting"),
        (zoo.WeightKeepsItsGradient(), "weighting"),
        (lwm.DepthAwareSegmentationError(), "weighting"),
        (lwm.DepthPredictionError(), "weighting"),
        (nn.CrossEntropyLoss(reduction="none"), "criterion"),
        (zoo.Plain("none"), "criterion"),
        (whole_objective(), "criterion"),
        (lwm.SelfPacedCurriculum(2), "curriculum"),
        (zoo.Unregistered(lwm.SelfPacedCurriculum(2)), "curriculum"),
    ],
)
def test_kind_is_recognised(criterion, kind):
    probe = LossProbe(criterion, CLASSES)
    assert probe.error is None
    assert probe.kind == kind


@pytest.mark.parametrize(
    ("criterion", "labels"),
    [
        (nn.CrossEntropyLoss(ignore_index=7), (7,)),
        (functools.partial(F.cross_entropy, ignore_index=-1), (-1,)),
        (zoo.plain_function, (IGNORED,)),
        (mined(lwm.LossWeightModule(ignore_index=IGNORED)), (IGNORED,)),
        (zoo.IgnoredBecomesClassZero(), (-100,)),
        (zoo.IgnoredIsClamped(), (-100, 255)),
        (lambda logits, target: F.cross_entropy(logits, target, ignore_index=255), (255,)),
        (lambda logits, target: F.nll_loss(logits, target % CLASSES), (-100, 255)),
        (lambda logits, target: (logits * F.one_hot(target, CLASSES).movedim(-1, 1)).sum(), ()),
    ],
)
def test_ignored_labels_are_found(criterion, labels):
    assert LossProbe(criterion, CLASSES).ignored == labels


def test_ignored_label_may_be_told():
    assert LossProbe(zoo.IgnoredIsClamped(), CLASSES, ignore_index=9).ignored == (9,)


def test_arguments_are_found_by_name():
    def reversed_names(logits, target, depth_gt, depth_pred, *, sides=None):
        assert depth_gt.isfinite().all()
        return zoo.WithDepth()(logits, target, depth_pred, depth_gt) + 0 * sides[0].sum()

    probe = LossProbe(reversed_names, CLASSES)
    assert probe.error is None
    assert probe.uses("logits", "target", "pred_depth", "target_depth", "side_logits")


class TripledByStar(lwm.LossWeightModule):
    def forward(self, *args, **kwargs):
        return 3 * super().forward(*args, **kwargs)


def test_arguments_of_a_forward_that_takes_anything_are_those_it_overrides():
    probe = LossProbe(TripledByStar(), CLASSES)
    assert (probe.error, probe.kind) == (None, "weighting")
    assert list(probe.roles) == ["logits", "target", "pred_depth", "target_depth"]


@pytest.mark.parametrize("needed", [2, 4])
def test_arguments_of_a_function_that_takes_anything_are_tried(needed):
    def anything(*args):
        if len(args) != needed:
            raise TypeError("not these")
        return zoo.plain_function(*args[:2])

    probe = LossProbe(anything, CLASSES)
    assert (probe.error, len(probe.roles)) == (None, needed)


def test_loss_that_does_not_run_fails_once():
    def broken(logits, target):
        raise RuntimeError("no such luck")

    report = check_loss(broken, CLASSES, on_fail="return")
    assert [result.name for result in report.failed] == ["check_loss_output"]
    assert "no such luck" in report.failed[0].reason
    assert {result.status for result in report} == {"failed", "skipped"}


@pytest.mark.slow
@pytest.mark.usefixtures("unshrunk")
@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (zoo.WritesToTheTarget, "check_loss_inputs_are_not_modified"),
        (zoo.DrawsPixels, "check_loss_is_deterministic"),
        (curriculum(zoo.MovesInForward), "check_loss_is_deterministic"),
        (zoo.MultipliesTheLoss, "check_ignored_pixels_do_not_count"),
        (zoo.MaximisesTheProbability, "check_right_predictions_cost_less"),
    ],
)
def test_fault_is_told_by_one_check_alone(fault, name):
    report = check_loss(fault(), CLASSES, on_fail="return", max_examples=1, seed=0)
    assert [result.name for result in report.failed] == [name]


@pytest.mark.slow
def test_what_is_made_of_ignored_pixels_is_no_matter_of_the_classes():
    checks.check_class_permutation(zoo.IgnoredBecomesClassZero(), CLASSES, seed=0)


def test_reduction_of_a_loss_that_cannot_be_copied_is_put_back():
    criterion = zoo.HoldsALock()
    checks.check_reductions_agree(criterion, CLASSES, max_examples=1, seed=0)
    assert criterion.reduction == "mean"


def test_sum_may_overflow_but_a_mean_may_not():
    checks.check_low_precision(nn.CrossEntropyLoss(reduction="sum"), CLASSES)
    with pytest.raises(ContractError, match="not finite with scores in "):
        checks.check_low_precision(nn.CrossEntropyLoss(), CLASSES)


@pytest.mark.slow
@pytest.mark.usefixtures("without_compilation")
def test_class_weights_that_need_the_dtype_of_the_scores_are_a_remark():
    criterion = HEALTHY["CrossEntropyLoss-sum"]()
    report = check_loss(criterion, CLASSES, on_fail="return", max_examples=1, seed=0)
    remark = {result.name: result.reason for result in report}["check_low_precision"]
    assert "criterion.to(logits.dtype)" in remark


@pytest.mark.slow
def test_bound_may_be_told():
    wild = zoo.TripledWeight(ignore_index=IGNORED)
    checks.check_weight_map_is_bounded(wild, CLASSES, max_weight=6.0, seed=0)
    with pytest.raises(ContractError, match="at most 5 is allowed"):
        checks.check_weight_map_is_bounded(wild, CLASSES, max_weight=5.0, seed=0)


@pytest.mark.slow
def test_failure_is_shrunk_to_the_smallest_batch():
    """A loss that fails for a label of 2 in a batch of two: one pixel each is enough to show it."""

    class FailsForTwo(zoo.Base):
        def forward(self, logits, target):
            loss = zoo.plain_function(logits, target)
            if len(target) == 2 and bool((target == 2).any()):
                logits.detach().add_(1)
            return loss

    with pytest.raises(ContractError) as caught:
        checks.check_loss_inputs_are_not_modified(FailsForTwo(), CLASSES, seed=0, max_examples=200)
    names = {}
    shown = caught.value.reproduce
    exec(shown[: shown.index("batch = ")], names)
    assert names["target"].shape == (2, 1, 1)
