"""An aiobreaker in the place of a breaker of ours. Use it from `aiobreaker_adapter`, which is its counterpart."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import aiobreaker
from aiobreaker.state import CircuitBreakerBaseState

from shared.resilience.circuit_breaker import (
    CircuitBreaker,
    CircuitBreakerSnapshot,
    IllegalTransitionError,
    Permit,
    State,
)
from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.errors import CallNotPermitted, ResilienceError
from shared.resilience.events import CallRefused, EventBus

T = TypeVar("T")
logger = logging.getLogger("holdfast.resilience")

OURS: Final = {
    aiobreaker.CircuitBreakerState.CLOSED: State.CLOSED,
    aiobreaker.CircuitBreakerState.OPEN: State.OPEN,
    aiobreaker.CircuitBreakerState.HALF_OPEN: State.HALF_OPEN,
}


class ForeignBreaker(CircuitBreaker):
    """An aiobreaker where one of ours is expected: in a pipeline, a registry's metrics, an admin page.

    Theirs decides; ours measures. Calls that theirs makes beside the pipeline move its state, and are not measured.
    """

    def __init__(
        self,
        theirs: aiobreaker.CircuitBreaker,
        *,
        name: str = "",
        clock: Clock = SYSTEM_CLOCK,
        events: EventBus | None = None,
    ) -> None:
        super().__init__(name or theirs.name or "aiobreaker", clock=clock, events=events)
        self._theirs = theirs
        # Records and never moves by itself: what calls are admitted is not ours to say.
        self._state = State.METRICS_ONLY
        theirs.add_listener(_Relay(self._announce))

    @property
    def state(self) -> State:
        """Theirs, in our terms."""
        return OURS[self._theirs.current_state]

    async def call(self, fn: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """As `CircuitBreaker.call`. The call that opens theirs raises its own error, so that a retry knows it."""
        permit = self.acquire()
        start = self._now()
        try:
            self._quietly(self._announce_call, fn, *args, **kwargs)
            result = await fn(*args, **kwargs)
        except Exception as error:
            self.on_error(permit, self._now() - start, error)
            raise
        self.on_success(permit, self._now() - start, result)
        return result

    def acquire(self) -> Permit:
        """As `try_acquire`. CallNotPermitted: refused."""
        permit = self.try_acquire()
        if permit is None:
            raise CallNotPermitted(self.name, State.OPEN, self._retry_after())
        return permit

    def try_acquire(self) -> Permit | None:
        """Ask theirs to make one call. Once its timeout is over it becomes half-open, and admits all that come."""
        if self.state is not State.OPEN:
            return self._generation
        if self._retry_after() > 0:
            self._not_permitted += 1
            self.events.publish(CallRefused(self.name, self._now(), State.OPEN))
            return None
        self._quietly(self._theirs.half_open)
        return self._generation

    def release(self, permit: Permit) -> None:
        """Nothing: theirs counts no permits."""

    def on_success(self, permit: Permit, elapsed: float, result: Any = None) -> None:
        """Record a call that returned `result` after `elapsed` seconds."""
        super().on_success(permit, elapsed, result)
        self._quietly(self._theirs.state._handle_success)  # noqa: SLF001 - theirs has no public way to tell it

    def on_error(self, permit: Permit, elapsed: float, error: BaseException) -> None:
        """Record a call that raised `error` after `elapsed` seconds; theirs hears of what was attempted."""
        super().on_error(permit, elapsed, error)
        if isinstance(error, Exception) and not (isinstance(error, ResilienceError) and not error.attempted):
            # It raises the error again, or its own in place of it.
            raised = (type(error), aiobreaker.CircuitBreakerError)
            self._quietly(self._theirs.state._handle_error, None, error, expected=raised)  # noqa: SLF001

    def snapshot(self) -> CircuitBreakerSnapshot:
        """What was measured, and their state."""
        wait = self._retry_after() if self.state is State.OPEN else 0.0
        return replace(super().snapshot(), state=self.state, retry_after=wait)

    def _transition(self, after: State, wait: float | None = None) -> None:
        moves = {
            State.CLOSED: self._theirs.close,
            State.OPEN: self._theirs.open,
            State.HALF_OPEN: self._theirs.half_open,
        }
        if after not in moves or wait is not None:
            raise IllegalTransitionError(self.name, self.state, after)
        self._quietly(moves[after])

    def _announce_call(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        for listener in self._theirs.listeners:
            listener.before_call(self._theirs, fn, *args, **kwargs)

    def _retry_after(self) -> float:
        # Not `opens_at`, which takes the local time for UTC.
        opened: datetime | None = self._theirs._state_storage.opened_at  # noqa: SLF001
        if opened is None:
            return 0.0
        left: timedelta = opened + self._theirs.timeout_duration - datetime.now(UTC).replace(tzinfo=None)
        return max(0.0, left.total_seconds())

    def _quietly(
        self, tell: Callable[..., Any], *args: Any, expected: tuple[type[Exception], ...] = (), **kwargs: Any
    ) -> None:
        try:
            tell(*args, **kwargs)
        except expected:
            pass
        except Exception:
            logger.exception("a listener of the aiobreaker %s failed", self.name)


class _Relay(aiobreaker.CircuitBreakerListener):  # type: ignore[misc, unused-ignore]
    """Their transitions among our events."""

    def __init__(self, announce: Callable[[State, State], None]) -> None:
        self._announce = announce

    def state_change(self, breaker: Any, old: CircuitBreakerBaseState, new: CircuitBreakerBaseState) -> None:  # noqa: ARG002
        before, after = OURS[old.state], OURS[new.state]
        if before is not after:
            self._announce(before, after)
