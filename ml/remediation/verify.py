"""Whether an action helped: from what is known some minutes later."""

from enum import StrEnum

from ml.remediation.evidence import Evidence
from ml.remediation.policy import Policy


class Verified(StrEnum):
    """`UNKNOWN`: nobody can tell, so nothing is undone, either."""

    HELPED = "helped"
    NOT_HELPED = "not helped"
    UNKNOWN = "unknown"


def judge(before: float, seen: Evidence, policy: Policy, *, alarm_over: bool) -> tuple[Verified, str]:
    """Compare the probability at the action with what is seen now; returns the verdict and its reason."""
    if seen.probability is None:
        return Verified.UNKNOWN, seen.unknown
    numbers = f"probability {before:.2f} -> {seen.probability:.2f}"
    if seen.breached:
        return Verified.NOT_HELPED, f"{numbers}, and users see the failure"
    if alarm_over:
        return Verified.HELPED, f"{numbers}, the alarm is over"
    if seen.probability <= before * (1 - policy.verification.least_drop):
        return Verified.HELPED, numbers
    return Verified.NOT_HELPED, numbers
