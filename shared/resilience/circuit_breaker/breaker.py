"""The circuit breaker: stop calling what is known to fail, and try carefully whether it has come back.

The semantics are Resilience4j's. Where this breaker does more, the comment says so. It belongs to one event loop and
takes no locks.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from shared.resilience.circuit_breaker import rules
from shared.resilience.circuit_breaker.machine import Permit, StateMachine
from shared.resilience.circuit_breaker.state import CircuitBreakerSnapshot, State, Total
from shared.resilience.clock import SYSTEM_CLOCK, Clock
from shared.resilience.errors import CallNotPermitted
from shared.resilience.events import CallFailed, CallIgnored, CallRefused, CallSlow, CallSucceeded, EventBus
from shared.resilience.mode import MODE
from shared.resilience.results import is_failure
from shared.resilience.settings import CircuitBreakerConfig

T = TypeVar("T")
_DISABLED = State.DISABLED
_HALF_OPEN = State.HALF_OPEN
# Admitted whatever the state: a generation that never was, so that the outcome is charged to none.
_OUTSIDE = Permit(0)


class CircuitBreaker(StateMachine):
    """One breaker. Use `await breaker.call(fn)`, or the permit by hand:

    permit = breaker.acquire()                      # raises CallNotPermitted; try_acquire() returns None instead
    ...                                             # then exactly one of
    breaker.on_success(permit, elapsed, result)
    breaker.on_error(permit, elapsed, error)
    breaker.release(permit)                         # the call says nothing about the dependency
    """

    def __init__(
        self,
        name: str,
        config: CircuitBreakerConfig | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        events: EventBus | None = None,
    ) -> None:
        super().__init__(name, config, clock=clock, events=events)
        self._slow_after = self.config.slow_call_duration_threshold
        self._is_failure = self.config.record_result
        self._successful_calls = self._failed_calls = self._ignored_calls = self._not_permitted = 0
        self._successful_seconds = self._failed_seconds = self._ignored_seconds = 0.0

    def reconfigure(self, config: CircuitBreakerConfig) -> None:
        """As `StateMachine.reconfigure`; outcomes are judged by the new settings, whenever their calls began."""
        super().reconfigure(config)
        self._slow_after = config.slow_call_duration_threshold
        self._is_failure = config.record_result

    # -- the call ------------------------------------------------------------------------------------------------

    async def call(self, fn: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        """Await `fn(*args, **kwargs)` if permitted, and record how it went.

        CallNotPermitted: refused. Anything else that is raised is what `fn` raised. Cancellation records nothing and
        gives the permit back.
        """
        permit = self._generation if self._admitting else self.acquire()
        now = self._now
        start = now()
        try:
            result = await fn(*args, **kwargs)
        except Exception as error:
            self.on_error(permit, now() - start, error)
            raise
        except BaseException:
            self.release(permit)
            raise
        if self._is_failure is None:
            self._record(permit, now() - start, False, None)
        else:
            self.on_success(permit, now() - start, result)
        return result

    def acquire(self) -> Permit:
        """As `try_acquire`. CallNotPermitted: refused."""
        permit = self.try_acquire()
        if permit is None:
            raise CallNotPermitted(self.name, self._state, self._retry_after())
        return permit

    def try_acquire(self) -> Permit | None:
        """Ask to make one call.

        CLOSED, METRICS_ONLY, DISABLED: always permitted. OPEN: refused; once the wait is over it moves to HALF_OPEN and
        takes one of its permits. HALF_OPEN: permitted while permits are left. FORCED_OPEN: refused. A refusal is
        counted, once.
        """
        if not self._admitting and self._now() >= self._stays_until:
            self._stay_is_over()
        if self._admitting:
            return self._generation
        if self._state is State.HALF_OPEN and self._trials_left > 0:
            self._trials_left -= 1
            self._trials_running += 1
            return self._generation
        if MODE.all_closed:
            return _OUTSIDE
        self._not_permitted += 1
        self.events.publish(CallRefused(self.name, self._now(), self._state))
        return None

    def release(self, permit: Permit) -> None:
        """Give a permit back unused. HALF_OPEN: another trial may take it, never more than were out. Else: nothing."""
        if permit == self._generation and self._trials_running > 0:
            self._trials_running -= 1
            self._trials_left += 1

    def on_success(self, permit: Permit, elapsed: float, result: Any = None) -> None:
        """Record a call that returned `result` after `elapsed` seconds; a failure if `record_result` says so."""
        predicate = self._is_failure
        failed = predicate is not None and is_failure(
            predicate, result, f"record_result of circuit breaker {self.name}"
        )
        self._record(permit, elapsed, failed, None)

    def on_error(self, permit: Permit, elapsed: float, error: BaseException) -> None:
        """Record a call that raised `error` after `elapsed` seconds.

        An ignored exception, cancellation, and what was never attempted give the permit back instead.
        """
        if not isinstance(error, Exception):
            self.release(permit)
        elif rules.ignores(self.config, error):
            self.release(permit)
            if self._state is not State.DISABLED:
                self._ignored_calls += 1
                self._ignored_seconds += elapsed
                self.events.publish(CallIgnored(self.name, self._now(), elapsed, error))
        else:
            self._record(permit, elapsed, rules.records(self.config, error), error)

    # -- recording -----------------------------------------------------------------------------------------------

    # Called for every outcome, so positional and without a needless look at the enumeration.
    def _record(self, permit: Permit, elapsed: float, failed: bool, error: Exception | None) -> None:
        if self._state is _DISABLED:
            return
        if failed:
            self._failed_calls += 1
            self._failed_seconds += elapsed
            self.events.publish(CallFailed(self.name, self._now(), elapsed, error))
        else:
            self._successful_calls += 1
            self._successful_seconds += elapsed
            if self.events.wants_success:
                self.events.publish(CallSucceeded(self.name, self._now(), elapsed))
        slow = elapsed > self._slow_after
        if slow:
            self.events.publish(CallSlow(self.name, self._now(), elapsed))
        # What began in an earlier state is not charged to this one. (Resilience4j charges it.)
        if permit != self._generation:
            return
        trial = self._state is _HALF_OPEN
        if trial:
            if self._trials_running == 0:
                return
            self._trials_running -= 1
        window = self._window
        window.record(failed, slow)
        # Without a failure or a slow call no rate can be exceeded; a trial is judged in any case.
        if (window.failed or window.slow or trial) and window.calls >= self._minimum:
            self._evaluate()

    def _evaluate(self) -> None:
        """The window holds enough calls to judge: open, close, or stay."""
        if MODE.all_closed:
            return
        exceeded = rules.exceeded(self.name, self._now(), self.config, self._window)
        generation = self._generation
        for event in exceeded:
            if event.kind not in self._reported:
                self._reported |= {event.kind}
                self.events.publish(event)
        # A listener that moved the breaker by hand has the last word.
        if generation != self._generation or self._state is State.METRICS_ONLY:
            return
        if exceeded:
            self._transition(State.OPEN)
        elif self._state is State.HALF_OPEN:
            self._transition(State.CLOSED)

    # -- reading -------------------------------------------------------------------------------------------------

    def snapshot(self) -> CircuitBreakerSnapshot:
        """The breaker now. Old buckets leave a time window on the way; the state stays as it is."""
        window = self._window
        window.expire()
        enough = window.calls >= max(1, self._minimum)
        return CircuitBreakerSnapshot(
            name=self.name,
            state=self._state,
            failure_rate=window.failed * 100 / window.calls if enough else -1.0,
            slow_call_rate=window.slow * 100 / window.calls if enough else -1.0,
            buffered_calls=window.calls,
            failed_calls=window.failed,
            slow_calls=window.slow,
            slow_failed_calls=window.slow_failed,
            not_permitted_calls=self._not_permitted,
            successful=Total(self._successful_calls, self._successful_seconds),
            failed=Total(self._failed_calls, self._failed_seconds),
            ignored=Total(self._ignored_calls, self._ignored_seconds),
            retry_after=0.0 if self._admitting else self._retry_after(),
        )
