"""Test mode: no waiting, as many attempts as the test wants, and breakers that stay closed."""

import asyncio
from collections.abc import Iterator

import pytest

from shared.resilience import (
    CallNotPermitted,
    CircuitBreaker,
    CircuitBreakerConfig,
    Pipeline,
    RateLimiterConfig,
    RetryConfig,
    State,
)
from shared.resilience.testing import FakeClock, set_testing
from tests.unit.resilience.dependencies import Dependency, DownError, PushBackError


@pytest.fixture(autouse=True)
def _in_earnest_afterwards() -> Iterator[None]:
    yield
    set_testing(on=False)


def retrying(attempts: int = 5) -> Pipeline:
    """On the real clock: whoever waits in earnest here runs into the test's time limit."""
    return Pipeline("stock", retry=RetryConfig(max_attempts=attempts, wait_duration=600, max_wait=600), idempotent=True)


async def test_nothing_waits_and_there_is_one_attempt(clock: FakeClock) -> None:
    set_testing()
    dependency = Dependency(clock, DownError())
    with pytest.raises(DownError):
        await retrying().call(dependency)
    assert dependency.calls == 1


async def test_a_test_can_ask_for_more_attempts_which_still_do_not_wait(clock: FakeClock) -> None:
    with set_testing(attempts=3):
        dependency = Dependency(clock, PushBackError(10), PushBackError(10), 7)
        assert await retrying(2).call(dependency) == 7
    assert dependency.calls == 3


async def test_capped_attempts_only_become_fewer(clock: FakeClock) -> None:
    with set_testing(attempts=3, cap=True):
        for configured, made in ((2, 2), (5, 3)):
            dependency = Dependency(clock, DownError())
            with pytest.raises(DownError):
                await retrying(configured).call(dependency)
            assert dependency.calls == made


async def test_attempts_can_stay_as_configured(clock: FakeClock) -> None:
    with set_testing(attempts=None):
        dependency = Dependency(clock, DownError())
        with pytest.raises(DownError):
            await retrying(4).call(dependency)
    assert dependency.calls == 4


async def test_the_end_of_the_block_brings_back_what_was_before(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", retry=RetryConfig(max_attempts=2, wait_duration=1), idempotent=True, clock=clock)
    with set_testing(attempts=4):
        with set_testing(on=False):
            assert await attempts_of(clock, pipeline) == (2, True)
        assert await attempts_of(clock, pipeline) == (4, False)
    assert await attempts_of(clock, pipeline) == (2, True)


async def attempts_of(clock: FakeClock, pipeline: Pipeline) -> tuple[int, bool]:
    """How many there are, and whether time passes between them."""
    dependency, before = Dependency(clock, DownError()), clock.monotonic()
    await clock.run(asyncio.wait([asyncio.ensure_future(pipeline.call(dependency, fallback=give_in))]))
    return dependency.calls, clock.monotonic() > before


async def give_in(_: BaseException) -> None:
    return None


async def test_with_all_closed_no_breaker_opens_and_an_open_one_admits(clock: FakeClock) -> None:
    config = CircuitBreakerConfig(sliding_window_size=2, minimum_number_of_calls=2)
    opened = CircuitBreaker("stock", config, clock=clock)
    opened.transition_to_forced_open()
    with set_testing(all_closed=True):
        assert await opened.call(Dependency(clock, 7)) == 7
        breaker = CircuitBreaker("stock", config, clock=clock)
        for _ in range(5):
            with pytest.raises(DownError):
                await breaker.call(Dependency(clock, DownError()))
        assert (breaker.state, breaker.snapshot().failed.calls) == (State.CLOSED, 5)
    with pytest.raises(CallNotPermitted):
        await opened.call(Dependency(clock, 7))
    with pytest.raises(DownError):
        await breaker.call(Dependency(clock, DownError()))
    assert breaker.state is State.OPEN


async def test_the_rate_limiter_does_not_wait_either(clock: FakeClock) -> None:
    limited = RateLimiterConfig(limit_for_period=1, limit_refresh_period=60, timeout_duration=60)
    pipeline = Pipeline("stock", rate_limiter=limited)
    dependency = Dependency(clock, 7)
    with set_testing():
        assert [await pipeline.call(dependency) for _ in range(5)] == [7] * 5


def test_a_retry_without_an_attempt_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one attempt, not 0"):
        set_testing(attempts=0)
