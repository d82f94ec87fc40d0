"""The breaker's arithmetic: what follows from its settings and its window alone."""

from collections.abc import Callable

from shared.resilience.circuit_breaker.windows import CountWindow, TimeWindow
from shared.resilience.errors import DeadlineExceeded, ResilienceError
from shared.resilience.events import RateExceeded
from shared.resilience.settings import CircuitBreakerConfig


def fresh_window(config: CircuitBreakerConfig, now: Callable[[], float]) -> CountWindow | TimeWindow:
    """The empty window of every state but HALF_OPEN, which counts its trials."""
    size = config.sliding_window_size
    return CountWindow(size) if config.sliding_window_type == "count" else TimeWindow(size, now)


def window_shape(config: CircuitBreakerConfig) -> tuple[str, int]:
    """What two settings must have in common for one's window to serve the other."""
    return config.sliding_window_type, config.sliding_window_size


def minimum_of_window(config: CircuitBreakerConfig) -> int:
    """How many calls the window must hold before a rate means anything."""
    # More calls than a count window holds would never be seen; a time window has no such bound.
    if config.sliding_window_type == "count":
        return min(config.minimum_number_of_calls, config.sliding_window_size)
    return config.minimum_number_of_calls


def exceeded(
    name: str, at: float, config: CircuitBreakerConfig, window: CountWindow | TimeWindow
) -> list[RateExceeded]:
    """The rates that are at or over their thresholds, of the calls in the window."""
    rates = (
        ("failure", window.failed, config.failure_rate_threshold),
        ("slow", window.slow, config.slow_call_rate_threshold),
    )
    # Multiplied out, so that 3 of 6 is exactly 50 %.
    return [
        RateExceeded(name, at, kind, count * 100 / window.calls, threshold)
        for kind, count, threshold in rates
        if count * 100 >= threshold * window.calls
    ]


def open_wait(config: CircuitBreakerConfig, reopenings: int) -> float:
    """Seconds to stay open after having been reopened so many times since the breaker was closed."""
    longest = longest_open_wait(config)
    try:
        return min(longest, config.wait_duration_in_open_state * config.open_wait_multiplier**reopenings)
    except OverflowError:
        return longest


def longest_open_wait(config: CircuitBreakerConfig) -> float:
    """Seconds that a breaker stays open at most, however often it has been reopened."""
    return max(config.max_wait_duration_in_open_state, config.wait_duration_in_open_state)


def ignores(config: CircuitBreakerConfig, error: Exception) -> bool:
    """Whether `error` says nothing about the dependency."""
    # A call that an inner layer refused never reached the dependency.
    if isinstance(error, ResilienceError) and not error.attempted:
        return True
    # Or any caller could open the breaker for all the others, by deadlines that nobody can keep.
    if isinstance(error, DeadlineExceeded) and error.impatient:
        return True
    return isinstance(error, config.ignore_exceptions)


def records(config: CircuitBreakerConfig, error: Exception) -> bool:
    """Whether `error`, which is not ignored, is a failure; else it is a success."""
    return not config.record_exceptions or isinstance(error, config.record_exceptions)
