"""Lab 2: a charge that hangs, with nothing to end it."""

from workshop import policies
from workshop.lab import Lab, Note
from workshop.platform import Platform
from workshop.probes import best, broken_payment

_HANGS_MS, _SLOW_MS, _LONGEST_SECONDS = 2_500, 300, 1.8
_GONE = """\
    retry: null
    # timeout and deadline were taken out: "they only make errors"
"""
_MENDED = """\
    retry: null
    timeout: {duration: 800ms}
"""


def _policy(lines: str) -> str:
    limits = "    deadline: 2500ms\n    timeout: {duration: 800ms}\n"
    return policies.changed((policies.CHARGE, policies.CHARGE.replace(limits, lines)))


def _begin(at: Platform) -> None:
    at.use_policy(_policy(_GONE))


def _check(at: Platform, _note: Note, _answer: str) -> str:
    with broken_payment(at, latency_ms=_HANGS_MS):
        hung = best(at, 2, lambda placed: placed.status in (201, 202) and placed.seconds <= _LONGEST_SECONDS)
    if hung.status not in (201, 202) or hung.seconds > _LONGEST_SECONDS:
        raise LAB.not_yet(
            f"While charges hang for {_HANGS_MS / 1000:g} s, a customer waits {hung.seconds:.1f} s for {hung.status}; "
            f"at most {_LONGEST_SECONDS:g} s.",
            "mend-it",
        )
    with broken_payment(at, latency_ms=_SLOW_MS):
        slow = best(at, 4, lambda placed: placed.status == 201)
    if slow.status != 201:
        raise LAB.not_yet(
            f"A charge that takes {_SLOW_MS} ms is healthy, and is given up: {slow.status} after {slow.seconds:.1f} s.",
            "the-trap",
        )
    return (
        f"A charge that hangs costs {hung.seconds:.1f} s and gives {hung.status}; one of {_SLOW_MS} ms is waited for."
    )


def _see(at: Platform, _note: Note) -> None:
    with broken_payment(at, latency_ms=_HANGS_MS):
        at.place()


def _mend(at: Platform, _note: Note) -> str:
    at.use_policy(_policy(_MENDED))
    return ""


LAB = Lab(
    number=2,
    title="Timeouts",
    page="02-timeouts.md",
    minutes=20,
    scene="Somebody took the time limits of the charge out of .local/workshop/resilience.yaml. Orders wait.",
    hints=(
        "Slow the charges down, place an order, and look at what curl says it took.",
        "payment.process in .local/workshop/resilience.yaml has neither timeout nor deadline.",
        "Healthy charges take up to a third of a second, a customer waits two: timeout: {duration: 800ms}.",
    ),
    begin=_begin,
    check=_check,
    see=_see,
    mend=_mend,
)
