"""Dependencies to call: each remembers what was asked of it."""

from collections.abc import Iterable
from typing import Any

from shared.resilience import current_attempt, remaining
from shared.resilience.testing import FakeClock


class DownError(Exception):
    """The dependency failed."""


class PushBackError(DownError):
    """The dependency failed, and said when to come back."""

    def __init__(self, retry_after: Any) -> None:
        super().__init__(f"retry after {retry_after}")
        self.retry_after = retry_after


class Dependency:
    """Answers with `script`, one item a call: an exception is raised, a number is a result, a Slow is waited for.

    The last item repeats.
    """

    def __init__(self, clock: FakeClock, *script: Any) -> None:
        self._clock = clock
        self._script = script
        self.calls = 0
        self.at: list[float] = []
        self.attempts: list[int] = []
        self.remaining: list[float | None] = []
        self.running = 0
        self.most_running = 0

    async def __call__(self) -> Any:
        item = self._script[min(self.calls, len(self._script) - 1)]
        self.calls += 1
        self.at.append(self._clock.monotonic())
        self.attempts.append(current_attempt())
        self.remaining.append(remaining())
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if isinstance(item, Slow):
                await self._clock.sleep(item.seconds)
                item = item.then
            if isinstance(item, BaseException):
                raise item
            return item
        finally:
            self.running -= 1

    def waits(self) -> list[float]:
        """Seconds between one call and the next."""
        return [later - earlier for earlier, later in zip(self.at, self.at[1:], strict=False)]


class Slow:
    """Answers with `then` after `seconds`."""

    def __init__(self, seconds: float, then: Any = "late") -> None:
        self.seconds = seconds
        self.then = then


def kinds(events: Iterable[object]) -> list[str]:
    """The names of the events' types."""
    return [type(event).__name__ for event in events]
