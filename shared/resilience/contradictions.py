"""Settings that are each fine and cannot all be meant."""

import math
from typing import TypeAlias

from shared.resilience.settings import InstanceConfig, RetryConfig

# The way to a setting, and what is wrong there.
Location: TypeAlias = tuple[str | int, ...]
Contradiction: TypeAlias = tuple[Location, str]

_AS_GOOD_AS_ENDLESS = 10**15
"""Attempts: more of them would not be exact as a float, and more yet would be none."""


def contradictions(instance: InstanceConfig) -> list[Contradiction]:
    """Settings that are each fine and cannot all be meant: where, and why."""
    return [
        *_breaker_contradictions(instance),
        *_deadline_contradictions(instance),
        *_retry_contradictions(instance),
        *_hedge_contradictions(instance),
        *_cache_contradictions(instance),
    ]


def _breaker_contradictions(instance: InstanceConfig) -> list[Contradiction]:
    breaker = instance.circuit_breaker
    if breaker is None:
        return [(("breaker",), "names a breaker, but there is no circuit_breaker")] if instance.breaker else []
    found: list[Contradiction] = []
    minimum, size = breaker.minimum_number_of_calls, breaker.sliding_window_size
    if breaker.sliding_window_type == "count" and minimum > size:
        # At run time it would be taken for the window's size; whoever wrote it expected something else.
        reason = f"minimum_number_of_calls {minimum} is more than the {size} calls that the window holds"
        # The defaults of both are 100, so a small window alone is a plain wish for a small minimum.
        where = (
            "minimum_number_of_calls"
            if "minimum_number_of_calls" in breaker.model_fields_set
            else "sliding_window_size"
        )
        found.append((("circuit_breaker", where), reason))
    return found


def _deadline_contradictions(instance: InstanceConfig) -> list[Contradiction]:
    deadline = instance.deadline
    if deadline is None:
        return []
    found: list[Contradiction] = []
    attempt = instance.timeout.duration if instance.timeout else 0.0
    if attempt > deadline:
        found.append(
            (("timeout", "duration"), f"an attempt of {attempt:g} s is longer than the deadline of {deadline:g} s")
        )
    waits: tuple[tuple[Location, float], ...] = (
        (("bulkhead", "max_wait_duration"), instance.bulkhead.max_wait_duration if instance.bulkhead else 0.0),
        (
            ("rate_limiter", "timeout_duration"),
            instance.rate_limiter.timeout_duration if instance.rate_limiter else 0.0,
        ),
    )
    found += [
        (location, f"waiting {wait:g} s leaves nothing of the deadline of {deadline:g} s")
        for location, wait in waits
        if wait >= deadline
    ]
    return found


def _retry_contradictions(instance: InstanceConfig) -> list[Contradiction]:
    deadline, retry = instance.deadline, instance.retry
    if deadline is None or retry is None or retry.max_attempts == 1:
        return []
    attempt = instance.timeout.duration if instance.timeout else 0.0
    if attempt + _first_wait(retry) >= deadline:
        reason = f"an attempt of {attempt:g} s and the first wait use up the deadline of {deadline:g} s"
        return [(("retry",), f"no retry fits: {reason}")]
    waits = _all_waits(retry)
    if waits >= deadline:
        reason = f"the waits alone take {waits:g} s of the deadline of {deadline:g} s"
        return [(("retry", "max_attempts"), f"the last of {retry.max_attempts} attempts never fits: {reason}")]
    return []


def _hedge_contradictions(instance: InstanceConfig) -> list[Contradiction]:
    hedge, timeout = instance.hedge, instance.timeout
    if hedge is None or timeout is None or hedge.delay < timeout.duration:
        return []
    reason = f"a hedge after {hedge.delay:g} s never starts: the attempt ends after {timeout.duration:g} s"
    return [(("hedge", "delay"), reason)]


def _cache_contradictions(instance: InstanceConfig) -> list[Contradiction]:
    cache, deadline = instance.cache, instance.deadline
    if cache is None:
        return []
    found: list[Contradiction] = []
    kept = cache.max_age + cache.stale_if_error
    if cache.stale_if_error and deadline is not None and kept <= deadline:
        # It is asked at the end of the call, up to a deadline later.
        reason = f"an answer kept for {kept:g} s is gone before a call of up to {deadline:g} s has failed"
        found.append((("cache", "stale_if_error"), reason))
    return found


def _first_wait(retry: RetryConfig) -> float:
    """Without jitter, in seconds."""
    return min(retry.max_wait, retry.wait_duration)


def _all_waits(retry: RetryConfig) -> float:
    """The waits of all attempts without jitter, in seconds. In closed form: a file may ask for any number of them."""
    first, number = _first_wait(retry), float(min(retry.max_attempts - 1, _AS_GOOD_AS_ENDLESS))
    growth = math.log(retry.multiplier)
    if first == 0 or growth == 0:
        return first * number
    growing = min(number, math.ceil((math.log(retry.max_wait) - math.log(first)) / growth))
    # summed from its largest wait downwards, which is no more than `max_wait`: from the first one it might overflow
    largest = math.exp(math.log(first) + (growing - 1) * growth)
    return largest * math.expm1(-growing * growth) / math.expm1(-growth) + (number - growing) * retry.max_wait
