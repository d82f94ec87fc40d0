"""Says whether the platform stood: from the recording, the journal and the auditor, by rules that are all here."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from chaos.definition import Definition
from chaos.recording import Recording
from chaos.runner.checks import Finding, examine


class Label(StrEnum):
    """How a run ended."""

    PASS = "PASS"  # noqa: S105 - a verdict
    FAIL = "FAIL"
    ABORTED = "ABORTED"
    INCONCLUSIVE = "INCONCLUSIVE"

    @property
    def exit_code(self) -> int:
        """For shells: 0 passes, 1 fails, 3 was aborted, 4 says nothing."""
        return {Label.PASS: 0, Label.FAIL: 1, Label.ABORTED: 3, Label.INCONCLUSIVE: 4}[self]


@dataclass(frozen=True, slots=True)
class Facts:
    """What came of a run beside the recording.

    Attributes:
        not_started: why there was no fault at all; empty when there was.
        interrupted: why the experiment ended early; empty when it did not.
        steady_after: the steady state held after the fault; None when nobody looked.
        audit: 0 clean, 1 broken, 2 not readable, None when the auditor did not run; as its exit code.
        audit_says: what it printed.
        left_over: faults that still act at the end.
    """

    not_started: str = ""
    interrupted: str = ""
    steady_after: bool | None = None
    audit: int | None = None
    audit_says: str = ""
    left_over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The label, the reason in a sentence, and what it stands on."""

    label: Label
    reason: str
    bites: tuple[Finding, ...] = ()
    expected: tuple[Finding, ...] = ()


def judge(definition: Definition, recording: Recording, facts: Facts, end: float) -> Verdict:
    """The verdict of one run that was over at `end`.

    In this order: lost money or stock is a failure whatever else happened; an abort is one before anything is
    expected; a fault that did not bite proves nothing; then what was expected, and recovery.
    """
    window = recording.window(end)
    if facts.not_started or window is None:
        return Verdict(Label.INCONCLUSIVE, f"not started: {facts.not_started or 'there was no fault'}")
    bites = tuple(examine(check, recording, window) for check in definition.bites)
    expected = tuple(examine(check, recording, window) for check in definition.expect)

    def verdict(label: Label, reason: str) -> Verdict:
        return Verdict(label, reason, bites, expected)

    if facts.audit == 1:
        return verdict(Label.FAIL, f"an invariant is broken: {_broken(facts.audit_says)}")
    if facts.interrupted:
        return verdict(Label.ABORTED, facts.interrupted)
    if failed := [mark.text for mark in recording.marks if mark.kind == "failed" and mark.at < window[1]]:
        return verdict(Label.INCONCLUSIVE, f"the fault could not be put in: {failed[0]}")
    if missing := [finding for finding in bites if not finding.holds]:
        return verdict(Label.INCONCLUSIVE, f"the fault did not bite: {_said(missing)}")
    if wrong := [finding for finding in expected if not finding.holds]:
        return verdict(Label.FAIL, _said(wrong))
    return _recovered(recording, facts, verdict(Label.PASS, "everything was as expected"), verdict)


def _recovered(
    recording: Recording, facts: Facts, passed: Verdict, verdict: Callable[[Label, str], Verdict]
) -> Verdict:
    if unrecovered := next((mark.text for mark in recording.marks if mark.kind == "unrecovered"), ""):
        return verdict(Label.FAIL, unrecovered)
    if recording.first("recovered") is None:
        return verdict(Label.INCONCLUSIVE, "nobody looked whether the platform recovered")
    if facts.left_over:
        return verdict(Label.FAIL, f"still broken: {'; '.join(facts.left_over)}")
    if facts.steady_after is False:
        return verdict(Label.FAIL, "the steady state did not hold after the fault")
    if facts.audit is None or facts.audit == 2:
        return verdict(Label.INCONCLUSIVE, f"the invariants could not be checked: {facts.audit_says.strip()[:200]}")
    return passed


def _said(findings: list[Finding]) -> str:
    return "; ".join(f"{finding.wanted}; seen: {finding.seen}" for finding in findings)


def _broken(report: str) -> str:
    lines = [line for line in report.splitlines() if line.startswith("BROKEN")]
    return lines[0].removeprefix("BROKEN: ") if lines else report.strip()[:200]
