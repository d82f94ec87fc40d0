"""Time as faults need it, injected: ends come from threads, because a fault may be what blocks the event loop."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol


class Timer(Protocol):
    """A callback that is going to be called."""

    def cancel(self) -> None:
        """Do not call; harmless when it was called already."""


class Timing(Protocol):
    """What faults ask of time."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call `callback()` after `seconds`, from any thread."""

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait until the event is set, at most `seconds`."""


class SystemTiming:
    """The machine's time."""

    monotonic = staticmethod(time.monotonic)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call from a thread of its own, which does not keep the process alive. RuntimeError: no thread to be had."""
        timer = threading.Timer(seconds, callback)
        timer.name, timer.daemon = "fault-timer", True
        timer.start()
        return timer

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        """Wait on the running event loop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
