"""aiobreaker and this library, each in the other's place.

    breaker = AioBreaker(CircuitBreaker("payment"))         # ours, for code that was written for aiobreaker
    breaker.add_listener(listener)                          # aiobreaker's listeners
    await breaker.call_async(charge)                        # raises aiobreaker.CircuitBreakerError

    pipeline = Pipeline("payment", circuit_breaker=ForeignBreaker(theirs))      # an aiobreaker, in a pipeline of ours

Where aiobreaker 1.2.0 does harm, the adapter does not follow: a listener that raises changes no call's result, an
excluded exception does not close a half-open breaker, half-open admits only the permitted trials, waits do not depend
on the time zone.
"""

import inspect
import logging
from collections.abc import Awaitable, Callable, Generator, Iterable
from datetime import datetime, timedelta
from types import GeneratorType
from typing import Any, TypeVar

import aiobreaker
from aiobreaker.state import CircuitBreakerBaseState

from shared.resilience.circuit_breaker import CircuitBreaker, Permit, State
from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.errors import CallNotPermitted
from shared.resilience.events import CallFailed, CallSucceeded, Event, StateTransition
from shared.resilience.foreign_breaker import OURS, ForeignBreaker

__all__ = ["AioBreaker", "BreakerOpen", "ForeignBreaker"]

T = TypeVar("T")
logger = logging.getLogger("holdfast.resilience")

_THEIRS = {
    State.CLOSED: aiobreaker.CircuitBreakerState.CLOSED,
    State.DISABLED: aiobreaker.CircuitBreakerState.CLOSED,
    State.METRICS_ONLY: aiobreaker.CircuitBreakerState.CLOSED,
    State.OPEN: aiobreaker.CircuitBreakerState.OPEN,
    State.FORCED_OPEN: aiobreaker.CircuitBreakerState.OPEN,
    State.HALF_OPEN: aiobreaker.CircuitBreakerState.HALF_OPEN,
}


class BreakerOpen(aiobreaker.CircuitBreakerError, CallNotPermitted):  # type: ignore[misc, unused-ignore]
    """Refused: aiobreaker's error and ours in one, so that either kind of handler and our retry understand it."""

    def __init__(self, message: str, error: CallNotPermitted, *, attempted: bool = False) -> None:
        CallNotPermitted.__init__(self, error.breaker, error.state, error.retry_after)
        # aiobreaker compares it with the local time.
        reopens = datetime.now() + timedelta(seconds=error.retry_after)  # noqa: DTZ005
        aiobreaker.CircuitBreakerError.__init__(self, message, reopens)
        self.attempted = attempted

    def __str__(self) -> str:
        return str(self.message)


class AioBreaker(aiobreaker.CircuitBreaker):  # type: ignore[misc, unused-ignore]
    """`breaker` under aiobreaker's interface.

    When it opens is up to the breaker's own settings: `fail_max` can be read, as the fewest failures that may open it,
    and not set. `fail_counter` counts failures in a row, `success` and `failure` are told of every call through the
    breaker, whichever interface it came by.

    exclude:                exception types, or predicates of an exception, that are not recorded; those that the
                            breaker ignores count as excluded as well
    throw_new_error_on_trip: the call that opens the breaker raises CircuitBreakerError from its own error, as
                            aiobreaker does; False: its own error
    """

    def __init__(
        self,
        breaker: CircuitBreaker,
        *,
        exclude: Iterable[Callable[[Exception], bool] | type[Exception]] | None = None,
        listeners: Iterable[aiobreaker.CircuitBreakerListener] | None = None,
        throw_new_error_on_trip: bool = True,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        # aiobreaker's own constructor makes a state and a storage of its own, which must not be here.
        self.breaker = breaker
        self._name = breaker.name
        self._excluded_exceptions = [*breaker.config.ignore_exceptions, *(exclude or ())]
        self._listeners = list(listeners or ())
        self._throw_new = throw_new_error_on_trip
        self._clock = clock
        self._failures = 0
        breaker.events.subscribe(self._hear, CallSucceeded, CallFailed, StateTransition)

    # -- calls ---------------------------------------------------------------------------------------------------

    def call(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a plain function, or begin to await a coroutine function. CircuitBreakerError: refused.

        A generator is guarded until it ends.
        """
        if getattr(func, "_ignore_on_call", False):
            return func(*args, **kwargs)
        if inspect.iscoroutinefunction(func):
            return self.call_async(func, *args, **kwargs)
        permit = self._admit(func, *args, **kwargs)
        start = self._clock.monotonic()
        try:
            result = func(*args, **kwargs)
        except BaseException as error:
            if (opened := self._failed(permit, start, error)) is not None:
                raise opened from error
            raise
        if isinstance(result, GeneratorType):
            return self._guarded(permit, start, result)
        self.breaker.on_success(permit, self._clock.monotonic() - start, result)
        return result

    async def call_async(self, func: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Await `func(*args, **kwargs)`. CircuitBreakerError: refused."""
        if getattr(func, "_ignore_on_call", False):
            return await func(*args, **kwargs)
        permit = self._admit(func, *args, **kwargs)
        start = self._clock.monotonic()
        try:
            result = await func(*args, **kwargs)
        except BaseException as error:
            if (opened := self._failed(permit, start, error)) is not None:
                raise opened from error
            raise
        self.breaker.on_success(permit, self._clock.monotonic() - start, result)
        return result

    def _guarded(self, permit: Permit, start: float, generator: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        try:
            result = yield from generator
        except BaseException as error:
            if (opened := self._failed(permit, start, error)) is not None:
                raise opened from error
            raise
        self.breaker.on_success(permit, self._clock.monotonic() - start, result)
        return result

    def _admit(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Permit:
        try:
            permit = self.breaker.acquire()
        except CallNotPermitted as error:
            raise BreakerOpen("Timeout not elapsed yet, circuit breaker still open", error) from None
        self._tell("before_call", func, *args, **kwargs)
        return permit

    def _failed(self, permit: Permit, start: float, error: BaseException) -> BreakerOpen | None:
        """Record the error; returns what is to be raised in its place."""
        before = self.breaker.state
        ignored = isinstance(error, self.breaker.config.ignore_exceptions)
        if isinstance(error, Exception) and (ignored or self.is_system_error(error)):
            self.breaker.on_error(permit, self._clock.monotonic() - start, error)
        else:
            self.breaker.release(permit)
        if before is State.OPEN or self.breaker.state is not State.OPEN or not self._throw_new:
            return None
        wait = self.breaker.snapshot().retry_after
        refusal = CallNotPermitted(self.breaker.name, State.OPEN, wait)
        return BreakerOpen("The circuit breaker has opened", refusal, attempted=True)

    # -- state ---------------------------------------------------------------------------------------------------

    @property
    def current_state(self) -> aiobreaker.CircuitBreakerState:
        """OPEN, HALF_OPEN or CLOSED; a disabled breaker, and one that only measures, is CLOSED."""
        return _THEIRS[self.breaker.state]

    @property
    def state(self) -> CircuitBreakerBaseState:
        """The present state as aiobreaker's object."""
        return _state_object(self, self.breaker.state)

    @state.setter
    def state(self, state: aiobreaker.CircuitBreakerState) -> None:
        {State.OPEN: self.open, State.HALF_OPEN: self.half_open, State.CLOSED: self.close}[OURS[state]]()

    def open(self) -> None:
        """Refuse calls until the timeout is over."""
        self.breaker.transition_to_open()

    def half_open(self) -> None:
        """Admit the trial calls."""
        if self.breaker.state is State.CLOSED:
            # For us half-open means trying again after having been open.
            self.breaker.transition_to_open()
        self.breaker.transition_to_half_open()

    def close(self) -> None:
        """Admit calls again."""
        self.breaker.transition_to_closed()

    @property
    def fail_counter(self) -> int:
        """Failures since the last success."""
        return self._failures

    @property
    def fail_max(self) -> int:
        """The fewest failures that may open the breaker: what the threshold makes of the minimum number of calls."""
        config = self.breaker.config
        return max(1, -int(-config.minimum_number_of_calls * config.failure_rate_threshold // 100))

    @property
    def timeout_duration(self) -> timedelta:
        """How long it stays open, the first time."""
        return timedelta(seconds=self.breaker.config.wait_duration_in_open_state)

    @timeout_duration.setter
    def timeout_duration(self, timeout: timedelta) -> None:
        update = {"wait_duration_in_open_state": timeout.total_seconds()}
        config = self.breaker.config
        self.breaker.reconfigure(type(config).model_validate(config.model_dump() | update))

    @property
    def opens_at(self) -> datetime | None:
        """When the next call may be admitted, in local time without a zone, as aiobreaker has it; None: now."""
        left = self.time_until_open
        return None if left is None else datetime.now() + left  # noqa: DTZ005 - aiobreaker's

    @property
    def time_until_open(self) -> timedelta | None:
        """How long until the next call may be admitted; None: it is."""
        left = self.breaker.snapshot().retry_after if self.breaker.state is State.OPEN else 0.0
        return timedelta(seconds=left) if left > 0 else None

    async def sleep_until_open(self) -> None:
        """Wait until the next call may be admitted."""
        left = self.time_until_open
        if left is not None:
            await self._clock.sleep(left.total_seconds())

    # -- listeners -----------------------------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        if isinstance(event, StateTransition):
            self._failures = 0 if event.after == State.CLOSED else self._failures
            before, after = _state_object(self, State(event.before)), _state_object(self, State(event.after))
            self._tell("state_change", before, after)
        elif isinstance(event, CallFailed):
            self._failures += 1
            self._tell("failure", event.error or RuntimeError("the result counts as a failure"))
        else:
            self._failures = 0
            self._tell("success")

    def _tell(self, what: str, *args: Any, **kwargs: Any) -> None:
        for listener in self.listeners:
            try:
                getattr(listener, what)(self, *args, **kwargs)
            except Exception:
                logger.exception("an aiobreaker listener failed on %s of %s", what, self.breaker.name)


def _state_object(breaker: aiobreaker.CircuitBreaker, state: State) -> CircuitBreakerBaseState:
    return _THEIRS[state].value(breaker)
