"""Wall-clock time, injected so that tests can set it. Durations are measured with a monotonic clock elsewhere."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time in seconds since the epoch."""

    def now(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z."""
        return time.time()


def milliseconds(clock: Clock) -> int:
    """The clock's time in whole milliseconds, as tables store it."""
    return int(clock.now() * 1000)
