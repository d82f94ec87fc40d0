"""The attempt timeout: an attempt ends when its own time, or the caller's, is over."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from shared.resilience.alarms import Alarms
from shared.resilience.clock import SYSTEM_CLOCK, Clock, Timer
from shared.resilience.deadline import CURRENT
from shared.resilience.errors import AttemptTimeout, DeadlineExceeded
from shared.resilience.events import AttemptTimedOut, EventBus
from shared.resilience.invocation import NEVER, Invocation, Step


@dataclass(frozen=True, slots=True)
class TimeoutSnapshot:
    """Attempts since the start, by how they ended."""

    name: str
    successful: int
    failed: int
    timeout: int


class _Expiry:
    """Cancels the task when the time is over, and remembers having done so."""

    __slots__ = ("expired", "task")

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        self.task = task
        self.expired = False

    def fire(self) -> None:
        self.expired = True
        self.task.cancel()


class Timeout:
    """The innermost limit.

    duration:  seconds that one attempt may take; None: only the deadline counts
    propagate: let `remaining()` inside the attempt tell how long it is waited for
    """

    def __init__(
        self,
        name: str,
        duration: float | None,
        *,
        propagate: bool = True,
        clock: Clock = SYSTEM_CLOCK,
        events: EventBus | None = None,
    ) -> None:
        self.name = name
        self.propagate = propagate
        self.events = events or EventBus()
        self._clock = clock
        self._now = clock.monotonic
        self.reconfigure(duration)
        self._successful = self._failed = self._timed_out = 0

    def reconfigure(self, duration: float | None) -> None:
        """Give the attempts that begin from now on so many seconds; None: only the deadline counts."""
        self.duration = duration
        self._alarms = Alarms(NEVER if duration is None else duration, self._clock)

    def run(self, inner: Step, invocation: Invocation) -> Awaitable[Any]:
        """Make the attempt, for as long as somebody waits for it.

        AttemptTimeout: it took longer than `duration`. DeadlineExceeded: the caller's time was shorter, and is over;
        also when the dependency noticed that first, and its error says so (`gave_up`).
        """
        if self.duration is None and invocation.deadline == NEVER:
            return inner(invocation)
        return self._limited(inner, invocation)

    async def _limited(self, inner: Step, invocation: Invocation) -> Any:
        now = self._now()
        until = NEVER if self.duration is None else now + self.duration
        by_deadline = invocation.deadline < until
        if by_deadline:
            until = invocation.deadline
            if until <= now:
                raise DeadlineExceeded(self.name, attempted=False)
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an attempt timeout needs a task to cancel")
        token = CURRENT.set((until, self._clock)) if self.propagate else None
        cancelling = task.cancelling()
        expiry = _Expiry(task)
        timer = self._start(expiry, now, until - now, by_deadline=by_deadline)
        try:
            result = await inner(invocation)
        except BaseException as error:
            # The attempt was ended by the timer only if nobody else asked for the task's cancellation too.
            if expiry.expired and task.uncancel() <= cancelling and isinstance(error, asyncio.CancelledError):
                raise self._timed_out_after(until - now, by_deadline) from error
            if isinstance(error, Exception):
                self._failed += 1
                self._blame_the_impatient(error, until - now, by_deadline)
            raise
        else:
            if expiry.expired:
                task.uncancel()
            self._successful += 1
            return result
        finally:
            timer.cancel()
            if token is not None:
                CURRENT.reset(token)

    def _start(self, expiry: _Expiry, now: float, limit: float, *, by_deadline: bool) -> Timer:
        if by_deadline:
            # Every caller has another deadline, so these do not queue up in order.
            return self._clock.call_later(limit, expiry.fire)
        return self._alarms.set(now, expiry.fire, expiry.task.get_loop())

    def _timed_out_after(self, limit: float, by_deadline: bool) -> Exception:
        self._timed_out += 1
        self.events.publish(AttemptTimedOut(self.name, self._now(), limit, by_deadline))
        if not by_deadline:
            return AttemptTimeout(self.name, limit)
        return DeadlineExceeded(self.name, attempted=True, impatient=self._is_impatient(limit))

    def _blame_the_impatient(self, error: Exception, limit: float, by_deadline: bool) -> None:
        if by_deadline and self._is_impatient(limit) and getattr(error, "gave_up", False):
            raise DeadlineExceeded(self.name, attempted=True, impatient=True) from error

    def _is_impatient(self, limit: float) -> bool:
        """Whether a caller who gives an attempt `limit` seconds may not blame the dependency for having no answer."""
        return self.duration is not None and limit < self.duration / 2

    def snapshot(self) -> TimeoutSnapshot:
        """The counts so far."""
        return TimeoutSnapshot(self.name, self._successful, self._failed, self._timed_out)
