"""The rate limiter: so many calls may begin in each period, and no more; who comes too early waits in line.

The semantics are Resilience4j's: periods follow each other from the moment at which the limiter was made, and what one
leaves over is lost. When somebody's turn comes follows from how many stand before him, so a wait that would be too long
is refused at once instead of at its end, and nothing runs in the background: one timer, while somebody waits.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from shared.resilience.clock import SYSTEM_CLOCK, Clock, Timer
from shared.resilience.errors import RateLimitExceeded
from shared.resilience.events import EventBus, RateLimitRefused
from shared.resilience.invocation import NEVER, Invocation, Step
from shared.resilience.mode import MODE
from shared.resilience.settings import RateLimiterConfig

# Sums of floating-point seconds miss a boundary by less than this; it is far below what an event loop resolves.
_ROUNDING = 1e-6
# An event loop that rounds its timers (uvloop to a millisecond) may ring before the boundary; ask again after this.
_AGAIN = 0.001


@dataclass(frozen=True, slots=True)
class RateLimiterSnapshot:
    """A rate limiter at one moment; `refused` is a total."""

    name: str
    available: int
    waiting: int
    refused: int


class RateLimiter:
    """At most `limit_for_period` calls begin in each `limit_refresh_period`, first come, first served."""

    def __init__(
        self,
        name: str,
        config: RateLimiterConfig | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        events: EventBus | None = None,
    ) -> None:
        self.name = name
        self.config = config = config or RateLimiterConfig()
        self.events = events or EventBus()
        self._clock = clock
        self._now = clock.monotonic
        self._limit = config.limit_for_period
        self._period = config.limit_refresh_period
        # The permissions left of this period, its number, and the instant at which it ends.
        self._left = self._limit
        self._number = 0
        self._ends = self._now() + self._period
        # Each waiter's future becomes the number of the period that admits it. Keyed, so that one in the middle can
        # leave at once; nobody waits while a permission is left.
        self._waiters: OrderedDict[asyncio.Future[int], None] = OrderedDict()
        self._timer: Timer | None = None
        self._refused = 0

    def reconfigure(self, config: RateLimiterConfig) -> None:
        """Use `config` from now on. The period under way keeps its end, and what was taken of it stays taken.

        Who waits goes on waiting, with a lower limit longer than was foretold.
        """
        taken = self._limit - self._left
        self.config = config
        self._limit = config.limit_for_period
        self._period = config.limit_refresh_period
        self._left = max(0, self._limit - taken)
        self._admit()

    def run(self, inner: Step, invocation: Invocation) -> Awaitable[Any]:
        """Call with a permission. RateLimitExceeded: there is none in time; nothing was sent."""
        now = self._now()
        if now >= self._ends - _ROUNDING:
            self._refresh(now)
        if self._left > 0:
            self._left -= 1
            return inner(invocation)
        return self._run_later(inner, invocation)

    async def acquire(self, until: float = NEVER) -> None:
        """Take a permission; it cannot be given back.

        until: the monotonic instant at which a permission is worth nothing any more
        """
        now = self._now()
        if now >= self._ends - _ROUNDING:
            self._refresh(now)
        if self._left > 0:
            self._left -= 1
            return
        if not MODE.wait:
            return
        wait = self._ends - now + len(self._waiters) // self._limit * self._period
        if wait > self.config.timeout_duration + _ROUNDING:
            raise self._refuse("wait", wait)
        if now + wait >= until:
            raise self._refuse("deadline", wait)
        if len(self._waiters) >= self.config.max_waiting:
            raise self._refuse("queue_full", wait)
        await self._wait()

    async def _run_later(self, inner: Step, invocation: Invocation) -> Any:
        await self.acquire(invocation.deadline)
        return await inner(invocation)

    async def _wait(self) -> None:
        # Those in front can only leave, so the turn comes when it was foretold, or earlier: no timer of one's own.
        waiter: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        self._arm(self._ends - self._now())
        try:
            await waiter
        except BaseException:
            self._waiters.pop(waiter, None)
            if waiter.done() and not waiter.cancelled():
                self._hand_back(waiter.result())
            self._disarm_if_idle()
            raise

    def _refresh(self, now: float) -> None:
        """A boundary has passed, or several: permissions are full again, and go to those in line first."""
        passed = 1 + max(0, int((now - self._ends) / self._period))
        self._number += passed
        self._ends += passed * self._period
        self._left = self._limit
        self._admit()

    def _admit(self) -> None:
        while self._waiters and self._left > 0:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():
                self._left -= 1
                waiter.set_result(self._number)
        self._disarm_if_idle()

    def _hand_back(self, number: int) -> None:
        """Whoever was admitted in that period was cancelled before it ran: the next in line takes the place."""
        if number == self._number and self._left < self._limit:
            self._left += 1
            self._admit()

    def _arm(self, delay: float) -> None:
        if self._timer is None:
            self._timer = self._clock.call_later(delay, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = self._now()
        if now >= self._ends - _ROUNDING:
            self._refresh(now)
        if self._waiters:
            self._arm(max(self._ends - now, _AGAIN))

    def _disarm_if_idle(self) -> None:
        if self._timer is not None and not self._waiters:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, reason: str, wait: float) -> RateLimitExceeded:
        self._refused += 1
        self.events.publish(RateLimitRefused(self.name, self._now(), reason, wait))
        return RateLimitExceeded(self.name, reason, wait)

    def snapshot(self) -> RateLimiterSnapshot:
        """The limiter now. Reading it changes nothing: nobody is admitted by a look."""
        over = self._now() >= self._ends - _ROUNDING
        left = max(0, self._limit - len(self._waiters)) if over else self._left
        return RateLimiterSnapshot(self.name, left, len(self._waiters), self._refused)
