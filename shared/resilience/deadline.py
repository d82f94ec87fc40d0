"""Deadlines: how long somebody still waits for the answer.

    with deadline(2.0):                    # inside it, nested deadlines can only be shorter
        await pipeline.call(charge)        # each attempt gets the smaller of its timeout and what remains
        headers[DEADLINE_HEADER] = format_deadline(remaining())

What travels between services is the remaining time, not an instant: clocks differ, durations do not.
"""

from collections.abc import Awaitable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, TypeAlias

from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.errors import DeadlineExceeded
from shared.resilience.invocation import NEVER, Invocation, Step

DEADLINE_HEADER = "x-deadline-ms"
# About 11 days. More is a broken sender, not a patient caller.
_LONGEST_MS = 1_000_000_000

# The instant, and the clock that it was read from.
Current: TypeAlias = tuple[float, Clock]
CURRENT: ContextVar[Current | None] = ContextVar("holdfast_deadline", default=None)


def remaining() -> float | None:
    """Seconds until the deadline of this context, 0 when it has passed; None without one.

    Inside an attempt this includes the attempt's own timeout: nobody waits for its answer after that.
    """
    current = CURRENT.get()
    return None if current is None else max(0.0, current[0] - current[1].monotonic())


def format_deadline(seconds: float) -> str:
    """The header's value: whole milliseconds, rounded down, so that a server never outlives its caller."""
    return str(int(max(0.0, seconds) * 1000))


def parse_deadline(value: str | None) -> float | None:
    """Seconds in a header's value. None: absent or not a plain number of milliseconds, so there is no deadline."""
    if value is None or not (value.isascii() and value.isdigit()) or len(value) > len(str(_LONGEST_MS)):
        return None
    return min(int(value), _LONGEST_MS) / 1000


def instant_on(clock: Clock) -> float:
    """The deadline of this context as an instant of `clock`; `NEVER` without one."""
    current = CURRENT.get()
    if current is None:
        return NEVER
    at, source = current
    return at if source is clock else clock.monotonic() + at - source.monotonic()


class deadline:  # noqa: N801 - used as a statement: `with deadline(2.0):`
    """For the length of the block, `remaining()` is at most `seconds`. It bounds, it does not cancel by itself."""

    __slots__ = ("_clock", "_seconds", "_token")

    def __init__(self, seconds: float, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._seconds = seconds
        self._clock = clock
        self._token: Token[Current | None] | None = None

    def __enter__(self) -> None:
        at = min(self._clock.monotonic() + self._seconds, instant_on(self._clock))
        self._token = CURRENT.set((at, self._clock))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._token is not None:
            CURRENT.reset(self._token)
            self._token = None


class Deadline:
    """The outermost layer: fixes when the caller stops waiting.

    seconds: the pipeline's own limit for a whole call with its retries; None: only the caller's counts
    """

    def __init__(self, name: str, seconds: float | None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self.name = name
        self.seconds = seconds
        self._clock = clock
        self._now = clock.monotonic

    def run(self, inner: Step, invocation: Invocation) -> Awaitable[Any]:
        """Note the deadline for the layers inside. DeadlineExceeded: it has passed already."""
        if self.seconds is None and CURRENT.get() is None:
            return inner(invocation)
        now = self._now()
        at = instant_on(self._clock)
        if at <= now:
            raise DeadlineExceeded(self.name, attempted=False)
        invocation.deadline = at if self.seconds is None else min(at, now + self.seconds)
        return inner(invocation)
