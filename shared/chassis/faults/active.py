"""One fault under way, and what the kinds of faults have in common."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import ClassVar, Generic, TypeVar

from opentelemetry import trace

from shared.chassis.faults.requests import FaultRequest
from shared.chassis.faults.timing import Timing

R = TypeVar("R", bound=FaultRequest)


class Refused(Exception):
    """A fault that cannot be. `field` names what is wrong in the request; empty: it is not the request's fault."""

    def __init__(self, reason: str, *, field: str = "") -> None:
        super().__init__(reason)
        self.field = field


class Active(Generic[R]):
    """A fault that was begun. `over` is set when it has ended; whoever works for it, on whatever thread, then stops.

    struck: how often it has struck: requests, calls, statements, blocks of the loop, connections or megabytes held
    """

    def __init__(self, fault_id: str, request: R, timing: Timing, count: Callable[[], object]) -> None:
        self.id, self.request = fault_id, request
        self.began = timing.monotonic()
        self.ends = self.began + request.seconds
        self.over = threading.Event()
        self.struck = 0
        self._timing, self._count = timing, count
        self._lock = threading.Lock()
        self._wakes: set[Callable[[], None]] = set()

    @property
    def runs(self) -> bool:
        """It acts now. Its time counts, not whether somebody had the time to end it."""
        return not self.over.is_set() and self._timing.monotonic() < self.ends

    @property
    def age(self) -> float:
        """Seconds since it began."""
        return self._timing.monotonic() - self.began

    @property
    def left(self) -> float:
        """Seconds that remain; 0 when it is over."""
        return 0.0 if self.over.is_set() else max(0.0, self.ends - self._timing.monotonic())

    def strike(self) -> None:
        """Count, and tell the span under way."""
        with self._lock:
            self.struck += 1
        self._count()
        span = trace.get_current_span()
        if not span.is_recording():
            return
        attributes = {"fault.kind": self.request.kind, "fault.id": self.id}
        if self.request.experiment:
            attributes["experiment.id"] = self.request.experiment
            span.set_attribute("experiment.id", self.request.experiment)
        span.add_event("fault.struck", attributes)

    def wait(self, seconds: float) -> bool:
        """Block this thread for `seconds`, or until the fault is over. Returns whether it is."""
        self.over.wait(min(seconds, self.left))
        return not self.runs

    async def pause(self, seconds: float) -> bool:
        """Wait for `seconds`, or until the fault is over. Returns whether it is."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(woken.set)

        with self._lock:
            self._wakes.add(wake)
        try:
            if self.runs:
                await self._timing.wait(woken, min(seconds, self.left))
        finally:
            with self._lock:
                self._wakes.discard(wake)
        return not self.runs

    def finish(self) -> None:
        """Tell everybody who works or waits for it."""
        self.over.set()
        with self._lock:
            wakes = list(self._wakes)
        for wake in wakes:
            wake()


class Kind(Generic[R]):
    """What faults of one kind do. `active` is looked at on hot paths; it is replaced, never changed."""

    name: ClassVar[str]

    def __init__(self, random: Random) -> None:
        self.active: tuple[Active[R], ...] = ()
        self._random = random

    def check(self, request: R) -> None:
        """Raise `Refused` for what cannot be done here."""

    def begin(self, fault: Active[R]) -> None:
        """Start what a fault does by itself. It stops when `fault` is over."""

    def end(self, fault: Active[R]) -> None:
        """Undo at once what a fault did that cannot look at its own time. On whatever thread; once."""

    def running(self) -> Iterator[Active[R]]:
        """The faults that act now, in the order in which they began."""
        return (fault for fault in self.active if fault.runs)

    def draw(self, rate: float) -> bool:
        """Whether one of `rate` is struck."""
        return rate >= 1 or self._random.random() < rate

    async def close(self) -> None:
        """Wait until what the faults held has been given back. They are over."""
