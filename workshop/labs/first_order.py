"""Lab 1: one order, sent twice, one declined, and the trace."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from workshop.lab import Lab, Note
from workshop.platform import DECLINED_CARD, Platform, Trouble, waited

_SERVICES = {"order", "payment", "inventory"}
_ANSWERED = ("201", "202", "402")
_EXPORT_SECONDS = 15.0


def _begin(at: Platform) -> None:
    at.directory.mkdir(parents=True, exist_ok=True)


def _check(at: Platform, note: Note, answer: str) -> str:
    orders = at.orders_since(note.began)
    confirmed = [each for each in orders if each["state"] == "CONFIRMED"]
    if not confirmed:
        raise LAB.not_yet(f"Of {len(orders)} orders since the lab began none is CONFIRMED.", "one-order")
    answers = sum(note.grown(at, "order", "orders_total", status=status) for status in _ANSWERED)
    taken = [each for each in orders if each["state"] not in ("REJECTED", "FAILED")]
    if answers <= len(taken):
        raise LAB.not_yet(
            f"{len(taken)} orders and {answers:.0f} answers: none was sent again with its key.", "the-same-again"
        )
    if not any(each["state"] == "DECLINED" for each in orders):
        raise LAB.not_yet("No order was declined yet.", "declined")
    if not re.fullmatch(r"[0-9a-f]{32}", answer.strip()):
        raise LAB.not_yet(
            "The trace of your order is not named: make lab-check LAB=1 ANSWER=<32 digits of x-trace-id>.", "the-trace"
        )
    return _judge(whole_trace(at, answer.strip()), note)


def _judge(trace: Mapping[str, Any] | None, note: Note) -> str:
    if trace is None:
        raise LAB.not_yet("The control room has no trace of that id.", "the-trace")
    spans = trace["spans"]
    services = {each["serviceName"] for each in trace["processes"].values()}
    operations = {each["operationName"] for each in spans}
    if min(each["startTime"] for each in spans) / 1e6 < note.began:
        raise LAB.not_yet("That trace is older than this lab.", "the-trace")
    if "POST /orders" not in operations:
        raise LAB.not_yet("That is no trace of an order that was placed.", "the-trace")
    if not services >= _SERVICES or "processPayment" not in operations:
        missing = ", ".join(sorted(_SERVICES - services)) or "the charge"
        raise LAB.not_yet(f"That trace lacks {missing}: it is of the repetition. Take the first answer's.", "the-trace")
    calls = [each for each in spans if trace["processes"][each["processID"]]["serviceName"] != "order"]
    longest = max(calls, key=lambda each: each["duration"])
    return (
        f"One order, answered twice, charged once: {len(spans)} spans in {len(services)} services; "
        f"the longest call is {longest['operationName']}, {longest['duration'] / 1000:.0f} ms."
    )


def whole_trace(at: Platform, trace_id: str) -> Mapping[str, Any] | None:
    """A trace with all three services in it, or as it is after a while; None when there is none.

    Spans are sent in batches: the last of them some seconds after the answer.
    """
    if at.stack.settings.traces == "off":
        raise Trouble("This stack keeps no traces: make restart TRACES=on")
    found: list[Mapping[str, Any]] = []

    def whole() -> bool:
        try:
            found[:] = at.get(at.stack.url("control-room"), f"/api/traces/{quote(trace_id)}")["data"]
        except Trouble:
            return False
        return {each["serviceName"] for each in found[0]["processes"].values()} >= _SERVICES

    waited(whole, _EXPORT_SECONDS)
    return found[0] if found else None


def _see(at: Platform, note: Note) -> None:
    at.place(_key(note))


def _mend(at: Platform, note: Note) -> str:
    """The key's first answer came with another trace: the one that has the charge in it."""
    first = at.place(f"{_key(note)}-b")
    at.place(_key(note))
    at.place(card=DECLINED_CARD)
    return first.trace


def _key(note: Note) -> str:
    return f"lab-1-{note.began:.3f}"


LAB = Lab(
    number=1,
    title="First order, and its trace",
    page="01-first-order.md",
    minutes=15,
    scene="Nothing is broken. Place an order, send it again, have one declined, and find the first one's trace.",
    hints=(
        "Every answer has a header x-trace-id: curl -i shows it, curl -D FILE keeps it.",
        "The same Idempotency-Key gives the same order. Another key, another order.",
        "The card 4000000000000002 is declined; ANSWER is the trace id of the first answer, not of the repetition.",
    ),
    begin=_begin,
    check=_check,
    see=_see,
    mend=_mend,
    counters=(("order", "orders_total"),),
)
