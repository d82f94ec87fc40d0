"""What checks do to see for themselves: a fault in payment for a moment, and orders meanwhile."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from workshop.platform import Placed, Platform, growth

_SECONDS = 30.0
_RETRIES = "resilience_retry_attempts_total"


@contextlib.contextmanager
def broken_payment(at: Platform, **fault: Any) -> Iterator[Callable[[], int]]:
    """A fault for charges in every replica of payment; says how many it has struck, and ends with the block."""
    begun: dict[str, str] = {}
    for url in at.replicas("payment").values():
        body = {"kind": "http", "path": "/process", "seconds": _SECONDS, "experiment": "workshop", **fault}
        begun[url] = at.ask(url, "POST", "/admin/faults", body)["id"]

    def struck() -> int:
        listed = [(url, each) for url in begun for each in at.ask(url, "GET", "/admin/faults")["faults"]]
        return sum(int(each["struck"]) for url, each in listed if each["id"] == begun[url])

    try:
        yield struck
    finally:
        for url, fault_id in begun.items():
            at.ask(url, "DELETE", f"/admin/faults/{fault_id}")


@dataclass(frozen=True, slots=True)
class Storm:
    """What became of orders while every charge failed: tries of the application for each, and charges that arrived.

    The mesh may refuse tries itself: those that arrive are no measure of what the application does.
    """

    tried: float
    arrived: float


def storm(at: Platform, orders: int) -> Storm:
    """Let every charge fail and place so many orders."""
    # What the learner's own storm has used up must not make a budget look better than it is.
    at.ask_all("order", "POST", "/admin/resilience/budgets/payment/refill")
    before = at.counts("order", _RETRIES)
    with broken_payment(at, status=500) as struck:
        at.place_many(orders, 5)
        arrived = struck()
    retries = growth(before, at.counts("order", _RETRIES), _RETRIES, {"name": "payment.process"})
    return Storm(1 + retries / orders, arrived / orders)


def best(at: Platform, tries: int, good: Callable[[Placed], bool], **headers: str) -> Placed:
    """The first order that is good, else the last of so many: a busy machine may spoil one.

    The breaker is closed and the retry budget full before each, so that neither is why the answer comes early.
    """
    placed = Placed(0, 0.0, {})
    for _ in range(tries):
        at.reset_breakers()
        at.ask_all("order", "POST", "/admin/resilience/budgets/payment/refill")
        placed = at.place(headers={name.replace("_", "-"): value for name, value in headers.items()})
        if good(placed):
            break
    return placed
