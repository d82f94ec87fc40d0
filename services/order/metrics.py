"""What the order service tells Prometheus about orders, with few labels: none is a customer, an order or a key."""

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.order.orders import Orders
from services.order.states import FINAL, State

REFRESH_SECONDS = 5.0
"""How old the gauges may be: scrapes are no more frequent, and must not cost a query each."""

_ANSWERS = (201, 202, 402, 409, 503)
_UNFINISHED = tuple(state for state in State if state not in FINAL)


class OrderMetrics:
    """The service's own metrics on the registry of its application.

    Counters count what this replica did; the gauges are of the database, which all replicas share.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.answers = Counter("orders_total", "Answers to placed orders, by status", ["status"], registry=registry)
        for status in _ANSWERS:
            self.answers.labels(str(status))
        self._ended = Counter(
            "orders_ended_total", "Orders that came to a final state, by that state", ["state"], registry=registry
        )
        for state in sorted(FINAL):
            self._ended.labels(state)  # from the start at 0: the first one of its kind is an increase, too
        self._resumed = Counter(
            "orders_resumed_total",
            "Orders taken over by recovery, or by a repeat of their request, by the state they were in",
            ["state"],
            registry=registry,
        )
        for state in _UNFINISHED:
            self._resumed.labels(state)
        self._unfinished = Gauge("orders_unfinished", "Orders under way now, by state", ["state"], registry=registry)
        self._queued = Gauge("queued_payments", "Orders that wait for their queued payment", registry=registry)
        self._oldest = Gauge(
            "queued_payments_oldest_seconds", "Age of the oldest order with a queued payment", registry=registry
        )

    def ended(self, state: State) -> None:
        """An order came to this final state. A confirmed order that is cancelled later counts once more."""
        self._ended.labels(state).inc()

    def resumed(self, state: State) -> None:
        """An order in this state was taken over from whoever worked on it."""
        self._resumed.labels(state).inc()

    async def watch(self, orders: Orders) -> None:
        """Keep the gauges fresh, for ever."""
        while True:
            await self.refresh(orders)
            await asyncio.sleep(REFRESH_SECONDS)

    async def refresh(self, orders: Orders) -> None:
        """Set the gauges from one query."""
        unfinished = await orders.unfinished()
        for state in _UNFINISHED:
            self._unfinished.labels(state).set(unfinished[state].orders if state in unfinished else 0)
        queued = unfinished.get(State.PENDING_PAYMENT)
        self._queued.set(queued.orders if queued else 0)
        self._oldest.set(queued.oldest_seconds if queued else 0)
