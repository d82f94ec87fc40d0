"""Many alarms with one delay, for the price of a queue entry each.

An attempt sets an alarm and nearly always cancels it. A timer of the event loop costs about 3 us for that, most of the
success path. Alarms with the same delay fall due in the order in which they were set, so a queue and one timer for its
head do the same work.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from shared.resilience.clock import Clock, Timer

# Event loops round timers (uvloop to a millisecond); an alarm that is due this soon rings now.
_SLACK = 0.001


class Alarm:
    """A call of `ring` that is going to happen at `at`, unless cancelled."""

    __slots__ = ("_queue", "at", "ring")

    def __init__(self, at: float, ring: Callable[[], None], queue: "deque[Alarm]") -> None:
        self.at = at
        self.ring: Callable[[], None] | None = ring
        self._queue = queue

    def cancel(self) -> None:
        """Do not ring; harmless afterwards."""
        self.ring = None
        queue = self._queue
        while queue and queue[0].ring is None:
            queue.popleft()


class Alarms:
    """Alarms that all ring `delay` seconds after they are set. Whoever sets one cares for its context by itself."""

    __slots__ = ("_clock", "_delay", "_loop", "_queue", "_timer")

    def __init__(self, delay: float, clock: Clock) -> None:
        self._delay = delay
        self._clock = clock
        self._queue: deque[Alarm] = deque()
        self._timer: Timer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def set(self, now: float, ring: Callable[[], None], loop: asyncio.AbstractEventLoop) -> Alarm:
        """Have `ring` called at `now` + delay; `loop` is the running one."""
        if loop is not self._loop:
            # What another loop was waiting for ended with it, and so did the timer.
            self._queue.clear()
            self._timer = None
            self._loop = loop
        alarm = Alarm(now + self._delay, ring, self._queue)
        self._queue.append(alarm)
        if self._timer is None:
            self._timer = self._clock.call_later(self._delay, self._ring_due)
        return alarm

    def _ring_due(self) -> None:
        self._timer = None
        queue = self._queue
        latest = self._clock.monotonic() + _SLACK
        while queue and (queue[0].ring is None or queue[0].at <= latest):
            ring = queue.popleft().ring
            if ring is not None:
                ring()
        if queue and self._timer is None:
            self._timer = self._clock.call_later(queue[0].at - latest + _SLACK, self._ring_due)
