"""What a check says: passed, failed, skipped or expected to fail, and why."""

from __future__ import annotations

import textwrap
from typing import Literal, NamedTuple

Status = Literal["passed", "failed", "skipped", "xfailed"]


class ContractError(AssertionError):
    """A contract that a backbone or a loss breaks.

    Attributes:
        check: the name of the check.
        contract: what has to hold.
        finding: what was found instead.
        reproduce: a snippet that fails likewise when it is run with the subject in scope, as
            ``model`` or ``criterion``.
        usual_cause: how such a fault is usually made.

    Example:
        >>> error = ContractError("check_x", "A holds.", "it does not", "assert a", "a typo")
        >>> print(error)
        check_x: A holds.
        <BLANKLINE>
        Found: it does not.
        <BLANKLINE>
        To reproduce:
        <BLANKLINE>
            assert a
        <BLANKLINE>
        Usual cause: a typo.
    """

    def __init__(
        self, check: str, contract: str, finding: str, reproduce: str, usual_cause: str
    ) -> None:
        # All of them, so that the error survives a pickle between the workers of a test run.
        super().__init__(check, contract, finding, reproduce, usual_cause)
        self.check = check
        self.contract = contract
        self.finding = finding
        self.reproduce = reproduce
        self.usual_cause = usual_cause

    def __str__(self) -> str:
        return (
            f"{self.check}: {self.contract}\n\nFound: {self.finding.rstrip('.')}"
            f"{'' if self.finding.endswith('?') else '.'}\n\nTo reproduce:\n\n"
            f"{textwrap.indent(self.reproduce, '    ')}\n\nUsual cause: {self.usual_cause}."
        )


class CheckResult(NamedTuple):
    """The result of one check.

    Attributes:
        name: the check's name, as in ``expected_failed_checks``.
        status: ``"passed"``, ``"failed"``, ``"skipped"`` or ``"xfailed"`` (failed, as expected).
        reason: why it was skipped, failed or expected to fail; a remark where it passed.
        exception: what the check raised, if it failed.
    """

    name: str
    status: Status
    reason: str = ""
    exception: BaseException | None = None


class Report(list[CheckResult]):
    """A list of :class:`CheckResult` that prints as a table.

    Example:
        >>> print(Report([CheckResult("check_a", "passed"), CheckResult("check_b", "skipped", "no")]))
        check_a  passed
        check_b  skipped  no
        1 passed, 1 skipped
    """

    @property
    def failed(self) -> list[CheckResult]:
        """The results that are failures nobody expected."""
        return [result for result in self if result.status == "failed"]

    def __str__(self) -> str:
        name_width = max((len(result.name) for result in self), default=0)
        status_width = max((len(result.status) for result in self), default=0)
        rows = [
            f"{result.name:{name_width}}  {result.status:{status_width}}  "
            f"{textwrap.shorten(result.reason, 140)}".rstrip()
            for result in self
        ]
        statuses = [result.status for result in self]
        counts = [f"{statuses.count(status)} {status}" for status in sorted({*statuses})]
        return "\n".join([*rows, ", ".join(counts) or "no checks"])
