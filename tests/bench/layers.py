"""What `bench_resilience` measures of ours: each layer by itself, and all of them together."""

from collections.abc import Awaitable, Callable
from typing import Any

from shared.resilience import (
    AdaptiveBulkheadConfig,
    BulkheadConfig,
    CacheConfig,
    CircuitBreaker,
    CircuitBreakerConfig,
    HedgeConfig,
    Pipeline,
    RateLimiterConfig,
    RetryConfig,
)

Variant = Callable[[], Awaitable[object]]

UNLIMITED = RateLimiterConfig(limit_for_period=10**9)
# What the bar of 8 us is about: retry, breaker, bulkhead, timeout and deadline.
USUAL: dict[str, Any] = {
    "deadline": 2.0,
    "retry": RetryConfig(),
    "circuit_breaker": CircuitBreakerConfig(),
    "bulkhead": BulkheadConfig(),
    "timeout": 0.5,
}


async def dependency() -> int:
    """Answers at once: only the guards cost anything."""
    return 7


def guarded(**layers: Any) -> Variant:
    """A call behind those layers, and behind nothing that was not asked for."""
    made = Pipeline("bench", idempotent=True, **layers)
    if "deadline" not in layers:
        made.switch("deadline", False)
    made.switch("fallback", "fallbacks" in layers)
    return lambda: made.call(dependency)


def layers() -> dict[str, Variant]:
    """By name, in the pipeline's order."""
    cached = Pipeline("bench", cache=CacheConfig(max_age=60, serve_fresh=True))
    kept = Pipeline("bench", cache=CacheConfig())
    fallback = Pipeline("bench")
    for each in (cached, kept):
        each.switch("deadline", False)
        each.switch("fallback", False)
    fallback.switch("deadline", False)

    async def instead(_: BaseException) -> int:
        return 0

    return {
        "pipeline without layers": guarded(),
        "deadline": guarded(deadline=2.0, timeout=0.5),
        "fallback": lambda: fallback.call(dependency, fallback=instead),
        "cache, keeping the answer": lambda: kept.call(dependency, cache_key="a"),
        "cache, serving a fresh answer": lambda: cached.call(dependency, cache_key="a"),
        "retry and its budget": guarded(retry=RetryConfig()),
        "hedge": guarded(hedge=HedgeConfig(delay=0.05)),
        "circuit breaker": guarded(circuit_breaker=CircuitBreakerConfig()),
        "rate limiter": guarded(rate_limiter=UNLIMITED),
        "bulkhead, fixed": guarded(bulkhead=BulkheadConfig()),
        "bulkhead, adaptive": guarded(bulkhead=AdaptiveBulkheadConfig(type="adaptive")),
        "timeout": guarded(timeout=0.5),
    }


def breakers() -> dict[str, Variant]:
    """The breaker without a pipeline around it."""
    count = CircuitBreaker("bench", CircuitBreakerConfig())
    seconds = CircuitBreaker("bench", CircuitBreakerConfig(sliding_window_type="time"))
    return {
        "ours, count window": lambda: count.call(dependency),
        "ours, time window": lambda: seconds.call(dependency),
    }


def pipelines() -> dict[str, Variant]:
    """Several layers at once."""
    return {
        "ours: retry, breaker, bulkhead, timeout, deadline": guarded(**USUAL),
        "ours: everything": guarded(
            **USUAL | {"bulkhead": AdaptiveBulkheadConfig(type="adaptive")},
            hedge=HedgeConfig(delay=0.05),
            rate_limiter=UNLIMITED,
            cache=CacheConfig(),
        ),
    }
