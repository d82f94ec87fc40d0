"""The bulkhead: a slow dependency may hold so many calls, and no more; the rest of the service stays afloat."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.errors import BulkheadFull, DeadlineExceeded
from shared.resilience.events import BulkheadRefused, EventBus
from shared.resilience.invocation import NEVER, Invocation, Step
from shared.resilience.settings import AdaptiveBulkheadConfig, BulkheadConfig


@dataclass(frozen=True, slots=True)
class BulkheadSnapshot:
    """A bulkhead at one moment; `refused` is a total."""

    name: str
    max_concurrent_calls: int
    available: int
    waiting: int
    refused: int


class Bulkhead:
    """At most `max_concurrent_calls` at a time; who comes late waits in line, first come, first served."""

    def __init__(
        self,
        name: str,
        config: BulkheadConfig | AdaptiveBulkheadConfig | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        events: EventBus | None = None,
    ) -> None:
        self.name = name
        self.config = config or BulkheadConfig()
        self.events = events or EventBus()
        self._clock = clock
        self._limit = self.config.max_concurrent_calls
        self._active = 0
        self._refused = 0
        # Each waiter's future becomes True with a slot, False when its time is over. A slot that comes free goes to the
        # first of them at once, so nobody waits while a slot is free, and nobody overtakes.
        self._waiters: deque[asyncio.Future[bool]] = deque()

    @property
    def full(self) -> bool:
        """Every slot is taken and so is every place in the line: the next call would be refused at once."""
        return self._active >= self._limit and len(self._waiters) >= self.config.max_waiting

    def reconfigure(self, config: BulkheadConfig) -> None:
        """Use `config` from now on. Calls that run keep their slots, also above a lower limit."""
        self.config = config
        self._limit = config.max_concurrent_calls
        self._admit()

    async def run(self, inner: Step, invocation: Invocation) -> Any:
        """Call with a slot held. BulkheadFull, DeadlineExceeded: none came free in time; nothing was sent."""
        if self._active < self._limit:
            self._active += 1
        else:
            await self.acquire(invocation.deadline)
        try:
            return await inner(invocation)
        finally:
            self._active -= 1
            if self._waiters:
                self._admit()

    async def acquire(self, until: float = NEVER) -> None:
        """Take a slot, to be given back with `release`.

        until: the monotonic instant at which waiting has no point any more
        """
        if self._active < self._limit:
            self._active += 1
            return
        longest = min(self.config.max_wait_duration, until - self._clock.monotonic())
        if longest <= 0:
            raise self._refuse("deadline" if self.config.max_wait_duration > 0 else "wait")
        if len(self._waiters) >= self.config.max_waiting:
            raise self._refuse("queue_full")
        if not await self._wait(longest):
            raise self._refuse("deadline" if longest < self.config.max_wait_duration else "wait")

    def release(self) -> None:
        """Give a slot back; the first in line gets it."""
        self._active = max(0, self._active - 1)
        self._admit()

    def keep(self) -> Callable[[], None]:
        """Keep the slot of the call that is running beyond its end. Returns what gives it back; call that once.

        For what goes on after the answer has begun: a body that is still being read.
        """
        # Until the call itself ends, in this very turn of the event loop, its slot counts twice.
        self._active += 1
        return self.release

    async def _wait(self, longest: float) -> bool:
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        timer = self._clock.call_later(longest, self._give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result():
                # The slot arrived together with the cancellation: it goes to the next in line.
                self.release()
            else:
                self._leave(waiter)
            raise
        finally:
            timer.cancel()

    def _give_up(self, waiter: "asyncio.Future[bool]") -> None:
        if not waiter.done():
            waiter.set_result(False)
            self._leave(waiter)

    def _leave(self, waiter: "asyncio.Future[bool]") -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)

    def _admit(self) -> None:
        while self._waiters and self._active < self._limit:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._active += 1
                waiter.set_result(True)

    def _refuse(self, reason: str) -> Exception:
        self._refused += 1
        self.events.publish(BulkheadRefused(self.name, self._clock.monotonic(), reason))
        if reason == "deadline":
            return DeadlineExceeded(self.name, attempted=False)
        text = (
            "too many are waiting" if reason == "queue_full" else f"no slot within {self.config.max_wait_duration:g} s"
        )
        return BulkheadFull(self.name, text, self.config.max_wait_duration)

    def snapshot(self) -> BulkheadSnapshot:
        """The bulkhead now."""
        return BulkheadSnapshot(
            self.name, self._limit, max(0, self._limit - self._active), len(self._waiters), self._refused
        )
