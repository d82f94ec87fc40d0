"""One run as reports see it, and the figures in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chaos.definition import Definition
from chaos.recording import Order, Recording, percentile
from chaos.runner.checks import amplification
from chaos.runner.verdict import Facts, Verdict


@dataclass(frozen=True, slots=True)
class Run:
    """Everything about one run. Times are Unix seconds."""

    experiment: Mapping[str, Any]
    definition: Definition
    recording: Recording
    facts: Facts
    verdict: Verdict
    name: str
    seed: int
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Phase:
    """What customers saw in one phase. Latencies in seconds."""

    name: str
    orders: int
    served: float
    p50: float
    p99: float
    statuses: Mapping[int, int]
    unanswered: int


def phases(run: Run) -> list[Phase]:
    """Before, during and after the fault; all in one when there was none."""
    orders = list(run.recording.orders.values())
    window = run.recording.window(run.ended)
    if window is None:
        return [_phase("no fault", orders)]
    start, end = window
    return [
        _phase("before", [order for order in orders if order.sent < start]),
        _phase("during", [order for order in orders if start <= order.sent < end]),
        _phase("after", [order for order in orders if order.sent >= end]),
    ]


def figures(run: Run) -> dict[str, float | None]:
    """Numbers to compare runs by; None where there is nothing to say."""
    window = run.recording.window(run.ended)
    recovered = run.recording.first("recovered")
    settled = run.recording.first("settled")
    abort, lift = run.recording.first("abort"), run.recording.first("lift")
    ratio = amplification(run.recording, "", *window)[0] if window else None
    return {
        "fault_seconds": window[1] - window[0] if window else None,
        "recovery_seconds": recovered - window[1] if window and recovered else None,
        "settled_seconds": settled - window[1] if window and settled else None,
        "abort_seconds": lift - abort if abort and lift else None,
        "amplification": ratio,
    }


def _phase(name: str, orders: list[Order]) -> Phase:
    ended = [order for order in orders if order.ended is not None]
    statuses: dict[int, int] = {}
    for order in ended:
        statuses[order.status] = statuses.get(order.status, 0) + 1
    seconds = [order.seconds for order in ended]
    served = sum(order.good for order in orders) / len(orders) if orders else 0.0
    return Phase(
        name, len(orders), served, percentile(seconds, 50), percentile(seconds, 99),
        dict(sorted(statuses.items())), len(orders) - len(ended),
    )  # fmt: skip
