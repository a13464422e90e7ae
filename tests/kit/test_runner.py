"""The reports, the runner, and the pytest decorator."""

from __future__ import annotations

import ast
import pickle
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import lwm_loss as lwm
from lwm_loss.testing import (
    CheckResult,
    CheckSkipped,
    ContractError,
    Report,
    check_backbone,
    check_loss,
    checks,
    parametrize_with_checks,
)
from lwm_loss.testing.copying import deep_copy
from lwm_loss.testing.expect import Breach
from lwm_loss.testing.registry import backbone_check, loss_check
from lwm_loss.testing.runner import is_backbone
from lwm_loss.testing.search import Effort, for_all
from tests.kit import backbones, losses
from tests.kit.shown import masked

ROOT = Path(__file__).resolve().parents[2]
SIZE = (24, 32)
FAST = {"image_size": SIZE, "max_examples": 1, "seed": 0}


def conv():
    torch.manual_seed(0)
    return nn.Conv2d(3, 5, 1)


def dropout_left_on():
    torch.manual_seed(0)
    return backbones.DropoutLeftOn()


def test_failure_is_raised_by_default():
    with pytest.raises(ContractError, match="check_eval_is_deterministic: "):
        check_backbone(dropout_left_on(), 5, **FAST)


@pytest.mark.slow
@pytest.mark.usefixtures("without_compilation")
def test_failure_is_returned_on_demand():
    report = check_backbone(dropout_left_on(), 5, on_fail="return", **FAST)
    assert isinstance(report, list)
    assert all(isinstance(result, CheckResult) for result in report)
    by_name = {result.name: result for result in report}
    failed = by_name["check_eval_is_deterministic"]
    assert failed.status == "failed"
    assert isinstance(failed.exception, ContractError)
    assert failed.reason == failed.exception.finding
    assert by_name["check_output_shapes"] == CheckResult("check_output_shapes", "passed")
    assert [result.name for result in report.failed] == [
        result.name for result in report if result.status == "failed"
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("without_compilation")
def test_expected_failures_are_told_apart():
    reasons = {
        "check_eval_is_deterministic": "Monte Carlo dropout",
        "check_output_shapes": "does not fail",
    }
    report = check_backbone(dropout_left_on(), 5, expected_failed_checks=reasons, **FAST)
    assert not report.failed
    xfailed = {result.name: result.reason for result in report if result.status == "xfailed"}
    assert xfailed == {"check_eval_is_deterministic": "Monte Carlo dropout"}
    assert {result.name: result.status for result in report}["check_output_shapes"] == "passed"


@pytest.mark.slow
def test_every_check_reports_once_and_in_order():
    report = check_backbone(conv(), **FAST)
    assert sorted(result.name for result in report) == sorted(backbone_check.checks)
    assert [result.name for result in report[:3]] == [
        "check_output_shapes",
        "check_output_dtypes",
        "check_logits_are_scores",
    ]
    names = [result.name for result in check_loss(losses.Plain(), 5, max_examples=1, seed=0)]
    assert sorted(names) == sorted(loss_check.checks)
    assert names[0] == "check_loss_output"


def test_report_prints_as_a_table():
    report = Report(
        [
            CheckResult("check_a", "passed"),
            CheckResult("check_long_name", "failed", "it broke"),
            CheckResult("check_b", "skipped", "nothing there"),
        ]
    )
    assert str(report).splitlines() == [
        "check_a          passed",
        "check_long_name  failed   it broke",
        "check_b          skipped  nothing there",
        "1 failed, 1 passed, 1 skipped",
    ]
    assert report.failed == report[1:2]


@pytest.mark.slow
def test_subject_and_process_are_left_alone():
    torch.manual_seed(0)
    model = backbones.CountsItsCalls()
    model.eval()
    model.head.requires_grad_(False)
    model.stem.weight.grad = torch.ones_like(model.stem.weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    check_backbone(model, 5, on_fail="return", **FAST)
    assert model.calls == 0
    assert not any(module.training for module in model.modules())
    assert not model.head.weight.requires_grad
    assert bool((model.stem.weight.grad == 1).all())
    assert model.block.weight.grad is None
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


@pytest.mark.slow
def test_network_that_cannot_be_copied_is_put_back():
    torch.manual_seed(0)
    model = backbones.HoldsALock()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = check_backbone(model, 5, on_fail="return", **FAST)
    assert {result.name for result in report.failed} == {"check_deep_copy", "check_pickle"}
    assert model.training
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.slow
def test_loss_is_left_alone():
    curriculum = lwm.SelfPacedCurriculum(3)
    check_loss(curriculum, max_examples=1, seed=0)
    assert curriculum.progress == 0.0
    target = losses.WarmsUp()
    check_loss(target, 5, on_fail="return", max_examples=1, seed=0)
    assert target.calls == 0


def test_grad_mode_off_does_not_matter():
    with torch.no_grad():
        checks.check_every_parameter_receives_a_gradient(conv(), image_size=SIZE)
        checks.check_labelled_pixels_get_a_gradient(losses.Plain(), 5)
        assert not torch.is_grad_enabled()


def test_same_seed_draws_the_same_inputs(monkeypatch):
    from hypothesis import strategies as st

    def drawn(effort):
        seen = []
        for_all(st.integers(0, 10**6), seen.append, effort)
        return seen

    assert drawn(Effort(10, seed=3)) == drawn(Effort(10, seed=3))
    assert drawn(Effort(10, seed=3)) != drawn(Effort(10, seed=4))
    monkeypatch.setenv("CI", "true")
    assert drawn(Effort(10)) == drawn(Effort(10))
    monkeypatch.delenv("CI")
    assert drawn(Effort(10)) != drawn(Effort(10))


def test_property_reports_the_smallest_input_and_then_the_corners():
    from hypothesis import strategies as st

    def below_five(value):
        if value >= 5:
            raise Breach(str(value))

    with pytest.raises(Breach) as caught:
        for_all(st.integers(0, 1000), below_five, Effort(50, seed=0))
    assert caught.value.finding == "5"
    with pytest.raises(Breach) as caught:
        for_all(st.integers(0, 4), below_five, Effort(5, seed=0), corners=[3, 9])
    assert caught.value.finding == "9"


def test_check_alone_skips_and_raises():
    with pytest.raises(CheckSkipped, match="predicts no depth"):
        checks.check_missing_depth_stays_local(conv(), image_size=SIZE)
    checks.check_output_shapes(conv(), num_classes=5, image_size=SIZE)
    with pytest.raises(ContractError, match=r"shape \(1, 5, .* in place of \(1, 7"):
        checks.check_output_shapes(conv(), num_classes=7, image_size=SIZE)


def test_error_survives_a_pickle():
    with pytest.raises(ContractError) as caught:
        checks.check_output_shapes(conv(), num_classes=7, image_size=SIZE)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.reproduce == caught.value.reproduce


# --- the decorator ------------------------------------------------------------------------------

KNOWN = {
    "check_all_ignored_is_zero": "a mean of nothing",
    "check_low_precision": "a mean in half",
    "check_non_finite_ignored_pixels_stay_out": "torch multiplies NaN by 0",
}


def known_of(subject):
    return KNOWN if isinstance(subject, nn.CrossEntropyLoss) else {}


@pytest.mark.slow
@parametrize_with_checks(
    [nn.Conv2d(3, 5, 1), nn.CrossEntropyLoss(), lwm.SelfPacedCurriculum(2)],
    expected_failed_checks=known_of,
    image_size=(16, 17),
    max_examples=1,
    seed=0,
)
def test_contract(subject, check):
    check(subject)


def test_decorator_gives_one_item_for_each_check_with_a_readable_id():
    mark = parametrize_with_checks(
        [conv(), conv(), losses.plain_function],
        expected_failed_checks={"check_pickle": "why not"},
        num_classes=5,
    ).mark
    names, items = mark.args
    assert names == ("subject", "check")
    ids = [item.id for item in items]
    assert len(ids) == len(set(ids)) == 2 * len(backbone_check.checks) + len(loss_check.checks)
    assert ids[0] == "Conv2d-check_output_shapes"
    assert "Conv2d2-check_pickle" in ids
    assert ids[-1].startswith("plain_function-check_")
    expected = [item.id for item in items if item.marks]
    assert expected == ["Conv2d-check_pickle", "Conv2d2-check_pickle"]
    assert items[0].values[1].options["num_classes"] == 5
    assert repr(items[0].values[1]) == "check_output_shapes"


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (backbones.Healthy(), True),
        (backbones.NeedsDepth(), True),
        (nn.Sequential(nn.Conv2d(3, 4, 1)), True),
        (nn.CrossEntropyLoss(), False),
        (losses.plain_function, False),
        (lwm.LossWeightModule(), False),
        (lwm.SelfPacedCurriculum(2), False),
        (losses.ClassBalanced(torch.ones(3)), False),
    ],
)
def test_backbones_and_losses_are_told_apart(subject, expected):
    assert is_backbone(subject) is expected


# --- mistakes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: check_backbone(nn.Conv2d), TypeError, "an nn.Module, but got Conv2d"),
        (lambda: check_backbone(torch.relu), TypeError, "an nn.Module, but got"),
        (lambda: check_backbone(conv(), image_size=(3,)), ValueError, r"\(height, width\)"),
        (lambda: check_backbone(conv(), resize="cubic"), ValueError, "`resize` to be one of"),
        (lambda: check_backbone(conv(), on_fail="warn"), ValueError, '"raise" or "return"'),
        (
            lambda: check_backbone(conv(), expected_failed_checks={"check_pikle": ""}),
            ValueError,
            "did you mean 'check_pickle'?",
        ),
        (lambda: check_loss(nn.CrossEntropyLoss), TypeError, "a loss, but got CrossEntropyLoss"),
        (lambda: check_loss(3), TypeError, "a loss, but got int"),
        (lambda: check_loss(nn.CrossEntropyLoss(), kind="x"), ValueError, "`kind` to be one of"),
        (lambda: parametrize_with_checks([nn.Conv2d]), TypeError, r"did you mean Conv2d\(\)\?"),
        (lambda: parametrize_with_checks([conv()], colour=1), TypeError, "got 'colour'"),
        (
            lambda: parametrize_with_checks([conv()], expected_failed_checks={"check_x": ""}),
            ValueError,
            "to name checks, but got 'check_x'",
        ),
    ],
)
def test_mistake_gets_one_sentence(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    text = str(caught.value)
    assert text.startswith("Expected ")
    assert text[-1] in ".?"
    assert not re.search(r"\. [A-Z]", text)


# --- the package --------------------------------------------------------------------------------


def run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )


@pytest.mark.slow
def test_library_imports_neither_hypothesis_nor_pytest():
    result = run(
        "-c",
        "import sys, lwm_loss\n"
        "assert not {'hypothesis', 'pytest', 'lwm_loss.testing'} & set(sys.modules)\n"
        "from lwm_loss.testing import check_backbone, parametrize_with_checks\n"
        "assert 'hypothesis' in sys.modules and 'pytest' not in sys.modules",
    )
    assert result.returncode == 0, result.stderr


def test_optimised_python_finds_and_prints_the_same():
    """``python -O`` drops assert statements and what hangs on ``__debug__``: there are none."""
    for path in (ROOT / "lwm_loss").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}"
            assert getattr(node, "id", None) != "__debug__", f"{path}:{node.lineno}"


def test_without_hypothesis_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(ImportError) as caught:
        runpy.run_path(str(ROOT / "lwm_loss" / "testing" / "__init__.py"))
    assert str(caught.value) == (
        "Expected hypothesis to be installed for lwm_loss.testing, but it is not: "
        "did you mean `pip install lwm-loss[testing]`?"
    )


def test_without_pytest_one_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(ImportError) as caught:
        parametrize_with_checks([])
    assert str(caught.value) == (
        "Expected pytest to be installed for parametrize_with_checks, but it is not: "
        "did you mean `pip install lwm-loss[testing]`?"
    )


def test_a_copy_of_a_module_has_hooks_of_its_own():
    calls = []
    model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.ReLU())
    model[0].register_forward_hook(lambda *_: calls.append("model"))
    twin = deep_copy(model)
    twin[1].register_forward_hook(lambda *_: calls.append("twin"))
    model(torch.ones(1))
    assert calls == ["model"]
    twin(torch.ones(1))
    assert calls == ["model", "model", "twin"]
    empty = [value for layer in twin for value in vars(layer).values() if value == {}]
    assert len({id(value) for value in empty}) == len(empty)


def test_public_names_are_there_and_no_others():
    import lwm_loss.testing as kit

    assert all(getattr(kit, name) is not None for name in kit.__all__)
    assert set(dir(checks)) == set(checks.__all__)
    assert checks.__all__ == [*backbone_check.checks, *loss_check.checks]
    for name in checks.__all__:
        function = getattr(checks, name)
        assert function.__name__ == name
        assert "Usual cause: " in function.__doc__


@pytest.mark.slow
def test_example_prints_both_reports(capsys):
    from examples.property_test_backbone import main

    main([])
    healthy, faulty = capsys.readouterr().out.split("LeakyNetwork\n")
    assert healthy.endswith(f"{len(backbone_check.checks)} passed\n\n")
    assert re.search(r"check_sample_alone_equals_sample_in_batch +failed +for image", faulty)
    # The page of the documentation shows this message; numbers differ between processors.
    page = (ROOT / "docs" / "testing_your_backbone.rst").read_text()
    message = faulty[faulty.index("\n\ncheck_sample_alone") :]
    assert masked(message) in masked(page)
