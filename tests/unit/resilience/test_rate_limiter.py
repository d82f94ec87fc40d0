"""The rate limiter: periods, the line, and a wait that is known before it begins."""

import asyncio
import contextlib
from typing import Any

import pytest

from shared.resilience import (
    CircuitBreakerConfig,
    Pipeline,
    RateLimiter,
    RateLimiterConfig,
    RateLimitExceeded,
    RetryConfig,
    deadline,
)
from shared.resilience.events import RateLimitRefused
from shared.resilience.testing import FakeClock
from tests.unit.resilience.dependencies import Dependency, DownError, Slow


def make(clock: FakeClock, **settings: Any) -> RateLimiter:
    values = {"limit_for_period": 2, "limit_refresh_period": 1, "timeout_duration": 5, "max_waiting": 10}
    return RateLimiter("stock", RateLimiterConfig(**(values | settings)), clock=clock)


async def line_up(clock: FakeClock, limiter: RateLimiter, callers: int) -> tuple[list[asyncio.Task], list[tuple]]:
    """So many callers, who write down who came through and when."""
    through: list[tuple] = []

    async def come(number: int) -> None:
        await limiter.acquire()
        through.append((number, clock.monotonic() - 1000))

    tasks = [asyncio.create_task(come(number)) for number in range(callers)]
    await clock.settle()
    return tasks, through


async def test_a_period_admits_its_limit_and_the_next_ones_the_rest_in_order(clock: FakeClock) -> None:
    _, through = await line_up(clock, make(clock), 5)
    await clock.advance(10)
    assert through == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]


async def test_periods_follow_each_other_from_the_beginning_and_not_from_the_first_call(clock: FakeClock) -> None:
    limiter = make(clock)
    clock.tick(0.75)
    _, through = await line_up(clock, limiter, 3)
    await clock.advance(10)
    assert through == [(0, 0.75), (1, 0.75), (2, 1)]


async def test_what_a_period_leaves_over_is_lost(clock: FakeClock) -> None:
    limiter = make(clock)
    clock.tick(100.5)
    assert limiter.snapshot().available == 2
    _, through = await line_up(clock, limiter, 3)
    assert [number for number, _ in through] == [0, 1]
    await clock.advance(10)


async def test_a_wait_that_is_too_long_is_refused_at_once(clock: FakeClock) -> None:
    limiter = make(clock, timeout_duration=1.5)
    clock.tick(0.25)
    tasks, _ = await line_up(clock, limiter, 5)
    error = tasks[4].exception()
    assert isinstance(error, RateLimitExceeded)
    assert (error.retry_after, error.reason, error.attempted) == (1.75, "wait", False)
    assert clock.monotonic() == 1000.25
    await clock.advance(10)
    [event] = limiter.events.recent
    assert isinstance(event, RateLimitRefused)
    assert (event.wait, limiter.snapshot().refused) == (1.75, 1)


async def test_a_wait_that_just_fits_is_waited_for(clock: FakeClock) -> None:
    _, through = await line_up(clock, make(clock, timeout_duration=1), 3)
    await clock.advance(1)
    assert through[-1] == (2, 1)


async def test_without_a_wait_a_call_that_comes_too_early_is_refused(clock: FakeClock) -> None:
    limiter = make(clock, timeout_duration=0)
    tasks, through = await line_up(clock, limiter, 3)
    assert isinstance(tasks[2].exception(), RateLimitExceeded)
    assert len(through) == 2


async def test_a_wait_that_the_caller_has_no_time_for_is_refused_at_once(clock: FakeClock) -> None:
    pipeline = Pipeline(
        "stock", rate_limiter=RateLimiterConfig(limit_for_period=1, timeout_duration=5), deadline=10, clock=clock
    )
    dependency = Dependency(clock, 7)
    await pipeline.call(dependency)
    with deadline(1, clock=clock), pytest.raises(RateLimitExceeded) as refused:
        await pipeline.call(dependency)
    assert (refused.value.reason, refused.value.retry_after) == ("deadline", 1)
    with deadline(1.1, clock=clock):
        assert await clock.run(pipeline.call(dependency)) == 7


async def test_a_full_line_refuses_at_once(clock: FakeClock) -> None:
    limiter = make(clock, max_waiting=1)
    tasks, _ = await line_up(clock, limiter, 4)
    assert tasks[3].exception().reason == "queue_full"
    await clock.advance(1)


async def test_who_is_cancelled_leaves_the_line_and_the_others_move_up(clock: FakeClock) -> None:
    limiter = make(clock, limit_for_period=1)
    tasks, through = await line_up(clock, limiter, 4)
    tasks[2].cancel()
    await clock.settle()
    assert limiter.snapshot().waiting == 2
    await clock.advance(10)
    assert through == [(0, 0), (1, 1), (3, 2)]


async def test_a_permission_that_arrives_together_with_the_cancellation_goes_to_the_next(clock: FakeClock) -> None:
    limiter = make(clock, limit_for_period=1)
    tasks, through = await line_up(clock, limiter, 3)
    clock.tick(1)
    # The timer is going to ring at the next turn of the loop; the first in line is cancelled right after it.
    asyncio.get_running_loop().call_soon(tasks[1].cancel)
    await clock.settle()
    assert tasks[1].cancelled()
    assert through == [(0, 0), (2, 1)]
    assert limiter.snapshot() == type(limiter.snapshot())("stock", 0, 0, 0)


async def test_a_permission_of_a_period_that_is_over_is_not_handed_on(clock: FakeClock) -> None:
    limiter = make(clock, limit_for_period=1)
    tasks, through = await line_up(clock, limiter, 2)

    def cancel_one_period_later() -> None:
        clock.tick(1)
        # Somebody takes the permission of the new period before the cancelled one comes to itself.
        with contextlib.suppress(StopIteration):
            limiter.acquire().send(None)
        tasks[1].cancel()

    clock.tick(1)
    asyncio.get_running_loop().call_soon(cancel_one_period_later)
    await clock.settle()
    assert through == [(0, 0)]
    assert tasks[1].cancelled()
    assert limiter.snapshot().available == 0


async def test_a_newcomer_does_not_overtake_when_the_timer_is_late(clock: FakeClock) -> None:
    limiter = make(clock, limit_for_period=1)
    _, through = await line_up(clock, limiter, 2)
    clock.tick(1)
    late = asyncio.create_task(limiter.acquire())
    await clock.settle()
    assert through == [(0, 0), (1, 1)]
    assert not late.done()
    await clock.advance(1)
    await late


async def test_nothing_is_scheduled_when_nobody_waits(clock: FakeClock) -> None:
    limiter = make(clock)
    tasks, _ = await line_up(clock, limiter, 4)
    assert clock.pending == 1
    for task in tasks[2:]:
        task.cancel()
    await clock.settle()
    assert (clock.pending, limiter.snapshot().waiting) == (0, 0)


async def test_a_timer_that_rings_early_asks_again(clock: FakeClock) -> None:
    limiter = make(clock, limit_for_period=1)
    _, through = await line_up(clock, limiter, 2)
    clock.tick(0.9)
    limiter._timer.cancel()
    limiter._ring()
    await clock.settle()
    assert len(through) == 1
    await clock.advance(0.1)
    assert through == [(0, 0), (1, 1)]


async def test_the_limiter_stands_inside_the_breaker_and_before_the_bulkhead(clock: FakeClock) -> None:
    pipeline = Pipeline(
        "stock",
        retry=RetryConfig(max_attempts=3, wait_duration=0.1),
        circuit_breaker=CircuitBreakerConfig(sliding_window_size=10, minimum_number_of_calls=10),
        rate_limiter=RateLimiterConfig(limit_for_period=2, limit_refresh_period=60),
        idempotent=True,
        clock=clock,
    )
    dependency = Dependency(clock, DownError())
    # Each attempt takes a permission; being refused is no failure of the dependency, and is not repeated.
    with pytest.raises(RateLimitExceeded) as refused:
        await clock.run(pipeline.call(dependency))
    assert isinstance(refused.value.__cause__, DownError)
    assert dependency.calls == 2
    assert pipeline.circuit_breaker.snapshot().failed.calls == 2
    assert pipeline.circuit_breaker.snapshot().ignored.calls == 1


async def test_it_limits_beginnings_and_not_what_runs(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", rate_limiter=RateLimiterConfig(limit_for_period=2), clock=clock)
    dependency = Dependency(clock, Slow(10))
    tasks = []
    for _ in range(3):
        tasks += [asyncio.create_task(pipeline.call(dependency)) for _ in range(2)]
        await clock.advance(1)
    assert dependency.running == 6
    await clock.advance(20)
    await asyncio.gather(*tasks)


async def test_other_settings_count_what_this_period_has_given_already(clock: FakeClock) -> None:
    limiter = make(clock)
    _, through = await line_up(clock, limiter, 3)
    limiter.reconfigure(RateLimiterConfig(limit_for_period=4, limit_refresh_period=3, timeout_duration=5))
    await clock.settle()
    assert [number for number, _ in through] == [0, 1, 2]
    assert limiter.snapshot().available == 1
    limiter.reconfigure(RateLimiterConfig(limit_for_period=1, limit_refresh_period=3, timeout_duration=5))
    assert limiter.snapshot().available == 0
    # This period still ends after one second, the next one after three more.
    _, through = await line_up(clock, limiter, 2)
    await clock.advance(10)
    assert through == [(0, 1), (1, 4)]
