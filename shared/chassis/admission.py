"""Load shedding: refuse early, the least important first, before the process drowns.

Three signs of too much load: requests in flight, how late the event loop runs its timers, and a line that new requests
wait in and that is full. Health checks and metrics are always answered; requests for orders under way are served longer
than requests for new ones.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum

from prometheus_client import CollectorRegistry, Counter, Gauge

_PRIORITY_HEADER = b"x-priority"
_LAG_INTERVAL = 0.1
_LAG_SMOOTHING = 0.5


class Priority(IntEnum):
    """What a request is for; the highest number is shed first."""

    HEALTH = 0
    RUNNING = 1
    NEW = 2


_SHARE_OF_REQUESTS = {Priority.RUNNING: 1.0, Priority.NEW: 0.8}
_TOLERATED_LAG_SECONDS = {Priority.RUNNING: 3.0, Priority.NEW: 0.75}


def is_operation(path: str) -> bool:
    """Whether a path serves those who run the service: always answered, neither traced nor counted as traffic."""
    return path.startswith("/health/") or path in ("/metrics", "/info")


class Priorities:
    """Finds the priority of a request from `"METHOD /path/{template}"` rules; what no rule names is RUNNING."""

    def __init__(self, rules: Mapping[str, Priority]) -> None:
        self._exact: dict[tuple[str, str], Priority] = {}
        self._patterns: list[tuple[str, re.Pattern[str], Priority]] = []
        for rule, priority in rules.items():
            method, path = rule.split(" ", 1)
            if "{" in path:
                literals = (re.escape(literal) for literal in re.split(r"\{[^}]+\}", path))
                self._patterns.append((method, re.compile("[^/]+".join(literals)), priority))
            else:
                self._exact[method, path] = priority

    def of(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Priority:
        """The priority of a request; a caller may lower it with `x-priority: new`, never raise it."""
        if is_operation(path):
            return Priority.HEALTH
        if headers.get(_PRIORITY_HEADER, b"").strip().lower() == b"new":
            return Priority.NEW
        exact = self._exact.get((method, path))
        if exact is not None:
            return exact
        matches = (p for m, pattern, p in self._patterns if m == method and pattern.fullmatch(path))
        return next(matches, Priority.RUNNING)


class Admission:
    """Counts the requests in flight and decides whether one more may enter.

    Use `refusal(priority)`, then `enter()` and `leave()` around the work.

    Attributes:
        line_is_full: asked for each new request, before anything of it is read; a service that has new requests wait in
            a line of their own says here when one more would wait in vain.
    """

    def __init__(
        self,
        max_requests: int,
        metrics: CollectorRegistry,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        # rounded up: the smallest service still takes one new order at a time
        self._limits = {p: max(1, int(max_requests * share)) for p, share in _SHARE_OF_REQUESTS.items()}
        self._monotonic, self._sleep = monotonic, sleep
        self.in_flight = 0
        self.lag_seconds = 0.0
        self.line_is_full: Callable[[], bool] = lambda: False
        self._shed = Counter(
            "requests_shed_total", "Requests refused before any work", ["priority", "reason"], registry=metrics
        )
        for priority in self._limits:
            for reason in ("requests", "event_loop_lag", *(["line"] if priority is Priority.NEW else [])):
                self._shed.labels(priority.name.lower(), reason)
        gauge = Gauge("requests_in_flight", "Requests being served, health checks left out", registry=metrics)
        gauge.set_function(lambda: self.in_flight)
        lag = Gauge("event_loop_lag_seconds", "How late the event loop runs its timers, smoothed", registry=metrics)
        lag.set_function(lambda: self.lag_seconds)

    def refusal(self, priority: Priority) -> str | None:
        """Why a request of this priority may not enter now, or None when it may."""
        if priority is Priority.HEALTH:
            return None
        reason = None
        if self.in_flight >= self._limits[priority]:
            reason = "requests"
        elif self.lag_seconds > _TOLERATED_LAG_SECONDS[priority]:
            reason = "event_loop_lag"
        elif priority is Priority.NEW and self.line_is_full():
            reason = "line"
        if reason is not None:
            self._shed.labels(priority.name.lower(), reason).inc()
        return reason

    def enter(self) -> None:
        """Count a request in."""
        self.in_flight += 1

    def leave(self) -> None:
        """Count it out again."""
        self.in_flight -= 1

    async def watch_lag(self) -> None:
        """Measure the lag of the event loop for ever."""
        while True:
            due = self._monotonic() + _LAG_INTERVAL
            await self._sleep(_LAG_INTERVAL)
            late = max(0.0, self._monotonic() - due)
            self.lag_seconds += _LAG_SMOOTHING * (late - self.lag_seconds)
