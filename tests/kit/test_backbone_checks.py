"""Every check of a backbone catches its fault by name, and lets healthy networks pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lwm_loss.testing import CheckSkipped, ContractError, check_backbone, checks
from lwm_loss.testing.registry import backbone_check
from tests.kit import backbones as zoo
from tests.kit.leaving_out import leave_out
from tests.kit.shown import assert_all_caught

SIZE = (24, 32)

FAULTS = {
    "check_output_shapes": (
        zoo.UpsamplesByAFactor,
        zoo.SkipOffByOne,
        zoo.SqueezesTheBatch,
        zoo.DepthOfTwoChannels,
        zoo.DepthAtHalfSize,
        zoo.SwapsHeightAndWidth,
        zoo.LogitsAtAQuarter,
        zoo.OneClassTooMany,
        zoo.NoLogitsInTheMapping,
        zoo.SqueezesInTraining,
        zoo.WholeStrides,
        zoo.NeedsDepthInTraining,
    ),
    "check_logits_are_scores": (
        zoo.Softmaxed,
        zoo.SoftmaxInEvaluation,
        zoo.SigmoidOfASide,
        zoo.ReLUOnTheHead,
    ),
    "check_output_dtypes": (zoo.ReturnsLabels, zoo.ReturnsDouble, zoo.HalfLogits),
    "check_finite_outputs": (
        zoo.StandardisesTheImage,
        zoo.LogOfTheImage,
        zoo.DepthIsLogOfReLU,
        zoo.ExpOfTheImage,
    ),
    "check_finite_gradients": (zoo.RootOfAVariance,),
    "check_every_parameter_receives_a_gradient": (
        zoo.UnusedLayer,
        zoo.UnusedScale,
        zoo.DetachedStem,
        zoo.WeightData,
    ),
    "check_outputs_carry_gradient": (
        zoo.DepthWithoutParameters,
        zoo.DetachedSides,
        zoo.SideOfDetachedFeatures,
        zoo.DetachedDepth,
        zoo.DetachedLogits,
        zoo.LogitsOfDetachedFeatures,
        zoo.LearnsOfOneImage,
    ),
    "check_learns_one_batch": (zoo.ReversedGradient, zoo.ReversedDepth, zoo.DetachedLogits),
    "check_depth_not_needed_at_test_time": (
        zoo.NeedsDepth,
        zoo.NeedsDepthInEvaluation,
        zoo.FourChannels,
    ),
    "check_sample_alone_equals_sample_in_batch": (
        zoo.BatchStatistics,
        zoo.CentredOverTheBatch,
        zoo.DividedByTheBatch,
        zoo.ScaledByTheBatch,
        zoo.NormStaysInTraining,
    ),
    "check_eval_is_deterministic": (
        zoo.DropoutLeftOn,
        zoo.StochasticDepthLeftOn,
        zoo.NoiseInEvaluation,
        zoo.NumpyNoise,
        zoo.CountsItsCalls,
    ),
    "check_no_state_between_calls": (
        zoo.ShiftsFromTheThirdCallOn,
        zoo.CountsItsCalls,
        zoo.CachesTheFirstImage,
        zoo.CachesTheFirstSize,
        zoo.ReusesItsOutput,
    ),
    "check_input_is_not_modified": (zoo.WritesToTheImage, zoo.CentresASingleImage),
    "check_forward_keeps_parameters": (
        zoo.AddsAParameter,
        zoo.FreezesItsHead,
        zoo.ClipsItsWeights,
        zoo.TeacherInForward,
    ),
    "check_eval_keeps_running_statistics": (
        zoo.RegistersABuffer,
        zoo.NormStaysInTraining,
        zoo.NormTold,
        zoo.RunningMeanInEvaluation,
    ),
    "check_forward_keeps_global_state": (
        zoo.SeedsTorch,
        zoo.SeedsPython,
        zoo.TurnsGradientsOff,
        zoo.SetsAFlag,
    ),
    "check_ignored_pixels_send_no_gradient": (
        zoo.SpreadsLogitGradient,
        zoo.SpreadsGradientOverTheBatch,
        zoo.GradientNoise,
        zoo.GradientHook,
    ),
    "check_missing_depth_stays_local": (
        zoo.ScalesDepthGradientByItsZeros,
        zoo.InfiniteDepthDerivative,
        zoo.SpreadsDepthGradient,
    ),
    "check_state_dict_round_trip": (
        zoo.PlainTensor,
        zoo.ListOfLayers,
        zoo.RandomBufferNotSaved,
        zoo.RandomOrderNotSaved,
        zoo.running_buffer_not_saved,
        zoo.TemperatureInPython,
        zoo.StateWithoutHead,
    ),
    "check_bfloat16_autocast": (
        zoo.InfiniteDerivativeUnderAutocast,
        zoo.IndexAdd,
        zoo.HalfInside,
        zoo.LogOfOneMinusP,
    ),
    "check_torch_compile": (
        zoo.OtherWhenCompiled,
        zoo.BranchesOnValues,
        zoo.ReadsANumber,
        zoo.BreaksInTraining,
    ),
    "check_deep_copy": (
        zoo.ForgetsAPrivateNumber,
        zoo.UsesTheOriginalForNothing,
        zoo.HoldsALock,
        zoo.KeepsTheGraph,
        zoo.WeakParent,
        zoo.RunsTheOriginal,
        zoo.ForgetsWhenCopied,
    ),
    "check_pickle": (
        zoo.ForgetsAPrivateNumber,
        zoo.HoldsALambda,
        zoo.HooksALambda,
        zoo.ForgetsWhenCopied,
        zoo.ForgetsANumber,
    ),
}


@pytest.mark.slow
def test_every_check_has_a_fault_to_catch_and_a_healthy_network_that_passes():
    assert set(FAULTS) == set(backbone_check.checks)
    torch.manual_seed(0)
    report = check_backbone(
        zoo.Healthy(), zoo.CLASSES, SIZE, on_fail="return", max_examples=2, seed=0
    )
    assert {result.name for result in report if result.status == "passed"} == set(
        backbone_check.checks
    )


@pytest.mark.slow
@pytest.mark.usefixtures("unshrunk")
@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_caught_at_every_branch_and_shown_by_what_is_printed(name):
    assert_all_caught(name, FAULTS[name], "model", zoo.CLASSES, SIZE)


# The others compile as these two and `Healthy` do, which is compiled above.
COMPILED = (zoo.InAMapping, zoo.Attention)


@pytest.mark.slow
@pytest.mark.parametrize("make", zoo.HEALTHY[1:])
def test_healthy_network_passes(make):
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        if make not in COMPILED:
            leave_out(patch, backbone_check, "check_torch_compile")
        report = check_backbone(make(), zoo.CLASSES, SIZE, on_fail="return", max_examples=2, seed=1)
    assert not report.failed, report
    assert [result.name for result in report if result.status == "passed"]


def test_class_that_pickle_cannot_find_is_no_fault_of_the_network():
    with pytest.raises(CheckSkipped, match="the class Local stands inside a function"):
        checks.check_pickle(zoo.local_class(), zoo.CLASSES, SIZE)
    names = {"__name__": "__main__", "Healthy": zoo.Healthy}
    exec("class Pasted(Healthy):\n    pass", names)
    with pytest.raises(CheckSkipped, match="the class Pasted stands in __main__"):
        checks.check_pickle(names["Pasted"](), zoo.CLASSES, SIZE)


@pytest.mark.slow
@pytest.mark.usefixtures("without_compilation")
def test_what_is_lacking_is_skipped_with_the_reason():
    report = check_backbone(zoo.LogitsAlone(), zoo.CLASSES, SIZE, on_fail="return", seed=0)
    skipped = {result.name: result.reason for result in report if result.status == "skipped"}
    assert skipped == {"check_missing_depth_stays_local": "the network predicts no depth"}


@pytest.mark.slow
@pytest.mark.usefixtures("unshrunk")
@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (zoo.NeedsDepth, "check_depth_not_needed_at_test_time"),
        (zoo.WholeStrides, "check_output_shapes"),
        (zoo.NeedsDepthInTraining, "check_output_shapes"),
    ],
)
def test_network_that_does_not_run_fails_once_and_says_where_to_look(fault, name):
    report = check_backbone(fault(), zoo.CLASSES, SIZE, on_fail="return", max_examples=1, seed=0)
    assert [result.name for result in report.failed] == [name]
    skipped = [result.reason for result in report if result.status == "skipped"]
    assert len(skipped) > 10
    assert all(name in reason for reason in skipped)


@pytest.mark.slow
@pytest.mark.usefixtures("unshrunk")
@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (zoo.ReturnsLabels, "check_output_dtypes"),
        (zoo.TurnsGradientsOff, "check_forward_keeps_global_state"),
        (zoo.CentredOverTheBatch, "check_sample_alone_equals_sample_in_batch"),
        (zoo.DropoutLeftOn, "check_eval_is_deterministic"),
        (zoo.SqueezesTheBatch, "check_output_shapes"),
        (zoo.LogitsOfDetachedFeatures, "check_outputs_carry_gradient"),
        (zoo.RunsTheOriginal, "check_deep_copy"),
    ],
)
def test_fault_is_told_by_one_check_alone(fault, name):
    torch.manual_seed(0)
    report = check_backbone(fault(), zoo.CLASSES, SIZE, on_fail="return", max_examples=1, seed=0)
    assert [result.name for result in report.failed] == [name]


@pytest.mark.slow
@pytest.mark.usefixtures("without_compilation")
def test_logits_at_another_resolution_are_resized():
    torch.manual_seed(0)
    report = check_backbone(
        zoo.LogitsAtAQuarter(), zoo.CLASSES, SIZE, resize="bilinear", on_fail="return", seed=0
    )
    assert not report.failed, report


def test_square_network_may_refuse_other_images_but_not_return_wrong_shapes():
    class Square(zoo.Healthy):
        def forward(self, image):
            if image.shape[2] != image.shape[3]:
                raise ValueError("square images, please")
            return super().forward(image)

    checks.check_output_shapes(Square(), zoo.CLASSES, (32, 32), seed=0)
    with pytest.raises(ContractError):
        checks.check_output_shapes(Square(), zoo.CLASSES, (24, 32), seed=0)
    with pytest.raises(ContractError):
        checks.check_output_shapes(zoo.UpsamplesByAFactor(), zoo.CLASSES, (32, 32), seed=0)


def test_network_of_square_images_is_told_so():
    class Square(zoo.Healthy):
        def forward(self, image):
            if image.shape[2] != image.shape[3]:
                raise ValueError("square images, please")
            return super().forward(image)

    with pytest.raises(ContractError, match=r"images of \(32, 32\): pass image_size=\(32, 32\)"):
        checks.check_output_shapes(Square(), zoo.CLASSES, (24, 32))
    checks.check_depth_not_needed_at_test_time(Square(), zoo.CLASSES, (24, 32))


@pytest.mark.slow
@pytest.mark.usefixtures("without_compilation")
def test_batch_norm_of_a_pooled_feature_is_a_remark():
    class Pooled(zoo.LogitsAlone):
        def __init__(self):
            super().__init__()
            self.pooled_norm = nn.BatchNorm2d(zoo.CLASSES)

        def forward(self, image):
            logits = super().forward(image)
            return logits + self.pooled_norm(logits.mean((2, 3), keepdim=True))

    report = check_backbone(Pooled(), zoo.CLASSES, SIZE, on_fail="return", seed=0, max_examples=1)
    shapes = report[0]
    assert (shapes.name, shapes.status) == ("check_output_shapes", "passed")
    assert "single image" in shapes.reason


def test_failure_is_shrunk_to_the_smallest_image():
    """Wrong for wider images alone: the size that is found is the smallest that is wrong."""

    class WrongWhenWide(zoo.LogitsAlone):
        def forward(self, image):
            logits = super().forward(image)
            return logits[..., 1:] if image.shape[3] >= SIZE[1] + 3 else logits

    with pytest.raises(ContractError) as caught:
        checks.check_output_shapes(WrongWhenWide(), zoo.CLASSES, SIZE, max_examples=30, seed=0)
    assert f"(1, 3, {SIZE[0]}, {SIZE[1] + 3})" in caught.value.finding


@pytest.mark.slow
@pytest.mark.usefixtures("without_compilation")
def test_unused_parameters_of_a_library_are_a_remark(monkeypatch):
    """A library's unused layer is excused, our own beside it is not."""

    class Library(zoo.Healthy):
        __module__ = "transformers.models.some.modeling_some"

        def __init__(self):
            super().__init__()
            self.pooler = nn.Linear(3, 3)

    class Adapter(nn.Module):
        def __init__(self, ours):
            super().__init__()
            self.net = Library()
            if ours:
                self.ours = nn.Linear(3, 3)

        def forward(self, image):
            return self.net(image)

    report = check_backbone(Adapter(False), zoo.CLASSES, SIZE, on_fail="return", seed=0)
    by_name = {result.name: result for result in report}
    result = by_name["check_every_parameter_receives_a_gradient"]
    assert (result.status, "net.pooler.weight" in result.reason) == ("passed", True)
    with pytest.raises(ContractError, match=r"ours\.bias, ours\.weight"):
        checks.check_every_parameter_receives_a_gradient(Adapter(True), zoo.CLASSES, SIZE)


def test_detached_library_is_not_excused():
    class Library(zoo.Healthy):
        __module__ = "transformers.models.some.modeling_some"

    class Adapter(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = Library()
            self.head = nn.Conv2d(zoo.CLASSES, zoo.CLASSES, 1)

        def forward(self, image):
            return self.head(self.net(image).logits.detach())

    with pytest.raises(ContractError):
        checks.check_every_parameter_receives_a_gradient(Adapter(), zoo.CLASSES, SIZE)


def test_warm_up_fits_batch_norms_and_stirs_zero_heads_on_a_copy():
    from lwm_loss.testing import warm_up

    model = zoo.ZeroHead()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    ready = warm_up(model, SIZE)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    image = torch.randn(2, 3, *SIZE)
    assert ready.training
    assert ready.eval()(image).logits.std() > 0
    assert int(ready.norm.num_batches_tracked) == 2
    # A network that has been trained is left as it is.
    with torch.no_grad():
        model(image)
    again = warm_up(model, SIZE)
    assert torch.equal(again.norm.running_mean, model.norm.running_mean)
