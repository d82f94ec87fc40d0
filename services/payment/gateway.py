"""Our side of the wire to the card network: every call has a time limit and is counted."""

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter

from services.payment.card_network import NetworkRecord, NetworkState, NetworkUnavailable
from services.payment.cards import Card


class CardNetwork(Protocol):
    """A card network that is idempotent by payment key. Both calls raise `NetworkUnavailable`."""

    async def charge(self, payment_key: str, amount: int, currency: str, card: Card) -> NetworkRecord:
        """Charge the card, once a key."""
        ...

    async def refund(self, payment_key: str) -> NetworkRecord:
        """Give back what was charged, or refuse what may still come."""
        ...


class Gateway:
    """A card network that always answers in time, if only with `NetworkUnavailable`."""

    def __init__(self, network: CardNetwork, *, limit_seconds: float, metrics: CollectorRegistry) -> None:
        self._network = network
        self._limit_seconds = limit_seconds
        self._calls = Counter(
            "card_network_calls_total", "Calls to the card network, by answer", ["outcome"], registry=metrics
        )
        for outcome in (*NetworkState, "timeout", "unavailable"):
            self._calls.labels(outcome.lower())

    async def charge(self, payment_key: str, amount: int, currency: str, card: Card) -> NetworkRecord:
        """Charge the card, once a key; raise `NetworkUnavailable` when nothing is known."""
        return await self._call(self._network.charge(payment_key, amount, currency, card))

    async def refund(self, payment_key: str) -> NetworkRecord:
        """Give back what was charged for the key, once; raise `NetworkUnavailable` when nothing is known."""
        return await self._call(self._network.refund(payment_key))

    async def _call(self, call: Awaitable[NetworkRecord]) -> NetworkRecord:
        try:
            async with asyncio.timeout(self._limit_seconds):
                record = await call
        except TimeoutError:
            self._calls.labels("timeout").inc()
            raise NetworkUnavailable(f"no answer within {self._limit_seconds:g} s") from None
        except NetworkUnavailable:
            self._calls.labels("unavailable").inc()
            raise
        self._calls.labels(record.state.lower()).inc()
        return record
