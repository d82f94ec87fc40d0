"""Single flight: calls with equal keys that run at the same time become one.

The first makes the call, in its own task and with its own deadline; the others wait for what comes of it. A first one
that is cancelled, or whose caller waits no longer, takes nobody with it: the next in line makes the call.
"""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, TypeAlias

from shared.resilience.clock import Clock
from shared.resilience.errors import DeadlineExceeded, RateLimitExceeded
from shared.resilience.invocation import NEVER, Invocation, Step


@dataclass(slots=True)
class _Landing:
    """What came of a flight: an answer and its instant, or the error. `given_up`: neither; fly again."""

    result: Any = None
    came: float = 0.0
    error: Exception | None = None
    given_up: bool = False


# Those who wait for one flight. A future each, because cancelling a waiter cancels what it awaits.
_Waiting: TypeAlias = "dict[asyncio.Future[_Landing | None], None]"


class Flights:
    """The calls under way, by key. `shared` counts the calls that another one answered."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[Hashable, _Waiting] = {}
        self.shared = 0

    async def join(self, inner: Step, invocation: Invocation, key: Hashable) -> tuple[Any, float]:
        """The answer and when it came, of this call or of one with the same key that is under way.

        Raises what that call raised. DeadlineExceeded: this caller's time was over first.
        """
        while (waiting := self._waiting.get(key)) is not None:
            landing = await self._wait(waiting, invocation.deadline)
            if not landing.given_up:
                self.shared += 1
                if landing.error is not None:
                    raise landing.error
                return landing.result, landing.came
        return await self._fly(inner, invocation, key)

    async def _fly(self, inner: Step, invocation: Invocation, key: Hashable) -> tuple[Any, float]:
        waiting: _Waiting = {}
        self._waiting[key] = waiting
        landing = _Landing(given_up=True)
        try:
            result = await inner(invocation)
        except Exception as error:
            if not _is_own(error):
                landing = _Landing(error=error)
            raise
        else:
            landing = _Landing(result, self._clock.monotonic())
            return result, landing.came
        finally:
            del self._waiting[key]
            for waiter in tuple(waiting):
                if not waiter.done():
                    waiter.set_result(landing)

    async def _wait(self, waiting: "_Waiting", until: float) -> _Landing:
        waiter: asyncio.Future[_Landing | None] = asyncio.get_running_loop().create_future()
        waiting[waiter] = None
        timer = None if until == NEVER else self._clock.call_later(until - self._clock.monotonic(), _give_up, waiter)
        try:
            landing = await waiter
        finally:
            waiting.pop(waiter, None)
            if timer is not None:
                timer.cancel()
        if landing is None:
            raise DeadlineExceeded("single flight", attempted=True)
        return landing


def _is_own(error: Exception) -> bool:
    """Whether it was this caller's time that did not suffice: the others may have more."""
    return isinstance(error, DeadlineExceeded) or (isinstance(error, RateLimitExceeded) and error.reason == "deadline")


def _give_up(waiter: "asyncio.Future[_Landing | None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
