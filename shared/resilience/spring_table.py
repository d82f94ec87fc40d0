"""The settings of Resilience4j's Spring modules, and what each is called here."""

from collections.abc import Callable
from typing import Any, TypeAlias

from shared.resilience import spring_values as values

# By Spring's name, ours and what turns a value into one of ours.
Settings: TypeAlias = dict[str, tuple[str, Callable[[Any], Any]]]

BREAKER: Settings = {
    "slidingWindowType": ("sliding_window_type", values.window_type),
    "slidingWindowSize": ("sliding_window_size", values.unchanged),
    "minimumNumberOfCalls": ("minimum_number_of_calls", values.unchanged),
    "failureRateThreshold": ("failure_rate_threshold", values.unchanged),
    "slowCallRateThreshold": ("slow_call_rate_threshold", values.unchanged),
    "slowCallDurationThreshold": ("slow_call_duration_threshold", values.duration),
    "waitDurationInOpenState": ("wait_duration_in_open_state", values.duration),
    "permittedNumberOfCallsInHalfOpenState": ("permitted_calls_in_half_open", values.unchanged),
    "maxWaitDurationInHalfOpenState": ("max_wait_duration_in_half_open", values.duration),
    "automaticTransitionFromOpenToHalfOpenEnabled": ("automatic_transition", values.unchanged),
}
RETRY: Settings = {"maxAttempts": ("max_attempts", values.unchanged)}
BULKHEAD: Settings = {
    "maxConcurrentCalls": ("max_concurrent_calls", values.unchanged),
    "maxWaitDuration": ("max_wait_duration", values.duration),
}
RATE_LIMITER: Settings = {
    "limitForPeriod": ("limit_for_period", values.unchanged),
    "limitRefreshPeriod": ("limit_refresh_period", values.duration),
    "timeoutDuration": ("timeout_duration", values.duration),
}
TIMEOUT: Settings = {"timeoutDuration": ("duration", values.duration)}

# Without a meaning here, and harmless.
NO_EFFECT = {
    "registerHealthIndicator": "breakers are always part of the readiness answer",
    "allowHealthIndicatorToFail": "an open breaker never makes a service unready",
    "eventConsumerBufferSize": "the last hundred events of every pipeline are kept",
    "writableStackTraceEnabled": "a refusal is cheap with its traceback",
    "cancelRunningFuture": "an attempt whose time is over is always cancelled",
    "failAfterMaxAttempts": "the last error is raised, or the last result returned",
}
EXPONENTIAL = ("enableExponentialBackoff", "exponentialBackoffMultiplier")
RANDOMIZED = ("enableRandomizedWait", "randomizedWaitFactor")
RETRY_WAITS = {"waitDuration", "exponentialMaxWaitDuration", *EXPONENTIAL, *RANDOMIZED}
# Resilience4j's default of both.
WINDOW = 100
