"""The circuit breaker against a model that is too simple to be wrong.

The model keeps every outcome in a list and counts anew each time. Whatever sequence of calls, outcomes, cancellations,
transitions by hand and jumps of the clock is tried, both must say the same.

RESILIENCE_EXAMPLES sets how many sequences are tried.
"""

import asyncio
import os
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from shared.resilience import CircuitBreaker, CircuitBreakerConfig, IllegalTransitionError, State
from shared.resilience.testing import FakeClock

EXAMPLES = int(os.environ.get("RESILIENCE_EXAMPLES", "80"))
SLOW_AFTER = 1.0
NEVER = float("inf")


class FailedError(Exception):
    pass


class IgnoredError(Exception):
    pass


@dataclass
class Model:
    """One breaker, written for the reader and not for the machine."""

    config: CircuitBreakerConfig
    now: float
    state: str = "closed"
    stay: int = 0  # counts the states entered; a call belongs to the stay that admitted it
    outcomes: list[tuple[int, bool, bool]] = field(default_factory=list)  # second, failed, slow
    newest_second: int = 0
    until: float = NEVER
    reopenings: int = 0
    admitted: int = 0
    finished: int = 0
    refused: int = 0
    totals: dict[str, int] = field(default_factory=lambda: {"failed": 0, "successful": 0, "ignored": 0})
    tripped_half_open: bool = False

    # -- the window

    def window(self) -> list[tuple[int, bool, bool]]:
        if self.counts_trials():
            return self.outcomes[-self.config.permitted_calls_in_half_open :]
        if self.config.sliding_window_type == "count":
            return self.outcomes[-self.config.sliding_window_size :]
        self.newest_second = max(self.newest_second, int(self.now))
        return [o for o in self.outcomes if o[0] > self.newest_second - self.config.sliding_window_size]

    def counts_trials(self) -> bool:
        return self.state == "half_open" or (self.state == "open" and self.tripped_half_open)

    def minimum(self) -> int:
        minimum = self.config.minimum_number_of_calls
        if self.counts_trials():
            return min(minimum, self.config.permitted_calls_in_half_open)
        return min(minimum, self.config.sliding_window_size) if self.config.sliding_window_type == "count" else minimum

    def rates(self) -> tuple[float, float]:
        window = self.window()
        if not window or len(window) < self.minimum():
            return -1, -1
        failed = sum(o[1] for o in window) * 100 / len(window)
        slow = sum(o[2] for o in window) * 100 / len(window)
        return failed, slow

    # -- the states

    def enter(self, state: str) -> None:
        before = self.state
        if state == "open":
            self.tripped_half_open = self.counts_trials()
        if before == "half_open" and state == "open":
            self.reopenings += 1
        if state == "closed":
            self.reopenings = 0
        self.state = state
        self.stay += 1
        self.admitted = self.finished = 0
        self.until = NEVER
        if state == "open":
            self.until = self.now + min(
                self.config.max_wait_duration_in_open_state,
                self.config.wait_duration_in_open_state * self.config.open_wait_multiplier**self.reopenings,
            )
        else:
            self.outcomes = []
            self.newest_second = int(self.now)
        if state == "half_open" and self.config.max_wait_duration_in_half_open:
            self.until = self.now + self.config.max_wait_duration_in_half_open

    def pass_time(self, seconds: float) -> None:
        target = self.now + seconds
        while self.until <= target and (self.state == "half_open" or self.config.automatic_transition):
            self.now = max(self.now, self.until)
            self.enter("half_open" if self.state == "open" else "open")
        self.now = target

    def acquire(self) -> int | None:
        if self.now >= self.until:
            self.enter("half_open" if self.state == "open" else "open")
        if self.state in ("closed", "disabled", "metrics_only"):
            return self.stay
        if self.state == "half_open" and self.admitted < self.config.permitted_calls_in_half_open:
            self.admitted += 1
            return self.stay
        self.refused += 1
        return None

    def give_back(self, stay: int) -> None:
        if self.state == "half_open" and stay == self.stay:
            self.admitted -= 1

    def ignore(self, stay: int) -> None:
        self.give_back(stay)
        if self.state != "disabled":
            self.totals["ignored"] += 1

    def record(self, stay: int, *, failed: bool, slow: bool) -> None:
        if self.state == "disabled":
            return
        self.totals["failed" if failed else "successful"] += 1
        if stay != self.stay:
            return
        self.newest_second = max(self.newest_second, int(self.now))
        self.outcomes.append((self.newest_second, failed, slow))
        failure_rate, slow_rate = self.rates()
        if failure_rate < 0 or self.state == "metrics_only":
            return
        bad = failure_rate >= self.config.failure_rate_threshold or slow_rate >= self.config.slow_call_rate_threshold
        if bad:
            self.enter("open")
        elif self.state == "half_open":
            self.enter("closed")


configs = st.builds(
    CircuitBreakerConfig,
    sliding_window_type=st.sampled_from(["count", "time"]),
    sliding_window_size=st.integers(1, 6),
    minimum_number_of_calls=st.integers(1, 8),
    failure_rate_threshold=st.sampled_from([1, 25, 50, 100]),
    slow_call_rate_threshold=st.sampled_from([1, 50, 100]),
    slow_call_duration_threshold=st.just(SLOW_AFTER),
    wait_duration_in_open_state=st.sampled_from([2, 4]),
    open_wait_multiplier=st.sampled_from([1, 1.5]),
    max_wait_duration_in_open_state=st.just(16),
    permitted_calls_in_half_open=st.integers(1, 4),
    max_wait_duration_in_half_open=st.sampled_from([0, 3]),
    automatic_transition=st.booleans(),
    ignore_exceptions=st.just((IgnoredError,)),
)


class BreakerAgainstModel(RuleBasedStateMachine):
    """Calls are in flight for as long as the machine likes, and end in any way."""

    calls = Bundle("calls")

    @initialize(config=configs)
    def make(self, config: CircuitBreakerConfig) -> None:
        self.clock = FakeClock()
        self.breaker = CircuitBreaker("payment", config, clock=self.clock)
        self.model = Model(config, now=self.clock.monotonic())
        self.model.newest_second = int(self.model.now)

    @rule(target=calls)
    def begin(self) -> Any:
        permit, stay = self.breaker.try_acquire(), self.model.acquire()
        assert (permit is None) == (stay is None)
        return (permit, stay)

    @rule(call=consumes(calls), failed=st.booleans(), slow=st.booleans())
    def finish(self, call: Any, failed: bool, slow: bool) -> None:
        permit, stay = call
        if permit is None:
            return
        elapsed = SLOW_AFTER + 0.5 if slow else SLOW_AFTER
        if failed:
            self.breaker.on_error(permit, elapsed, FailedError())
        else:
            self.breaker.on_success(permit, elapsed)
        self.model.record(stay, failed=failed, slow=slow)

    @rule(call=consumes(calls), how=st.sampled_from(["released", "cancelled"]))
    def cancel(self, call: Any, how: str) -> None:
        permit, stay = call
        if permit is None:
            return
        if how == "released":
            self.breaker.release(permit)
        else:
            self.breaker.on_error(permit, 0.1, asyncio.CancelledError())
        self.model.give_back(stay)

    @rule(call=consumes(calls))
    def ignore(self, call: Any) -> None:
        permit, stay = call
        if permit is not None:
            self.breaker.on_error(permit, 0.1, IgnoredError())
            self.model.ignore(stay)

    # One long sequence of the same outcome would take many steps; here it is one.
    @rule(outcomes=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=10))
    def call_in_a_row(self, outcomes: list[tuple[bool, bool]]) -> None:
        for failed, slow in outcomes:
            self.finish(self.begin(), failed, slow)
            self.agree()

    @rule(quarters=st.one_of(st.integers(0, 12), st.sampled_from([-40, -3, 400])))
    def pass_time(self, quarters: int) -> None:
        self.clock.tick(quarters / 4)
        self.model.pass_time(quarters / 4)

    @rule(state=st.sampled_from(list(State)))
    def move_by_hand(self, state: State) -> None:
        move = getattr(self.breaker, f"transition_to_{state}")
        if self.model.state == "closed" and state is State.HALF_OPEN:
            try:
                move()
            except IllegalTransitionError:
                return
            raise AssertionError("CLOSED -> HALF_OPEN was allowed")
        move()
        self.model.enter(str(state))

    @rule()
    def reset(self) -> None:
        self.breaker.reset()
        self.model.enter("closed")

    @invariant()
    def agree(self) -> None:
        now = self.breaker.snapshot()
        window = self.model.window()
        assert now.state == self.model.state
        assert (now.failure_rate, now.slow_call_rate) == self.model.rates()
        assert now.buffered_calls == len(window)
        assert now.failed_calls == sum(failed for _, failed, _ in window)
        assert now.slow_calls == sum(slow for _, _, slow in window)
        assert now.slow_failed_calls == sum(failed and slow for _, failed, slow in window)
        assert now.not_permitted_calls == self.model.refused
        totals = {"failed": now.failed.calls, "successful": now.successful.calls, "ignored": now.ignored.calls}
        assert totals == self.model.totals


TestBreakerAgainstModel = BreakerAgainstModel.TestCase
TestBreakerAgainstModel.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
