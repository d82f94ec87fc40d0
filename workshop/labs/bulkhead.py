"""Lab 5: a bulkhead that somebody guessed too small, and one that finds its limit by itself."""

import time

from workshop import policies
from workshop.lab import Lab, Note
from workshop.platform import Platform, waited
from workshop.probes import broken_payment

_AT_ONCE = 12
_GUESSED = "    bulkhead: {max_concurrent_calls: 1, max_wait_duration: 0s, max_waiting: 0}\n"
_FINDS = """\
    bulkhead:
      type: adaptive
      min_limit: 4
      initial_limit: 16
      max_limit: 64
      max_wait_duration: 500ms
      max_waiting: 200
"""


def _policy(bulkhead: str) -> str:
    return policies.changed((policies.CHARGE, policies.CHARGE + bulkhead))


def _begin(at: Platform) -> None:
    at.use_policy(_policy(_GUESSED))


def _check(at: Platform, note: Note, _answer: str) -> str:
    at.reset_breakers()
    before = _refused(at)
    at.place_many(_AT_ONCE, _AT_ONCE)
    refused = _refused(at) - before
    if refused:
        raise LAB.not_yet(
            f"Nothing is broken, and of {_AT_ONCE} orders at once the bulkhead refuses {refused} charges.", "mend-it"
        )
    moves = _moves(at, note.began)
    if not moves:
        raise LAB.not_yet(
            "No limit has moved since the lab began: either it is fixed, or nothing was slow.", "adaptive"
        )
    listed = ", ".join(f"{before}->{after}" for before, after in moves[-5:])
    return f"{_AT_ONCE} charges at once, none refused; the limit moved by itself: {listed}."


def _refused(at: Platform) -> int:
    return sum(int(each["metrics"]["bulkhead"]["refused"]) for each in at.pipelines("payment.process"))


def _moves(at: Platform, began: float) -> list[tuple[int, int]]:
    age = time.time() - began
    events = [event for each in at.pipelines("payment.process") for event in each["events"]]
    moved = [event for event in events if event["kind"] == "LimitChanged" and event["seconds_ago"] < age]
    return [(event["details"]["before"], event["details"]["after"]) for event in moved]


def _see(at: Platform, _note: Note) -> None:
    at.place_many(_AT_ONCE, _AT_ONCE)


def _mend(at: Platform, note: Note) -> str:
    at.use_policy(_policy(_FINDS))
    at.reset_breakers()
    at.place_many(2 * _AT_ONCE, _AT_ONCE)

    def moved() -> bool:
        at.place_many(_AT_ONCE, _AT_ONCE)
        return bool(_moves(at, note.began))

    with broken_payment(at, latency_ms=250):
        waited(moved)
    return ""


LAB = Lab(
    number=5,
    title="Bulkhead and adaptive limits",
    page="05-bulkhead.md",
    minutes=25,
    scene="Payment is well and quick, and under a little load many orders get 202. No breaker is open.",
    hints=(
        "Send a load and look at resilience_bulkhead_refused_calls_total by name.",
        "Little's law: calls a second times seconds a call is how many are under way at once, on average.",
        "bulkhead: {type: adaptive, ...} in payment.process; then slow payment down under load, and its limit moves.",
    ),
    begin=_begin,
    check=_check,
    see=_see,
    mend=_mend,
)
