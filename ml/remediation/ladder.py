"""Whom to treat for a warning, and with what, one after the other."""

from collections.abc import Mapping
from dataclasses import dataclass

from ml.features.signals import CALLEES
from ml.remediation.evidence import Evidence
from ml.remediation.policy import OF_CALLEES, Kind, Policy, Whom


@dataclass(frozen=True, slots=True)
class Course:
    """What is tried about an alarm: on which service, in which order.

    specific: one of the remedy's signals moved; otherwise it is the remedy for whatever it is
    """

    service: str
    kinds: tuple[Kind, ...]
    specific: bool


def course(seen: Evidence, evidence: Mapping[str, Evidence], policy: Policy) -> Course | str:
    """What to try about a warning, or why that cannot be said."""
    found = policy.remedy(seen.signals)
    if found is None:
        return "the policy has no remedy for it"
    remedy, signal = found
    if remedy.treat is Whom.ITSELF:
        return Course(seen.service, remedy.actions, specific=bool(signal))
    callee = suspect(seen.service, OF_CALLEES[signal], evidence)
    if callee is None:
        return f"unknown: nobody knows in whom of those it calls the {signal.removeprefix('callees_')} moved"
    return Course(callee, remedy.actions, specific=True)


def suspect(service: str, signal: str, evidence: Mapping[str, Evidence]) -> str | None:
    """From whom of those that it calls a service suffers: in whom the signal moved most, or who is likeliest to fail.

    None: it calls nobody, or the one of whom nothing is known may be it.
    """
    callees = [evidence.get(callee) or Evidence(callee, None) for callee in CALLEES.get(service, ())]
    known = [each for each in callees if each.probability is not None]
    if not known:
        return None
    worst = max(known, key=lambda each: (each.weights.get(signal, 0.0), each.probability or 0.0))
    sure = worst.weights.get(signal, 0.0) > 0 or len(known) == len(callees)
    return worst.service if sure else None
