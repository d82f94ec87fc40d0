"""Time, injected, so that tests never sleep. Every instant is monotonic, in seconds."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A callback that is going to be called."""

    def cancel(self) -> None:
        """Do not call; harmless when it was called already."""


class Clock(Protocol):
    """What the library asks of time."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Timer:
        """Call `callback(*args)` after `delay` seconds, in the context of the caller.

        RuntimeError: no event loop runs.
        """

    async def sleep(self, delay: float) -> None:
        """Wait for `delay` seconds."""


class SystemClock:
    """The event loop's clock."""

    # Static, so that a policy which keeps the bound method reads the time without a Python frame.
    monotonic = staticmethod(time.monotonic)

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> Timer:
        """Schedule on the running event loop."""
        return asyncio.get_running_loop().call_later(delay, callback, *args)

    async def sleep(self, delay: float) -> None:
        """Wait on the running event loop."""
        await asyncio.sleep(delay)


SYSTEM_CLOCK = SystemClock()
