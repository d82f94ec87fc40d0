"""What the inventory tells Prometheus, with few labels: none is a sku or an id."""

import asyncio

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.inventory.reservation import Outcome
from services.inventory.stock import Stock

REFRESH_SECONDS = 5.0
"""How old the gauges may be: scrapes are no more frequent, and must not cost a query each."""


class InventoryMetrics:
    """The service's own metrics on the registry of its application."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reservations = Counter(
            "reservations_total", "Calls on reservations by what they came to", ["outcome"], registry=registry
        )
        for outcome in Outcome:
            self.reservations.labels(outcome.value)
        for refused in ("insufficient_stock", "hold_expired", "reservation_conflict", "reservation_released"):
            self.reservations.labels(refused)
        self.expired = Counter("holds_expired_total", "Holds whose time was over", registry=registry)
        self._holds = Gauge("inventory_holds", "Reservations that hold stock now", ["state"], registry=registry)
        self._units = Gauge("stock_units", "Units over all products", ["kind"], registry=registry)

    async def watch(self, stock: Stock) -> None:
        """Keep the gauges fresh, for ever."""
        while True:
            await self.refresh(stock)
            await asyncio.sleep(REFRESH_SECONDS)

    async def refresh(self, stock: Stock) -> None:
        """Set the gauges from one query."""
        totals = await stock.totals()
        self._holds.labels("held").set(totals.holds)
        self._units.labels("free").set(totals.free)
        self._units.labels("held").set(totals.held)
        self._units.labels("sold").set(totals.sold)
