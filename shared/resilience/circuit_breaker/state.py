"""The states of a breaker, and a picture of one at a moment."""

import logging
from dataclasses import dataclass
from enum import StrEnum

logger = logging.getLogger("holdfast.resilience")


class State(StrEnum):
    """As named in the metric `resilience4j_circuitbreaker_state`."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


# These admit every call without counting it against a limit.
ADMITTING = frozenset({State.CLOSED, State.DISABLED, State.METRICS_ONLY})


class IllegalTransitionError(ValueError):
    """Half-open means trying again after having been open; a closed breaker has nothing to try."""

    def __init__(self, name: str, before: State, after: State) -> None:
        super().__init__(f"circuit breaker {name!r} cannot go from {before} to {after}")


@dataclass(frozen=True, slots=True)
class Total:
    """Calls of one kind since the breaker was made, and the seconds that they took together."""

    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CircuitBreakerSnapshot:
    """A breaker at one moment.

    Rates are in per cent of the buffered calls, -1 below the minimum. `retry_after` is in seconds, 0 when calls are
    admitted. The totals never shrink; what the window holds does.
    """

    name: str
    state: State
    failure_rate: float
    slow_call_rate: float
    buffered_calls: int
    failed_calls: int
    slow_calls: int
    slow_failed_calls: int
    not_permitted_calls: int
    successful: Total
    failed: Total
    ignored: Total
    retry_after: float

    @property
    def successful_calls(self) -> int:
        """Buffered calls that did not fail."""
        return self.buffered_calls - self.failed_calls

    @property
    def slow_successful_calls(self) -> int:
        """Buffered calls that were slow and did not fail."""
        return self.slow_calls - self.slow_failed_calls


def log_transition(name: str, before: State, after: State, retry_after: float) -> None:
    """The one log line of a transition; `retry_after` in seconds."""
    logger.log(
        logging.WARNING if after in (State.OPEN, State.FORCED_OPEN) else logging.INFO,
        "circuit breaker %s: %s -> %s",
        name,
        before,
        after,
        extra={
            "event": "circuit_breaker_transition",
            "breaker": name,
            "from_state": str(before),
            "to_state": str(after),
            "retry_after_s": 0.0 if after in ADMITTING else round(retry_after, 3),
        },
    )
