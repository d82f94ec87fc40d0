"""What was seen during one run: orders, metrics, processes, alerts and what happened when. Times are Unix seconds."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

GOOD = frozenset({201, 202, 402, 409})
"""Statuses by which a customer was served: taken, declined or sold out are answers, an error is none."""

Labels = frozenset[tuple[str, str]]


@dataclass(slots=True)
class Order:
    """One order of the experiment's own load; `ended` is None while it is under way. Status 0 is no answer."""

    key: str
    sent: float
    ended: float | None = None
    status: int = 0
    meaning: str = ""
    seconds: float = 0.0
    attempts: int = 0

    @property
    def good(self) -> bool:
        """Its customer was served."""
        return self.ended is not None and self.status in GOOD


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened: `kind` is one word (fault, lift, breaker, alert, process, abort, ...)."""

    at: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Series:
    """One series of one replica."""

    name: str
    service: str
    instance: str
    labels: Labels = frozenset()

    def matches(self, name: str, service: str | None, instance: str | None, labels: Mapping[str, str]) -> bool:
        """It has that name, and those of the others that are given."""
        return (
            self.name == name
            and service in (None, self.service)
            and instance in (None, self.instance)
            and self.labels >= frozenset(labels.items())
        )


@dataclass(slots=True)
class Recording:
    """All of one run. Everything that judges or draws works on this and on nothing else."""

    orders: dict[str, Order] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    series: dict[Series, list[tuple[float, float]]] = field(default_factory=dict)
    queries: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    processes: dict[str, list[tuple[float, str, int]]] = field(default_factory=dict)
    alerts: dict[str, list[tuple[float, str]]] = field(default_factory=dict)

    # -- writing

    def mark(self, at: float, kind: str, text: str) -> None:
        """Something happened."""
        self.marks.append(Mark(at, kind, text))

    def sample(self, at: float, readings: Mapping[Series, float]) -> None:
        """The metrics of a replica at one moment."""
        for series, value in readings.items():
            self.series.setdefault(series, []).append((at, value))

    def process(self, at: float, name: str, state: str, pid: int) -> None:
        """The state of a program: running, paused, down. Only changes are kept."""
        seen = self.processes.setdefault(name, [])
        if not seen or seen[-1][1:] != (state, pid):
            if seen:
                self.mark(at, "process", f"{name}: {_change(seen[-1], state, pid)}")
            seen.append((at, state, pid))

    def alert(self, at: float, name: str, state: str) -> None:
        """The state of an alert: pending, firing, or none any more."""
        seen = self.alerts.setdefault(name, [])
        if not seen or seen[-1][1] != state:
            seen.append((at, state))
            self.mark(at, "alert", f"{name}: {state}")

    # -- reading

    def first(self, kind: str) -> float | None:
        """When that kind of thing happened first."""
        return next((mark.at for mark in self.marks if mark.kind == kind), None)

    def window(self, end: float) -> tuple[float, float] | None:
        """From the start of the fault to its end, or to `end` when it has none; None when there was no fault."""
        begun = self.first("fault")
        if begun is None:
            return None
        return begun, self.first("lift") or end

    def sent_between(self, start: float, end: float) -> list[Order]:
        """The orders that were sent in a time."""
        return [order for order in list(self.orders.values()) if start <= order.sent < end]

    def increase(
        self,
        name: str,
        start: float,
        end: float,
        *,
        service: str | None = None,
        instance: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> float:
        """How much a counter grew in a time, over all replicas that match. A restarted replica counts on from 0."""
        return sum(
            _growth(points, start, end)
            for series, points in list(self.series.items())
            if series.matches(name, service, instance, labels or {})
        )

    def peak(
        self,
        name: str,
        start: float,
        end: float,
        *,
        service: str | None = None,
        instance: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> float | None:
        """The largest value of a gauge in a time; None when nobody showed it."""
        values = [
            value
            for series, points in list(self.series.items())
            if series.matches(name, service, instance, labels or {})
            for at, value in points
            if start <= at <= end
        ]
        return max(values, default=None)

    def breaker_states(self, name: str) -> dict[str, list[tuple[float, str]]]:
        """Each replica's states of a breaker in turn, with when each was first seen."""
        seen: dict[str, list[tuple[float, str]]] = {}
        rows = [
            (at, series.instance, dict(series.labels).get("state", ""))
            for series, points in list(self.series.items())
            if series.matches("resilience4j_circuitbreaker_state", None, None, {"name": name})
            for at, value in points
            if value == 1
        ]
        for at, instance, state in sorted(rows):
            states = seen.setdefault(instance, [])
            if not states or states[-1][1] != state:
                states.append((at, state))
        return seen

    def breakers(self) -> list[str]:
        """Every breaker that was seen."""
        return sorted(
            {
                dict(series.labels)["name"]
                for series in list(self.series)
                if series.name == "resilience4j_circuitbreaker_state"
            }
        )


def percentile(values: Iterable[float], percent: float) -> float:
    """The value that `percent` of all stay within; 0 when there is none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0


def _growth(points: list[tuple[float, float]], start: float, end: float) -> float:
    grown, last = 0.0, None
    for at, value in points:
        if at > end:
            break
        if at > start:
            # The first sample of all, when it comes after the start, is a series that was not there before.
            before = last if last is not None else 0.0
            grown += value - before if value >= before else value
        last = value
    return grown


def _change(before: tuple[float, str, int], state: str, pid: int) -> str:
    if state == "running" and before[2] not in (0, pid):
        return f"restarted (pid {before[2]} -> {pid})"
    return f"{before[1]} -> {state}" + (f" (pid {pid})" if state == "running" else "")
