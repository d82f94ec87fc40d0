"""Gives back the stock of holds whose time is over."""

import asyncio
import time
from collections.abc import Callable

import structlog

from services.inventory.metrics import InventoryMetrics
from services.inventory.stock import Stock
from shared.chassis.clock import Clock, milliseconds

SHORTEST_HOLD_SECONDS = 1.0
"""The API takes no shorter hold."""

ALLOWED_LATENESS_SECONDS = 1.0
"""How long a hold may outlast its expiry."""

_LOOK_AGAIN = SHORTEST_HOLD_SECONDS + ALLOWED_LATENESS_SECONDS
"""A hold taken by another replica right after a look cannot be overdue by more than is allowed at the next one."""

JUMP_SECONDS = 60.0
"""How far the time of day may run away from the time that passes until it is a jump."""

GRACE_SECONDS = 120.0
"""How long nothing expires after a jump ahead: what the order service holds for, so no hold lasts less than it was
promised because of a clock."""

_log = structlog.get_logger()


class Expiry:
    """Sleeps until the next hold is due, in this replica's knowledge, and expires it.

    monotonic: the time that passes, in seconds; replaced in tests
    """

    def __init__(
        self,
        stock: Stock,
        clock: Clock,
        metrics: InventoryMetrics,
        *,
        batch: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        stock.on_hold = self.notice
        self._stock = stock
        self._metrics = metrics
        self._clock = clock
        self._batch = batch
        self._monotonic = monotonic
        self._offset = clock.now() - monotonic()
        self._trusted_from = monotonic()
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
            latest = milliseconds(self._clock) + round(_LOOK_AGAIN * 1000)
            self._until = latest  # from here on `notice` wakes us, also while the query runs
            due = await self._stock.next_expiry() if self._clock_is_trusted() else None
            self._until = latest if due is None else min(latest, due)
            if self._until <= milliseconds(self._clock):
                await self.sweep()
                continue
            try:
                async with asyncio.timeout((self._until - milliseconds(self._clock)) / 1000):
                    await self._sooner.wait()
            except TimeoutError:
                continue

    def _clock_is_trusted(self) -> bool:
        now = self._monotonic()
        jump = self._clock.now() - now - self._offset
        if abs(jump) > JUMP_SECONDS:
            _log.warning("the time of day has jumped", seconds=round(jump))
            # back again, it is what it was
            self._trusted_from = now + GRACE_SECONDS if jump > 0 else now
        self._offset += jump
        return now >= self._trusted_from

    async def sweep(self) -> int:
        """Expire all that is due, in batches, so that no transaction is long; return how many holds that were."""
        total = 0
        while True:
            count = await self._stock.expire(self._batch)
            total += count
            self._metrics.expired.inc(count)
            if count < self._batch:
                break
        if total:
            _log.info("holds expired", count=total)
        return total
