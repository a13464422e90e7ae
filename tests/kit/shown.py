"""What a check prints must fail as the check did, and every branch of a check must be reached."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lwm_loss.testing import CheckSkipped, ContractError, checks
from lwm_loss.testing.expect import Breach
from lwm_loss.testing.isolation import isolated

ASSERTIONS = {
    "breach",
    "expect_same",
    "expect_finite",
    "expect_zero",
    "expect_no_readback",
    "expect_settings_kept",
    "expect_whole_copy",
}
Branch = tuple[str, int, int]


def assert_caught(
    name: str, fault: Callable[[], Any], subject: str, *options: Any
) -> ContractError:
    """Run a check on a fault, and what it prints on a fresh one: the same finding."""
    torch.manual_seed(0)
    subject_under_test = fault()
    with pytest.raises(ContractError) as caught:
        getattr(checks, name)(subject_under_test, *options, seed=0)
    error = caught.value
    assert error.check == name
    assert str(error).startswith(f"{name}: ")
    assert error.contract in str(error)
    assert error.usual_cause in str(error)
    assert "testing._" not in error.reproduce, "a private module"
    torch.manual_seed(0)
    names = {subject: fault()}
    with isolated(), pytest.raises(Exception) as shown:  # noqa: PT011
        exec(error.reproduce, names)
    finding = str(shown.value)
    if not isinstance(shown.value, Breach):
        finding = f"it raised {type(shown.value).__name__}: {shown.value}"
    assert masked(error.finding) == masked(finding)[: len(masked(error.finding))]
    return error


def masked(sentence: str) -> str:
    """A sentence without its numbers, spaces and end."""
    plain = re.sub(r"-?(\d+\.?\d*(e[+-]?\d+)?|\binf\b|\bnan\b)", "#", sentence)
    return " ".join(plain.removesuffix(" [...]").split()).rstrip(".")


def branches(name: str) -> set[Branch]:
    """The places at which a check can fail: the assertions in the functions that it uses."""
    module = sys.modules[getattr(checks, name).__module__]
    defined = {
        node.name: node
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.FunctionDef)
    }
    used: set[str] = set()
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each in defined and each not in used:
            used.add(each)
            nodes = ast.walk(defined[each])
            waiting += [node.id for node in nodes if isinstance(node, ast.Name)]
    calls = (node for each in used for node in ast.walk(defined[each]))
    return {
        (module.__file__ or "", node.lineno, node.end_lineno or node.lineno)
        for node in calls
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ASSERTIONS
    }


def reached(error: BaseException) -> set[tuple[str, int]]:
    """The lines that an error came through."""
    lines = set()
    each: BaseException | None = error
    while each is not None:
        trace = each.__traceback__
        while trace is not None:
            lines.add((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
            trace = trace.tb_next
        each = each.__context__
    return lines


def assert_all_caught(
    name: str, faults: tuple[Callable[[], Any], ...], subject: str, *options: Any
) -> None:
    """Each fault is caught, and together they reach every branch of the check."""
    lines: set[tuple[str, int]] = set()
    for fault in faults:
        try:
            lines |= reached(assert_caught(name, fault, subject, *options))
        except (AssertionError, pytest.fail.Exception, CheckSkipped) as error:
            raise AssertionError(f"{name} on {fault.__name__}: {error}") from error
    missed = {
        branch
        for branch in branches(name)
        if not any(file == branch[0] and branch[1] <= line <= branch[2] for file, line in lines)
    }
    assert not missed, f"no fault reaches {sorted(missed)}"
