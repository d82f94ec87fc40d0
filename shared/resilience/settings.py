"""The settings of every policy, typed and validated.

In code a duration is a number of seconds and an exception is a class:

    CircuitBreakerConfig(wait_duration_in_open_state=5, record_exceptions=(httpx.TransportError,))

In a file a duration carries its unit (`500ms`, `5s`, `1m`) and an exception is a dotted path. Defaults of the breaker
are Resilience4j's, except where a comment says otherwise.
"""

import re
from collections.abc import Callable, Hashable
from importlib import import_module
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    model_validator,
)

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
    sliding_window_size: Count = Field(100, le=1_000_000)  # it is kept in memory
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


class RateLimiterConfig(Settings):
    """Calls that may begin in each period, and how long and how many may wait for their turn.

    Resilience4j's period of 500 ns limits nothing that Python could do, and its wait of 5 s is longer than callers
    wait: here a wait has to be asked for.
    """

    limit_for_period: Count = 50
    # Shorter ones cannot be told apart on an event loop.
    limit_refresh_period: Annotated[PositiveDuration, Field(ge=0.001)] = 1
    timeout_duration: Duration = 0
    max_waiting: Annotated[int, Field(ge=0)] = 100


class BulkheadConfig(Settings):
    """Concurrent calls, and how long and how many may wait for a slot."""

    type: Literal["fixed"] = "fixed"
    max_concurrent_calls: Count = 25
    max_wait_duration: Duration = 0
    max_waiting: Annotated[int, Field(ge=0)] = 100


class AdaptiveBulkheadConfig(Settings):
    """A bulkhead that finds out by itself how many calls the dependency takes, between two limits.

    After Netflix's Gradient2, whose defaults these are, except that a quiet dependency may be limited to fewer than 20.
    """

    type: Literal["adaptive"]
    min_limit: Count = 5
    initial_limit: Count = 20
    max_limit: Count = 200
    # Latency may rise to so many times the usual before the limit falls.
    tolerance: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.5
    # Of each new estimate, how much is taken over at once.
    smoothing: Annotated[float, Field(gt=0, le=1)] = 0.2
    # Calls that may queue at the dependency: what the limit grows by while all is well.
    queue_size: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4
    # The limit is judged once in a window: at least so long, with at least so many answers.
    window: PositiveDuration = 1
    window_calls: Count = 10
    # The usual latency is the average of about so many windows.
    long_window: Count = 600
    # Errors that mean: too much. Others say nothing about the load.
    drop_exceptions: tuple[ExceptionType, ...] = (TimeoutError,)
    max_wait_duration: Duration = 0
    max_waiting: Annotated[int, Field(ge=0)] = 100

    @property
    def max_concurrent_calls(self) -> int:
        """Where the limit begins."""
        return self.initial_limit

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.min_limit <= self.initial_limit <= self.max_limit:
            limits = f"{self.min_limit}, {self.initial_limit}, {self.max_limit}"
            raise ValueError(f"min_limit, initial_limit and max_limit are not in order: {limits}")
        return self


class CacheConfig(Settings):
    """How long an answer is fresh, and how much longer it may stand in for a failed call (RFC 5861)."""

    max_age: Duration = 0
    stale_if_error: Duration = 60
    max_entries: Count = 1000
    # Answer from the cache without a call while the answer is fresh.
    serve_fresh: bool = False
    # Calls with equal keys that run at the same time become one.
    single_flight: bool = False
    # Empty: every exception.
    stale_exceptions: tuple[ExceptionType, ...] = ()
    ignore_exceptions: tuple[ExceptionType, ...] = ()
    # True for a returned value that is a failure: it is not kept, and a kept one answers in its place.
    stale_on_result: Predicate = None
    # Makes the key from the call's arguments, for calls that bring none; None as a key: not cached.
    key: Annotated[Callable[..., Hashable] | None, BeforeValidator(_predicate)] = None

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        if self.serve_fresh and self.max_age == 0:
            raise ValueError("serve_fresh without a max_age never serves anything")
        if self.max_age == 0 and self.stale_if_error == 0 and not self.single_flight:
            raise ValueError("neither max_age nor stale_if_error is set: nothing would ever be answered")
        return self


class HedgeConfig(Settings):
    """After each `delay` seconds without an answer, one more attempt, `max_hedges` at most."""

    delay: PositiveDuration
    max_hedges: Annotated[int, Field(ge=1, le=5)] = 1


def _bulkhead_type(value: Any) -> str:
    """Which of the two is meant: what names no type is the plain one."""
    if isinstance(value, dict):
        return str(value.get("type", "fixed"))
    return str(getattr(value, "type", "fixed"))


AnyBulkheadConfig = Annotated[
    Annotated[BulkheadConfig, Tag("fixed")] | Annotated[AdaptiveBulkheadConfig, Tag("adaptive")],
    Discriminator(
        _bulkhead_type,
        custom_error_type="bulkhead_type",
        custom_error_message="type must be fixed or adaptive",
    ),
]


class InstanceConfig(Settings):
    """One named pipeline: what it guards itself with, and what it shares with others."""

    base_config: str | None = None
    budget: str | None = None
    breaker: str | None = None
    deadline: PositiveDuration | None = None
    idempotent: bool = False
    cache: CacheConfig | None = None
    retry: RetryConfig | None = None
    hedge: HedgeConfig | None = None
    circuit_breaker: CircuitBreakerConfig | None = None
    rate_limiter: RateLimiterConfig | None = None
    bulkhead: AnyBulkheadConfig | None = None
    timeout: TimeoutConfig | None = None
