"""Driving a breaker by hand: one letter an outcome, so that a test reads as the sequence that it is about.

F failure, S success, s slow success, f slow failure.
"""

from typing import Any

from shared.resilience import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerSnapshot, State
from shared.resilience.testing import FakeClock

SLOW_AFTER = 1.0


class DownError(Exception):
    """The dependency failed."""


class SubDownError(DownError):
    """A special kind of failure."""


class BusinessError(Exception):
    """The dependency answered, and the answer is no."""


def make(clock: FakeClock, **settings: Any) -> CircuitBreaker:
    """A breaker with a window of 10, a minimum of 5 and short waits, unless told otherwise."""
    values: dict[str, Any] = {
        "sliding_window_size": 10,
        "minimum_number_of_calls": 5,
        "slow_call_duration_threshold": SLOW_AFTER,
        "wait_duration_in_open_state": 5,
        "permitted_calls_in_half_open": 3,
    }
    return CircuitBreaker("payment", CircuitBreakerConfig(**(values | settings)), clock=clock)


def play(breaker: CircuitBreaker, outcomes: str) -> CircuitBreakerSnapshot:
    """Make one call after the other. AssertionError: one was refused."""
    for outcome in outcomes:
        permit = breaker.try_acquire()
        assert permit is not None, f"refused while {breaker.state}"
        elapsed = SLOW_AFTER * 2 if outcome in "sf" else 0.01
        if outcome in "Ff":
            breaker.on_error(permit, elapsed, DownError())
        else:
            breaker.on_success(permit, elapsed)
    return breaker.snapshot()


def opened(clock: FakeClock, **settings: Any) -> CircuitBreaker:
    breaker = make(clock, **settings)
    play(breaker, "F" * breaker.config.minimum_number_of_calls)
    assert breaker.state is State.OPEN
    return breaker


def half_open(clock: FakeClock, **settings: Any) -> CircuitBreaker:
    """A breaker in HALF_OPEN with no permit taken."""
    breaker = opened(clock, **settings)
    breaker.transition_to_half_open()
    return breaker
