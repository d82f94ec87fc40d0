"""For tests of code that uses the library: time that moves when told to, and chance that repeats itself.

clock = FakeClock()
pipeline = Pipeline("payment", ..., clock=clock, random=seeded_random())

answer = await clock.run(pipeline.call(charge))   # every wait is taken at once
await clock.advance(5)                            # timers fire in order, tasks run between them
clock.tick(0.7)                                   # time passes inside a call: "this took 700 ms"

with set_testing(attempts=2):                     # code that has no clock to inject: nothing waits
    ...
"""

import asyncio
import contextvars
import heapq
import itertools
import random
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from shared.resilience.mode import MODE

T = TypeVar("T")

# Enough turns of the event loop for a call to pass through every layer and reach its next wait.
_TURNS = 40


class _FakeTimer:
    """One scheduled callback. It runs in the context of whoever scheduled it, as on a real loop."""

    __slots__ = ("_args", "_callback", "_cancelled", "_context", "at")

    def __init__(self, at: float, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.at = at
        self._callback = callback
        self._args = args
        self._context = contextvars.copy_context()
        self._cancelled = False

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        self._cancelled = True

    def fire(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._context.run(self._callback, *self._args)


class FakeClock:
    """A clock that stands still until it is moved. `start` is the first reading, in seconds."""

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._timers: list[tuple[float, int, _FakeTimer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        """The present reading, in seconds."""
        return self._now

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> _FakeTimer:
        """Schedule for when the clock has been moved by `delay` seconds."""
        timer = _FakeTimer(self._now + max(0.0, delay), callback, args)
        heapq.heappush(self._timers, (timer.at, next(self._order), timer))
        return timer

    async def sleep(self, delay: float) -> None:
        """Wait until somebody moves the clock by `delay` seconds."""
        if delay <= 0:
            await asyncio.sleep(0)
            return
        done = asyncio.get_running_loop().create_future()
        timer = self.call_later(delay, _finish, done)
        try:
            await done
        finally:
            timer.cancel()

    @property
    def pending(self) -> int:
        """How many callbacks are scheduled and not cancelled."""
        return sum(not timer.cancelled for _, _, timer in self._timers)

    def tick(self, seconds: float) -> None:
        """Let time pass without giving way to other tasks.

        What falls due runs at the next turn of the event loop, as if the caller had blocked it; without a running loop
        it runs now.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        target = self._now + seconds
        while (timer := self._due(target)) is not None:
            self._now = max(self._now, timer.at)
            if loop is None:
                timer.fire()
            else:
                loop.call_soon(timer.fire)
        self._now = target

    async def advance(self, seconds: float) -> None:
        """Move the clock, firing timers in order and letting every task run up to its next wait in between."""
        target = self._now + seconds
        await self.settle()
        while (timer := self._due(target)) is not None:
            self._now = max(self._now, timer.at)
            timer.fire()
            await self.settle()
        self._now = target

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end, jumping from timer to timer instead of waiting.

        RuntimeError: `work` waits for something that this clock does not drive.
        """
        task = asyncio.ensure_future(work)
        try:
            await self.settle()
            while not task.done():
                timer = self._due(float("inf"))
                if timer is None:
                    await asyncio.wait({task}, timeout=1)
                    if not task.done() and self._due_at() is None:
                        raise RuntimeError("the call waits for something that the fake clock does not drive")
                    continue
                self._now = max(self._now, timer.at)
                timer.fire()
                await self.settle()
            return task.result()
        finally:
            task.cancel()

    async def settle(self) -> None:
        """Let every ready task run, time standing still."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def _due_at(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def _due(self, until: float) -> _FakeTimer | None:
        at = self._due_at()
        if at is None or at > until:
            return None
        return heapq.heappop(self._timers)[2]


def _finish(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)


def seeded_random(seed: int = 1) -> random.Random:
    """The same jitter in every run."""
    return random.Random(seed)  # noqa: S311 - jitter, not a secret


class set_testing:  # noqa: N801 - called as a function, or used as a statement: `with set_testing():`
    """Test mode for the whole process, as stamina has it; with `with`, until the block ends.

    on:         False: everything as in earnest again
    attempts:   of every retry: this many; None: as configured
    cap:        `attempts` only lowers what is configured
    wait:       False: retries and rate limiters do not wait
    all_closed: no breaker opens, and one that is open admits

    Bulkheads, timeouts and deadlines stay: they wait for calls, not for time to pass.
    """

    def __init__(
        self,
        on: bool = True,
        *,
        attempts: int | None = 1,
        cap: bool = False,
        wait: bool = False,
        all_closed: bool = False,
    ) -> None:
        if attempts is not None and attempts < 1:
            raise ValueError(f"a retry makes at least one attempt, not {attempts}")
        self._before = (MODE.attempts, MODE.cap, MODE.wait, MODE.all_closed)
        self._set((attempts, cap, wait, all_closed) if on else (None, False, True, False))

    def __enter__(self) -> None:
        """The mode is on already."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._set(self._before)

    @staticmethod
    def _set(mode: tuple[int | None, bool, bool, bool]) -> None:
        MODE.attempts, MODE.cap, MODE.wait, MODE.all_closed = mode
