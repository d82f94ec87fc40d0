"""What is asked of Prometheus about a service: one number a minute for each signal, over all series of the service.

Each expression names how the replicas are put together (the worst, the sum), so one series comes back, or none. None
is a gap and stays one: nothing is interpolated, and no missing number becomes zero.

The first nine are the tutorial's (Step 10), with three corrections: errors as a ratio, processor and memory as shares
of their limits, latencies from the buckets of all replicas together.
"""

from dataclasses import dataclass
from string import Template

SERVICES = ("order", "payment", "inventory")

CALLEES: dict[str, tuple[str, ...]] = {"order": ("payment", "inventory")}
"""Whom a service calls: what runs out there is felt here."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One number about a service, a minute at a time.

    query:     PromQL; `$service`, `$callees` (whom it calls), `$window` (the tutorial's 5 minutes), `$memory` (bytes a
               process may hold)
    limit:     where it has run out, for the time that is left until then; None where there is no such point
    essential: without it nothing can be said about the service
    """

    name: str
    query: str
    limit: float | None = None
    essential: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """How the clock of the platform maps to the minutes of features and labels.

    minute:       seconds that count as one minute: 60 in production, less in a recorded campaign
    memory_bytes: what a service process may hold
    """

    minute: float = 60.0
    memory_bytes: float = 1024 * 2**20

    def __post_init__(self) -> None:
        if self.minute < 1 or self.memory_bytes <= 0:
            raise ValueError("a minute takes at least one second, and memory is more than nothing")

    def seconds(self, minutes: float) -> float:
        """So many minutes of features, in seconds of the platform's clock."""
        return minutes * self.minute

    def fill(self, query: str, service: str) -> str:
        """The query for one service."""
        return Template(query).substitute(
            service=service,
            callees="|".join(CALLEES.get(service, ("nobody",))),
            window=f"{max(2, round(self.seconds(5)))}s",
            memory=f"{self.memory_bytes:.0f}",
        )


_BUCKETS = 'sum by (le) (rate(http_request_duration_seconds_bucket{service="$service"}[$window]))'
_REQUESTS = 'sum(rate(http_requests_total{service="$service"}[$window]))'
_ERRORS = 'sum(rate(http_requests_total{service="$service",status=~"5.."}[$window]))'
_RETRIES = 'resilience4j_retry_calls_total{name=~"$service.*"'

_OWN = (
    Signal("cpu", 'max(rate(process_cpu_seconds_total{service="$service"}[$window]))', 1.0, essential=True),
    Signal("memory", 'max(process_resident_memory_bytes{service="$service"}) / $memory', 1.0, essential=True),
    Signal("latency_p50", f"histogram_quantile(0.50, {_BUCKETS})", 1.0),
    Signal("latency_p95", f"histogram_quantile(0.95, {_BUCKETS})", 1.0),
    Signal("latency_p99", f"histogram_quantile(0.99, {_BUCKETS})", 1.0),
    Signal(
        "error_ratio",
        f"({_ERRORS} or vector(0)) / ({_REQUESTS} > 0)",
        0.05,
    ),
    Signal("request_rate", _REQUESTS, essential=True),
    Signal("breaker_open", 'max(resilience4j_circuitbreaker_state{name=~"$service.*",state="open"})'),
    Signal(
        "pool",
        'max(db_pool_connections_active{service="$service"} / db_pool_connections_max{service="$service"})',
        1.0,
    ),
    Signal("queue_age", 'max(outbox_oldest_seconds{service="$service"} or queued_payments_oldest_seconds)'),
    Signal("loop_lag", 'max(event_loop_lag_seconds{service="$service"})', 0.5),
    Signal("in_flight", 'sum(requests_in_flight{service="$service"})'),
    Signal(
        "retry_ratio",
        f'sum(rate({_RETRIES},kind=~".*_with_retry"}}[$window])) / (sum(rate({_RETRIES}}}[$window])) > 0)',
    ),
    Signal("shed_ratio", f'sum(rate(requests_shed_total{{service="$service"}}[$window])) / ({_REQUESTS} > 0)', 0.05),
    Signal("restarts", 'sum(changes(process_start_time_seconds{service="$service"}[$window]))'),
    Signal("replicas", 'sum(up{service="$service"})'),
)

_FELT = ("cpu", "memory", "latency_p95", "pool", "loop_lag")
"""Signals of whom a service calls that say what it will feel itself; the worst of all of them."""


def of_callees(name: str) -> str:
    """What such a signal is called."""
    return f"callees_{name}"


def _of_callees(signal: Signal) -> Signal:
    query = signal.query.replace('service="$service"', 'service=~"$callees"')
    if "by (le)" in query:
        query = f"max({query.replace('by (le)', 'by (service, le)')})"
    return Signal(of_callees(signal.name), query, signal.limit)


SIGNALS = (*_OWN, *(_of_callees(signal) for signal in _OWN if signal.name in _FELT))
OWN = tuple(signal.name for signal in _OWN)
FELT = tuple(name for name in OWN if name in _FELT)
"""In the order of `SIGNALS`, as those of the callees are."""

NAMES = tuple(signal.name for signal in SIGNALS)
ESSENTIAL = tuple(index for index, signal in enumerate(SIGNALS) if signal.essential)
