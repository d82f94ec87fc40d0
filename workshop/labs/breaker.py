"""Lab 4: a breaker that stands open although payment is well, then the whole round by itself."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from workshop.lab import Lab, Note
from workshop.platform import Platform, waited
from workshop.probes import broken_payment

Step = tuple[str, str]

_BREAKER = "/admin/resilience/breakers/payment"
_BY_HAND: Sequence[Step] = (("open", "half_open"), ("half_open", "closed"))
_ROUND: Sequence[Step] = (("closed", "open"), *_BY_HAND)
_HALF_OPEN_SECONDS = 20.0


def _begin(at: Platform) -> None:
    at.ask_all("order", "POST", _BREAKER, {"to": "open", "wait": "1h"})


def _check(at: Platform, note: Note, _answer: str) -> str:
    breakers = at.ask_all("order", "GET", _BREAKER)
    for each in breakers:
        if each["state"] != "closed":
            raise LAB.not_yet(
                f"The breaker for payment is {each['state']}, for {each['retry_after']:.0f} s more.", "let-it-try"
            )
    steps = [_since(each, note.began) for each in breakers]
    if not any(_contains(each, _BY_HAND) for each in steps):
        raise LAB.not_yet(
            "The breaker is closed, but not by trial calls: nobody asked whether payment is well.",
            "the-trap",
        )
    if not any(_contains(each, (*_BY_HAND, *_ROUND)) for each in steps):
        raise LAB.not_yet("Since then it has not opened, tried and closed by itself.", "the-whole-round")
    return f"Mended by trial calls, then a whole round by itself: {' '.join(after for _, after in steps[0])}."


def _since(breaker: Mapping[str, Any], began: float) -> list[Step]:
    age = time.time() - began
    return [(each["before"], each["after"]) for each in breaker["transitions"] if each["seconds_ago"] < age]


def _contains(steps: Sequence[Step], wanted: Sequence[Step]) -> bool:
    """All of it, in that order, whatever lies between."""
    left = iter(steps)
    return all(each in left for each in wanted)


def _see(at: Platform, _note: Note) -> None:
    at.place()


def _mend(at: Platform, _note: Note) -> str:
    at.ask_all("order", "POST", _BREAKER, {"to": "half_open"})
    _until_closed(at)
    with broken_payment(at, status=500):
        at.place_many(16, 4)
    waited(lambda: all(each["state"] == "half_open" for each in at.ask_all("order", "GET", _BREAKER)))
    _until_closed(at)
    return ""


def _until_closed(at: Platform) -> None:
    def closed() -> bool:
        at.place_many(2, 2)
        return all(each["state"] == "closed" for each in at.ask_all("order", "GET", _BREAKER))

    waited(closed, _HALF_OPEN_SECONDS)


LAB = Lab(
    number=4,
    title="Circuit breaker: stuck open, half-open",
    page="04-circuit-breaker.md",
    minutes=25,
    scene="Payment is well, and every order gets 202. Something does not let the charges through.",
    hints=(
        "curl -sS localhost:8080/health/ready names the breakers and their states.",
        "GET /admin/resilience/breakers/payment says for how long it stays open. It was told to, by hand.",
        "half_open, not closed: three charges then decide. For the round: payment away, 10 orders, payment back.",
    ),
    begin=_begin,
    check=_check,
    see=_see,
    mend=_mend,
)
