"""The circuit breaker: stop calling what is known to fail, and try carefully whether it has come back.

The semantics are Resilience4j's. Where this breaker does more, the comment says so. It belongs to one event loop and
takes no locks.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NewType, TypeVar

from shared.resilience.circuit_breaker import rules
from shared.resilience.circuit_breaker.state import (
    ADMITTING,
    CircuitBreakerSnapshot,
    IllegalTransitionError,
    State,
    Total,
    log_transition,
)
from shared.resilience.circuit_breaker.windows import CountWindow, TimeWindow
from shared.resilience.clock import SYSTEM_CLOCK, Clock, Timer
from shared.resilience.errors import CallNotPermitted
from shared.resilience.events import (
    BreakerReset,
    CallFailed,
    CallIgnored,
    CallRefused,
    CallSlow,
    CallSucceeded,
    EventBus,
    StateTransition,
)
from shared.resilience.settings import CircuitBreakerConfig

T = TypeVar("T")
logger = logging.getLogger("holdfast.resilience")

# The generation of the state that admitted the call. An outcome that comes back with another one is not charged.
Permit = NewType("Permit", int)


_DISABLED = State.DISABLED
_HALF_OPEN = State.HALF_OPEN


class CircuitBreaker:
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
        self.name = name
        self.config = config = config or CircuitBreakerConfig()
        self.events = events or EventBus()
        self._clock = clock
        self._now = clock.monotonic
        self._slow_after = config.slow_call_duration_threshold
        self._is_failure = config.record_result

        self._successful_calls = self._failed_calls = self._ignored_calls = self._not_permitted = 0
        self._successful_seconds = self._failed_seconds = self._ignored_seconds = 0.0

        self._state = State.CLOSED
        self._admitting = True
        self._generation = Permit(1)
        self._window: CountWindow | TimeWindow = rules.fresh_window(self.config, self._now)
        self._minimum = rules.minimum_of_window(self.config)
        self._reported: frozenset[str] = frozenset()
        self._reopenings = 0
        self._trials_left = self._trials_running = 0
        self._stays_until = float("inf")
        self._timer: Timer | None = None

    @property
    def state(self) -> State:
        """The present state. Reading it changes nothing, even when the open wait is over."""
        return self._state

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
        self._record(permit, elapsed, predicate is not None and self._judge(predicate, result), None)

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

    def _judge(self, predicate: Callable[[Any], bool], result: Any) -> bool:
        try:
            return bool(predicate(result))
        except Exception:
            logger.exception("record_result of circuit breaker %s failed; counted as a success", self.name)
            return False

    # -- transitions ---------------------------------------------------------------------------------------------

    def transition_to_closed(self) -> None:
        """Admit calls again, with an empty window and the open wait back at its beginning."""
        self._transition(State.CLOSED)

    def transition_to_open(self, wait: float | None = None) -> None:
        """Refuse calls for `wait` seconds (None: as configured). When OPEN already, the wait starts anew."""
        self._transition(State.OPEN, wait)

    def transition_to_half_open(self) -> None:
        """Admit the trial calls. IllegalTransitionError: CLOSED."""
        self._transition(State.HALF_OPEN)

    def transition_to_forced_open(self) -> None:
        """Refuse all calls until told otherwise."""
        self._transition(State.FORCED_OPEN)

    def transition_to_disabled(self) -> None:
        """Admit all calls and record nothing."""
        self._transition(State.DISABLED)

    def transition_to_metrics_only(self) -> None:
        """Admit all calls, record them, and never open."""
        self._transition(State.METRICS_ONLY)

    def reset(self) -> None:
        """CLOSED with an empty window, from any state."""
        self._transition(State.CLOSED)
        self.events.publish(BreakerReset(self.name, self._now()))

    def _transition(self, after: State, wait: float | None = None) -> None:
        before = self._state
        if before is State.CLOSED and after is State.HALF_OPEN:
            raise IllegalTransitionError(self.name, before, after)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # All of the new state is in place before anybody hears of it.
        self._generation = Permit(self._generation + 1)
        self._state = after
        self._admitting = after in ADMITTING
        self._reported = frozenset()
        self._trials_left = self._trials_running = 0
        self._stays_until = float("inf")
        if after is State.OPEN:
            self._enter_open(before, wait)
        elif after is State.HALF_OPEN:
            self._enter_half_open()
        else:
            self._window = rules.fresh_window(self.config, self._now)
            self._minimum = rules.minimum_of_window(self.config)
        if after is State.CLOSED:
            self._reopenings = 0
        if before is not after:
            self._announce(before, after)

    def _enter_open(self, before: State, wait: float | None) -> None:
        # The window that tripped the breaker stays readable.
        if before is State.HALF_OPEN:
            self._reopenings += 1
        wait = rules.open_wait(self.config, self._reopenings) if wait is None else wait
        self._stays_until = self._now() + wait
        if self.config.automatic_transition:
            self._arm(wait)

    def _enter_half_open(self) -> None:
        permitted = self.config.permitted_calls_in_half_open
        self._window = CountWindow(permitted)
        self._minimum = min(self.config.minimum_number_of_calls, permitted)
        self._trials_left = permitted
        if longest := self.config.max_wait_duration_in_half_open:
            self._stays_until = self._now() + longest
            self._arm(longest)

    def _arm(self, delay: float) -> None:
        # Without a running loop nothing can fire; the next acquire looks at the time by itself.
        with contextlib.suppress(RuntimeError):
            self._timer = self._clock.call_later(delay, self._stay_is_over)

    def _stay_is_over(self) -> None:
        self._transition(State.HALF_OPEN if self._state is State.OPEN else State.OPEN)

    def _announce(self, before: State, after: State) -> None:
        log_transition(self.name, before, after, self._retry_after())
        self.events.publish(StateTransition(self.name, self._now(), before, after))

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

    def _retry_after(self) -> float:
        wait = rules.open_wait(self.config, self._reopenings)
        if self._state is State.OPEN:
            return max(0.0, self._stays_until - self._now())
        if self._state is State.HALF_OPEN:
            return max(0.0, min(wait, self._stays_until - self._now()))
        return wait
