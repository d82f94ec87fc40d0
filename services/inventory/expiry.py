"""Gives back the stock of holds whose time is over."""

import asyncio

import structlog

from services.inventory.stock import Stock
from shared.chassis.clock import Clock

SHORTEST_HOLD_SECONDS = 1.0
"""The API takes no shorter hold."""

ALLOWED_LATENESS_SECONDS = 1.0
"""How long a hold may outlast its expiry."""

_LOOK_AGAIN = SHORTEST_HOLD_SECONDS + ALLOWED_LATENESS_SECONDS
"""A hold taken by another replica right after a look cannot be overdue by more than is allowed at the next one."""

_log = structlog.get_logger()


class Expiry:
    """Sleeps until the next hold is due, in this replica's knowledge, and expires it."""

    def __init__(self, stock: Stock, clock: Clock, *, batch: int) -> None:
        self._stock = stock
        self._clock = clock
        self._batch = batch
        self._until = 0
        self._sooner = asyncio.Event()

    def notice(self, expires_at: int) -> None:
        """Hear of a hold (its expiry in epoch milliseconds) that may be due before the task would wake."""
        if expires_at < self._until:
            self._sooner.set()

    async def run(self) -> None:
        """Expire what is due, for ever."""
        while True:
            self._sooner.clear()
            latest = self._now() + round(_LOOK_AGAIN * 1000)
            self._until = latest  # from here on `notice` wakes us, also while the query runs
            due = await self._stock.next_expiry()
            self._until = latest if due is None else min(latest, due)
            if self._until <= self._now():
                await self.sweep()
                continue
            try:
                async with asyncio.timeout((self._until - self._now()) / 1000):
                    await self._sooner.wait()
            except TimeoutError:
                continue

    async def sweep(self) -> int:
        """Expire all that is due, in batches, so that no transaction is long; return how many holds that were."""
        total = 0
        while True:
            count = await self._stock.expire(self._batch)
            total += count
            if count < self._batch:
                break
        if total:
            _log.info("holds expired", count=total)
        return total

    def _now(self) -> int:
        return round(self._clock.now() * 1000)
