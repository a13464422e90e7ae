"""All checks on one subject, and one test for each check of each subject."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from torch import nn

from . import checks  # noqa: F401  fills the registries
from .expect import CheckSkipped
from .registry import REGISTRIES, Check, Registry, backbone_check, loss_check
from .report import CheckResult, Report
from .subjects.loss import LossProbe
from .subjects.network import BackboneProbe
from .subjects.signature import named_parameters

Expected = Mapping[str, str]


def check_backbone(
    model: nn.Module,
    num_classes: int | None = None,
    image_size: tuple[int, int] = (48, 64),
    *,
    on_fail: Literal["raise", "return"] = "raise",
    expected_failed_checks: Expected | None = None,
    resize: str | None = None,
    max_examples: int = 4,
    seed: int | None = None,
) -> Report:
    """Check that a network keeps what depth-privileged mining rests on.

    A backbone maps images (B, 3, H, W) to logits, (logits, log_depth), (logits, log_depth,
    side_logits), a mapping with these names, or :class:`lwm_loss.MultiTaskOutput`. What it lacks is
    skipped, and the reason said. The network is copied before it is run, and left as it is.

    Args:
        model: the network. Logits are at the size of the image, unless ``resize`` is given.
        num_classes: C; without it, what the network returns.
        image_size: height and width of the images; some checks use images larger by up to 17
            pixels, or twice as large. With a square size a network may refuse other images.
        on_fail: ``"raise"`` raises the first failure, ``"return"`` puts it into the report.
        expected_failed_checks: reasons by the names of checks that are known to fail.
        resize: ``"bilinear"``, ``"bicubic"`` or ``"nearest"`` brings logits and log-depth that are
            at another resolution to the size of the image first.
        max_examples: how many inputs hypothesis draws for a property; the corners come on top.
        seed: makes the drawn inputs the same on every run, as they are where ``CI`` is set.

    Returns:
        One :class:`CheckResult` for each check; prints as a table.

    Raises:
        ContractError: a check failed, with ``on_fail="raise"``.
        TypeError: ``model`` is no nn.Module.
        ValueError: an option is not one of those above, or names no check.

    Example:
        >>> from lwm_loss.testing import check_backbone
        >>> report = check_backbone(nn.Conv2d(3, 5, 1), num_classes=5, image_size=(8, 9))
        >>> report.failed
        []
    """
    probe = BackboneProbe(
        model, num_classes, image_size, resize=resize, max_examples=max_examples, seed=seed
    )
    return _run(backbone_check, probe, on_fail, expected_failed_checks)


def check_loss(
    criterion: Callable[..., Any],
    num_classes: int | None = None,
    *,
    on_fail: Literal["raise", "return"] = "raise",
    expected_failed_checks: Expected | None = None,
    ignore_index: int | None = None,
    kind: str = "auto",
    task: str | None = None,
    max_weight: float | None = None,
    max_examples: int = 25,
    seed: int | None = None,
) -> Report:
    r"""Check that a loss, a weighting or a curriculum keeps its contract.

    Args:
        criterion: called as ``criterion(logits, target[, pred_depth, target_depth])``, with
            ``side_logits`` if it has an argument of that name; returns a scalar, a map, or terms
            with their ``total``. A weighting returns weights (B, \*S). A curriculum is called as
            ``curriculum(weight_map, mask)`` and has a method ``step``. Predicted depth is in logs,
            unless it has an attribute ``log_input`` that is False. It is copied before it is called.
        num_classes: C; without it, what the loss says, or 5.
        on_fail: ``"raise"`` raises the first failure, ``"return"`` puts it into the report.
        expected_failed_checks: reasons by the names of checks that are known to fail.
        ignore_index: the label of pixels that do not count; without it, what the loss says, or
            those of -100 and 255 that it takes without an error.
        kind: ``"criterion"``, ``"weighting"`` or ``"curriculum"``, if ``"auto"`` takes it for
            something else.
        task: ``"multiclass"``, ``"binary"`` (logits (B, 1, \*S)) or ``"multilabel"`` (labels
            (B, C, \*S)); without it, what an attribute ``task`` says, or ``"multiclass"``.
        max_weight: the bound of weights whose ``fusion`` does not say it.
        max_examples: how many inputs hypothesis draws for a property; the corners come on top.
        seed: makes the drawn inputs the same on every run, as they are where ``CI`` is set.

    Returns:
        One :class:`CheckResult` for each check; prints as a table.

    Raises:
        ContractError: a check failed, with ``on_fail="raise"``.
        TypeError: ``criterion`` cannot be called.
        ValueError: an option is not one of those above, or names no check.

    Example:
        >>> from lwm_loss.testing import check_loss
        >>> known = {"check_non_finite_ignored_pixels_stay_out": "torch's own lets NaN through"}
        >>> criterion = nn.CrossEntropyLoss(reduction="none")
        >>> report = check_loss(
        ...     criterion, num_classes=4, expected_failed_checks=known, max_examples=2
        ... )
        >>> report.failed
        []
    """
    probe = LossProbe(
        criterion,
        num_classes,
        ignore_index=ignore_index,
        kind=kind,
        task=task,
        max_weight=max_weight,
        max_examples=max_examples,
        seed=seed,
    )
    return _run(loss_check, probe, on_fail, expected_failed_checks)


def _run(
    registry: Registry[Any, Any], probe: Any, on_fail: str, expected: Expected | None
) -> Report:
    if on_fail not in ("raise", "return"):
        raise ValueError(f'Expected `on_fail` to be "raise" or "return", but got {on_fail!r}.')
    expected = dict(expected or {})
    _require_names(expected)
    report = Report()
    for check in registry.checks.values():
        try:
            report.append(CheckResult(check.name, "passed", check(probe)))
        except CheckSkipped as error:
            report.append(CheckResult(check.name, "skipped", str(error)))
        except Exception as error:
            if check.name in expected:
                report.append(CheckResult(check.name, "xfailed", expected[check.name], error))
                continue
            if on_fail == "raise":
                raise
            finding = getattr(error, "finding", f"{type(error).__name__}: {error}")
            report.append(CheckResult(check.name, "failed", finding, error))
    return report


def _require_names(expected: Expected) -> None:
    known = [name for registry in REGISTRIES for name in registry.checks]
    for name in expected:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f": did you mean {close[0]!r}?" if close else "."
            raise ValueError(
                f"Expected `expected_failed_checks` to name checks, but got {name!r}{hint}"
            )


def is_backbone(subject: Any) -> bool:
    """Whether a subject is taken for a backbone: a module of one argument that has parameters.

    Everything else is a loss: functions, modules that need a target, and modules of weights.

    Example:
        >>> is_backbone(nn.Conv2d(3, 5, 1)), is_backbone(nn.CrossEntropyLoss())
        (True, False)
    """
    if not isinstance(subject, nn.Module):
        return False
    parameters = named_parameters(subject.forward)
    required = [p.name.lower() for p in parameters if p.default is p.empty]
    if any(word in name for name in required[1:] for word in ("target", "label", "truth")):
        return False
    return any(True for _ in subject.parameters()) and "weight" not in "".join(required[:1])


def parametrize_with_checks(
    subjects: Iterable[Any],
    *,
    expected_failed_checks: Expected | Callable[[Any], Expected] | None = None,
    num_classes: int | None = None,
    **options: Any,
) -> Any:
    """A pytest decorator: one test for each check of each subject, called ``(subject, check)``.

    Args:
        subjects: instances of networks and losses; see ``is_backbone`` for which is which.
        expected_failed_checks: reasons by the names of checks, or a function from a subject to
            such a mapping; these tests are marked ``xfail``.
        num_classes: C of every subject; without it, what each one returns or says.
        **options: further options of :func:`check_backbone` and :func:`check_loss`; each is given
            to the kind of subject that has it.

    Returns:
        A mark, with ids such as ``"Conv2d-check_output_shapes"``.

    Raises:
        ImportError: pytest is not installed.
        TypeError: a subject is a class, or an option is known to neither kind.
        ValueError: ``expected_failed_checks`` names no check.

    Example:
        >>> @parametrize_with_checks([nn.Conv2d(3, 5, 1), nn.CrossEntropyLoss()])
        ... def test_contract(subject, check):
        ...     check(subject)
    """
    try:
        import pytest
    except ImportError as error:
        raise ImportError(
            "Expected pytest to be installed for parametrize_with_checks, but it is not: "
            "did you mean `pip install lwm-loss[testing]`?"
        ) from error

    for name in options:
        if not any(name in registry.options for registry in REGISTRIES):
            raise TypeError(f"Expected an option of check_backbone or check_loss, got {name!r}.")
    items = []
    seen: dict[str, int] = {}
    for subject in subjects:
        if isinstance(subject, type):
            raise TypeError(
                f"Expected instances, but got the class {subject.__name__}: did you mean "
                f"{subject.__name__}()?"
            )
        expected = expected_failed_checks or {}
        expected = expected(subject) if callable(expected) else expected
        _require_names(expected)
        registry: Registry[Any, Any] = backbone_check if is_backbone(subject) else loss_check
        given = {name: value for name, value in options.items() if name in registry.options}
        given["num_classes"] = num_classes
        label = _label(subject)
        seen[label] = seen.get(label, 0) + 1
        if seen[label] > 1:
            label = f"{label}{seen[label]}"
        for check in registry.checks.values():
            known = check.name in expected
            marks = [pytest.mark.xfail(reason=expected[check.name])] if known else []
            bound = BoundCheck(check, registry.probe, given)
            items.append(pytest.param(subject, bound, marks=marks, id=f"{label}-{check.name}"))
    return pytest.mark.parametrize(("subject", "check"), items)


def _label(subject: Any) -> str:
    function = getattr(subject, "func", subject)  # functools.partial
    return str(getattr(function, "__name__", type(function).__name__))


class BoundCheck(NamedTuple):
    """A check with its options, to be called with a subject."""

    check: Check[Any]
    probe: Callable[..., Any]
    options: Mapping[str, Any]

    def __call__(self, subject: Any) -> None:
        """Raises ContractError if the contract is broken, CheckSkipped if it does not apply."""
        self.check(self.probe(subject, **self.options))

    def __repr__(self) -> str:
        return self.check.name
