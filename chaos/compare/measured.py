"""What is measured of one rung: from the orders of its load, and from counters of the order and payment services."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field

from chaos.recording import Order, Recording, percentile

METRICS = frozenset({"http_client_request_duration_seconds_count", "requests_in_flight"})
"""What a recording has to hold beside what all hold."""

_QUICK_SECONDS = 1.0
_REFUSED = frozenset({402, 409})
_TAKEN = frozenset({201, 202})
_LAG_SECONDS = 2.0
_SAMPLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One rung's numbers, of the orders that were sent while the fault acted.

    Attributes:
        orders: how many there were, declined cards and sold out goods left out.
        success: share of them that was answered 201 or 202.
        goodput: those a second that were answered so within one second.
        p50, p99: seconds until an answer; of those without one, until the end of the fault.
        sent: attempts for each order that the order service made to call payment, giving back included.
        reached: charges for each order that arrived at a payment service, by its own count.
        in_flight: most requests that were under way at payment at once, as far as one look a second sees.
        recovered: seconds from the end of the fault until customers were served and breakers closed; None when not.
        lost, twice: orders whose promise was broken, and that were charged twice, by the auditor; None unaudited.
        statuses: orders by status, 0 is none.
    """

    orders: int
    success: float
    goodput: float
    p50: float
    p99: float
    sent: float
    reached: float
    in_flight: float
    recovered: float | None = None
    lost: int | None = None
    twice: int | None = None
    audit: str = ""
    statuses: Mapping[int, int] = field(default_factory=dict)

    def value(self, number: str) -> float | None:
        """One of the numbers that a rung can be asked for."""
        return asdict(self)[number]  # type: ignore[no-any-return]


def measure(recording: Recording, window: tuple[float, float], handlers: Collection[str] = ("/process",)) -> Measured:
    """The numbers of a recording over the time of the fault; `handlers` are the routes that charge.

    What recovery took and what the auditor says is for the caller to add.
    """
    start, end = window
    every = recording.sent_between(start, end)
    valid = [order for order in every if order.status not in _REFUSED]
    taken = [order for order in valid if order.ended is not None and order.status in _TAKEN]
    waits = [order.seconds if order.ended is not None else end - order.sent for order in valid]
    count = max(len(every), 1)
    # A charge that began in the fault may be counted after it: it is counted when it ends.
    late = end + _LAG_SECONDS
    sent = recording.increase(
        "http_client_request_duration_seconds_count", start, late, service="order", labels={"to": "payment"}
    )
    reached = sum(
        recording.increase("http_requests_total", start, late, service="payment", labels={"handler": handler})
        for handler in handlers
    )
    return Measured(
        orders=len(valid),
        success=len(taken) / len(valid) if valid else 0.0,
        goodput=sum(order.seconds <= _QUICK_SECONDS for order in taken) / max(end - start, 1e-9),
        p50=percentile(waits, 50),
        p99=percentile(waits, 99),
        sent=sent / count,
        reached=reached / count,
        in_flight=_most_at_once(recording, start, end),
        statuses=_statuses(every),
    )


def _most_at_once(recording: Recording, start: float, end: float) -> float:
    """The replicas are looked at within the same second, each at its own moment of it."""
    seconds: dict[int, dict[str, float]] = {}
    for series, points in recording.series.items():
        if series.matches("requests_in_flight", "payment", None, {}):
            for at, value in points:
                if start <= at <= end:
                    of_replicas = seconds.setdefault(int((at - start) / _SAMPLE_SECONDS), {})
                    of_replicas[series.instance] = max(value, of_replicas.get(series.instance, 0.0))
    return max((sum(each.values()) for each in seconds.values()), default=0.0)


def _statuses(orders: list[Order]) -> dict[int, int]:
    found: dict[int, int] = {}
    for order in orders:
        found[order.status] = found.get(order.status, 0) + 1
    return dict(sorted(found.items()))
