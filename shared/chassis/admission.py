"""Load shedding: refuse early, the least important first, before the process drowns.

Two signs of too much load: requests in flight, and how late the event loop runs its timers. Health checks and metrics
are always answered; requests for orders under way are served longer than requests for new ones.
"""

import asyncio
from enum import IntEnum

from prometheus_client import CollectorRegistry, Counter, Gauge

_LAG_INTERVAL = 0.1
_LAG_SMOOTHING = 0.5


class Priority(IntEnum):
    """What a request is for; the highest number is shed first."""

    HEALTH = 0
    RUNNING = 1
    NEW = 2


_SHARE_OF_REQUESTS = {Priority.RUNNING: 1.0, Priority.NEW: 0.8}
_TOLERATED_LAG_SECONDS = {Priority.RUNNING: 3.0, Priority.NEW: 0.75}


class Admission:
    """Counts the requests in flight and decides whether one more may enter.

    Use `refusal(priority)`, then `enter()` and `leave()` around the work.
    """

    def __init__(self, max_requests: int, metrics: CollectorRegistry) -> None:
        self._limits = {priority: int(max_requests * share) for priority, share in _SHARE_OF_REQUESTS.items()}
        self.in_flight = 0
        self.lag_seconds = 0.0
        self._shed = Counter(
            "requests_shed_total", "Requests refused before any work", ["priority", "reason"], registry=metrics
        )
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
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _LAG_INTERVAL
            await asyncio.sleep(_LAG_INTERVAL)
            late = max(0.0, loop.time() - due)
            self.lag_seconds += _LAG_SMOOTHING * (late - self.lag_seconds)
