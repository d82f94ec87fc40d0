"""The settings of every policy, typed and validated.

In code a duration is a number of seconds and an exception is a class:

    CircuitBreakerConfig(wait_duration_in_open_state=5, record_exceptions=(httpx.TransportError,))

In a file a duration carries its unit (`500ms`, `5s`, `1m`) and an exception is a dotted path. Defaults of the breaker
are Resilience4j's, except where a comment says otherwise.
"""

import re
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds in "500ms", "5s", "1.5s", "1m", "1h". ValueError: anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write 500ms, 5s, 1m or 1h")
    return float(match[1]) * _UNITS[match[2]]


def from_file(info: ValidationInfo) -> bool:
    """Whether the values being validated were read from a file."""
    return bool(info.context and info.context.get("file"))


def _duration(value: Any, info: ValidationInfo) -> float:
    if isinstance(value, str):
        return parse_duration(value)
    if from_file(info) or isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a duration; write 500ms, 5s, 1m or 1h")
    return float(value)


def resolve(path: str) -> Any:
    """The object at a dotted path, `package.module.name`. ValueError: there is none."""
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise ValueError(f"{path!r} is not a dotted path, as builtins.TimeoutError is")
    try:
        return getattr(import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path!r} is unknown: {error}") from error


def _exception(value: Any) -> type[Exception]:
    resolved = resolve(value) if isinstance(value, str) else value
    if not (isinstance(resolved, type) and issubclass(resolved, Exception)):
        raise ValueError(f"{value!r} is not an Exception class")  # noqa: TRY004 - pydantic reports only ValueError
    return resolved


def _predicate(value: Any) -> Callable[[Any], bool] | None:
    resolved = resolve(value) if isinstance(value, str) else value
    if resolved is not None and not callable(resolved):
        raise ValueError(f"{value!r} cannot be called")
    return resolved  # type: ignore[no-any-return]


def _finite_positive(value: float) -> float:
    if not 0 < value < float("inf"):
        raise ValueError("must be longer than nothing, and finite")
    return value


Duration = Annotated[float, BeforeValidator(_duration), Field(ge=0, allow_inf_nan=False)]
PositiveDuration = Annotated[float, BeforeValidator(_duration), AfterValidator(_finite_positive)]
ExceptionType = Annotated[type[Exception], BeforeValidator(_exception)]
Predicate = Annotated[Callable[[Any], bool] | None, BeforeValidator(_predicate)]
Percentage = Annotated[float, Field(gt=0, le=100)]
Count = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """Base: immutable, and a key that nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class CircuitBreakerConfig(Settings):
    """See docs/resilience.md. Rates are in per cent of the buffered calls."""

    sliding_window_type: Literal["count", "time"] = "count"
    # Calls, or seconds.
    sliding_window_size: Count = 100
    minimum_number_of_calls: Count = 100
    failure_rate_threshold: Percentage = 50
    slow_call_rate_threshold: Percentage = 100
    slow_call_duration_threshold: PositiveDuration = 60
    wait_duration_in_open_state: PositiveDuration = 60
    # The wait is multiplied at each reopening, up to the maximum.
    open_wait_multiplier: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1
    max_wait_duration_in_open_state: PositiveDuration = 600
    permitted_calls_in_half_open: Count = 10
    # Resilience4j waits for ever by default, so one lost trial call blocks the breaker. 0s brings that back.
    max_wait_duration_in_half_open: Duration = 60
    automatic_transition: bool = False
    # Empty: every exception is a failure. Otherwise any other exception is a success.
    record_exceptions: tuple[ExceptionType, ...] = ()
    ignore_exceptions: tuple[ExceptionType, ...] = ()
    # True for a returned value that is a failure; the caller receives it all the same.
    record_result: Predicate = None


class RetryConfig(Settings):
    """`max_attempts` counts the first call. Without jitter, the n-th wait is wait_duration * multiplier ** (n - 1)."""

    max_attempts: Count = 3
    wait_duration: Duration = 0.1
    multiplier: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 2
    max_wait: PositiveDuration = 10
    jitter: Literal["none", "full", "equal", "decorrelated"] = "full"
    # Empty: every exception but those of calls that were never attempted.
    retry_exceptions: tuple[ExceptionType, ...] = ()
    ignore_exceptions: tuple[ExceptionType, ...] = ()
    retry_on_result: Predicate = None
    # A server that asks for a longer pause than this gets no retry.
    max_retry_after: Duration = 10


class BudgetConfig(Settings):
    """How many retries and hedges one dependency is given.

    ratio, floor: at most max(floor, ratio * active calls) at a time (Envoy's retry budget)
    max_tokens, token_ratio: a failure takes a token, a success gives `token_ratio` back; none at or below half
        (gRPC proposal A6)
    """

    ratio: Annotated[float, Field(ge=0, le=1)] = 0.2
    floor: Annotated[int, Field(ge=0)] = 3
    max_tokens: Annotated[float, Field(gt=0, le=1000)] = 100
    token_ratio: Annotated[float, Field(gt=0, le=1000)] = 0.1


class TimeoutConfig(Settings):
    """`duration`: seconds that one attempt may take."""

    duration: PositiveDuration


class BulkheadConfig(Settings):
    """Concurrent calls, and how long and how many may wait for a slot."""

    max_concurrent_calls: Count = 25
    max_wait_duration: Duration = 0
    max_waiting: Annotated[int, Field(ge=0)] = 100


class HedgeConfig(Settings):
    """After each `delay` seconds without an answer, one more attempt, `max_hedges` at most."""

    delay: PositiveDuration
    max_hedges: Annotated[int, Field(ge=1, le=5)] = 1


class InstanceConfig(Settings):
    """One named pipeline: what it guards itself with, and what it shares with others."""

    base_config: str | None = None
    budget: str | None = None
    breaker: str | None = None
    deadline: PositiveDuration | None = None
    idempotent: bool = False
    retry: RetryConfig | None = None
    hedge: HedgeConfig | None = None
    circuit_breaker: CircuitBreakerConfig | None = None
    bulkhead: BulkheadConfig | None = None
    timeout: TimeoutConfig | None = None
