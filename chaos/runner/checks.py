"""Examines the recording of a run: did the fault bite, was what should be seen to be seen?"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from chaos.definition import (
    Alert,
    Amplification,
    Answers,
    Bounds,
    Breaker,
    Check,
    Gauge,
    Increase,
    Latency,
    Process,
    Query,
)
from chaos.recording import Order, Recording, percentile

_LAG_SECONDS = 3.0
"""What a process, a breaker or a counter did at the very end of the fault is seen a little later."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was asked for, what was seen, whether it holds; of numbers also the value and its bounds."""

    wanted: str
    seen: str
    holds: bool
    value: float | None = None
    at_least: float | None = None
    at_most: float | None = None


def examine(check: Check, recording: Recording, window: tuple[float, float]) -> Finding:
    """One check over the time of the fault."""
    return _EXAMINERS[type(check)](check, recording, window)


def _answers(check: Answers, recording: Recording, window: tuple[float, float]) -> Finding:
    orders = _sent(recording, window, check.after_seconds)
    names = "/".join(str(status or "none") for status in check.answers)
    wanted = f"share of orders answered {names}: {check}"
    if not orders:
        return Finding(wanted, "no orders", holds=False)
    share = sum(order.ended is not None and order.status in check.answers for order in orders) / len(orders)
    return _measured(check, share, wanted, f"{share:.1%} of {len(orders)}")


def _latency(check: Latency, recording: Recording, window: tuple[float, float]) -> Finding:
    sent = _sent(recording, window, check.after_seconds)
    orders = [order for order in sent if order.status in check.of] if check.of else sent
    names = f" of {'/'.join(map(str, check.of))}" if check.of else ""
    wanted = f"p{check.latency}{names} in seconds: {check}"
    if not orders:
        return Finding(wanted, "no orders", holds=False)
    seconds = percentile([_waited(order, window[1]) for order in orders], check.latency)
    return _measured(check, seconds, wanted, f"{seconds:.2f} s of {len(orders)} orders")


def _increase(check: Increase, recording: Recording, window: tuple[float, float]) -> Finding:
    grown = recording.increase(
        check.increase, window[0], window[1] + _LAG_SECONDS,
        service=check.service, instance=check.instance, labels=check.labels,
    )  # fmt: skip
    of = f" of {check.instance or check.service}" if check.instance or check.service else ""
    return _measured(check, grown, f"{check.increase}{_labels(check.labels)}{of} grows by {check}", f"{grown:g}")


def _gauge(check: Gauge, recording: Recording, window: tuple[float, float]) -> Finding:
    peak = recording.peak(
        check.gauge, *window, service=check.service, instance=check.instance, labels=check.labels
    )  # fmt: skip
    wanted = f"{check.gauge}{_labels(check.labels)} at its peak: {check}"
    if peak is None:
        return Finding(wanted, "never shown", holds=False)
    return _measured(check, peak, wanted, f"{peak:g}")


def _query(check: Query, recording: Recording, window: tuple[float, float]) -> Finding:
    values = [value for at, value in recording.queries.get(check.promql, []) if window[0] <= at <= window[1]]
    wanted = f"{check.promql} at its peak: {check}"
    if not values:
        return Finding(wanted, "Prometheus was not asked", holds=False)
    return _measured(check, max(values), wanted, f"{max(values):g}")


def _process(check: Process, recording: Recording, window: tuple[float, float]) -> Finding:
    start, end = window[0] - 1.0, window[1] + _LAG_SECONDS
    seen = set()
    for name, states in recording.processes.items():
        if not any(fnmatch(name, wanted) for wanted in check.names):
            continue
        for before, (at, state, pid) in zip([None, *states], states, strict=False):
            if start <= at <= end:
                seen.add(f"{name} {state}")
                if before is not None and pid and before[2] not in (0, pid):
                    seen.add(f"{name} restarted")
                # A kill may be seen only by what came of it: gone, then here again with another id.
                if before is not None and before[1] == "down" and state in ("starting", "running"):
                    seen.add(f"{name} restarted")
    holds = any(each.endswith(f" {check.becomes}") for each in seen)
    return Finding(f"{' or '.join(check.names)} is seen {check.becomes}", ", ".join(sorted(seen)) or "no change", holds)


def _breaker(check: Breaker, recording: Recording, window: tuple[float, float]) -> Finding:
    end = window[1] + _LAG_SECONDS
    reached = sorted(
        {
            state
            for name in recording.breakers()
            if fnmatch(name, check.breaker)
            for states in recording.breaker_states(name).values()
            for state in _states_in(states, window[0], end)
        }
    )
    seen = ", ".join(reached) or "never shown"
    if check.never is not None:
        return Finding(f"breaker {check.breaker} is never {check.never}", seen, bool(reached) and "open" not in reached)
    return Finding(f"breaker {check.breaker} becomes {check.becomes}", seen, check.becomes in reached)


def _amplification(check: Amplification, recording: Recording, window: tuple[float, float]) -> Finding:
    ratio, calls = amplification(recording, check.amplification, *window)
    wanted = f"attempts for each call of {check.amplification or 'all pipelines'}: {check}"
    if ratio is None:
        return Finding(wanted, "no calls", holds=False)
    return _measured(check, ratio, wanted, f"{ratio:.2f} of {calls:g} calls")


def amplification(recording: Recording, pipeline: str, start: float, end: float) -> tuple[float | None, float]:
    """Attempts for each call that the order service made, and the calls; None when there were none."""
    labels = {"name": pipeline} if pipeline else {}
    calls = recording.increase("resilience4j_retry_calls_total", start, end, service="order", labels=labels)
    retries = recording.increase("resilience_retry_attempts_total", start, end, service="order", labels=labels)
    return ((calls + retries) / calls if calls else None), calls


def _alert(check: Alert, recording: Recording, window: tuple[float, float]) -> Finding:
    end = window[1] + _LAG_SECONDS
    states = _states_in(recording.alerts.get(check.alert, []), window[0], end)
    raised = bool({"pending", "firing"} & set(states))
    return Finding(f"alert {check.alert} is raised", ", ".join(states) or "never", raised)


def _states_in(states: list[tuple[float, str]], start: float, end: float) -> list[str]:
    """The states that held at some moment from `start` to `end`; each holds until the next one."""
    untils = [*(at for at, _ in states[1:]), math.inf]
    return [state for (at, state), until in zip(states, untils, strict=True) if at <= end and until > start]


def _measured(check: Bounds, value: float, wanted: str, seen: str) -> Finding:
    return Finding(wanted, seen, check.hold(value), value, check.at_least, check.at_most)


def _sent(recording: Recording, window: tuple[float, float], after: float) -> list[Order]:
    return recording.sent_between(window[0] + after, window[1])


def _waited(order: Order, end: float) -> float:
    return order.seconds if order.ended is not None else max(0.0, end - order.sent)


def _labels(labels: Any) -> str:
    return "{" + ", ".join(f"{key}={value}" for key, value in labels.items()) + "}" if labels else ""


_EXAMINERS: dict[type, Callable[[Any, Recording, tuple[float, float]], Finding]] = {
    Answers: _answers,
    Latency: _latency,
    Increase: _increase,
    Gauge: _gauge,
    Query: _query,
    Process: _process,
    Breaker: _breaker,
    Amplification: _amplification,
    Alert: _alert,
}
