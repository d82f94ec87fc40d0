"""The retry budget: a share of the active calls, and a bucket of tokens."""

import asyncio

import pytest

from shared.resilience import BudgetConfig, HedgeConfig, Pipeline, RetryBudget, RetryConfig
from shared.resilience.testing import FakeClock
from tests.unit.resilience.dependencies import Dependency, DownError, Slow


async def test_at_most_a_fifth_of_the_active_calls_are_retries(clock: FakeClock) -> None:
    budget = RetryBudget("stock", BudgetConfig(max_tokens=1000))
    pipeline = Pipeline("stock", retry=RetryConfig(max_attempts=2, wait_duration=5), budget=budget, clock=clock)
    steady = [asyncio.create_task(pipeline.call(clock.sleep, 1000, idempotent=True)) for _ in range(75)]
    late = Dependency(clock, Slow(1, DownError()))
    failing = [asyncio.create_task(pipeline.call(late, idempotent=True)) for _ in range(25)]
    await clock.advance(1)
    # 100 calls are active, so 20 may be retries; the other failures are raised.
    assert budget.snapshot().granted == 20
    assert budget.snapshot().refused == 5
    for task in steady + failing:
        task.cancel()
    await asyncio.gather(*steady, *failing, return_exceptions=True)
    assert (budget.snapshot().active_calls, budget.snapshot().active_retries) == (0, 0)


def test_the_floor_allows_three_whatever_the_load() -> None:
    budget = RetryBudget("stock")
    assert [budget.try_acquire() for _ in range(5)] == [True, True, True, False, False]
    budget.release()
    assert budget.try_acquire()
    assert not budget.try_acquire()


def test_at_half_of_the_tokens_nothing_is_repeated_until_successes_refill_it() -> None:
    budget = RetryBudget("stock", BudgetConfig(max_tokens=10, token_ratio=0.5))
    for _ in range(4):
        budget.on_failure()
    assert budget.try_acquire()
    budget.release()
    budget.on_failure()
    assert budget.snapshot().tokens == 5
    assert not budget.try_acquire()
    budget.on_success()
    assert budget.try_acquire()


def test_the_tokens_stay_between_nothing_and_the_whole_bucket() -> None:
    budget = RetryBudget("stock", BudgetConfig(max_tokens=2))
    budget.on_success()
    assert budget.snapshot().tokens == 2
    for _ in range(10):
        budget.on_failure()
    assert budget.snapshot().tokens == 0


def test_more_releases_than_grants_do_not_enlarge_the_budget() -> None:
    budget = RetryBudget("stock")
    for _ in range(10):
        budget.release()
    assert [budget.try_acquire() for _ in range(4)] == [True, True, True, False]


async def test_retries_of_two_pipelines_and_hedges_draw_on_one_budget(clock: FakeClock) -> None:
    budget = RetryBudget("stock", BudgetConfig(floor=2, ratio=0))
    retried = Pipeline("a", retry=RetryConfig(wait_duration=50, jitter="none", max_wait=60), budget=budget, clock=clock)
    hedged = Pipeline("b", hedge=HedgeConfig(delay=1), budget=budget, clock=clock)
    tasks = [
        asyncio.create_task(retried.call(Dependency(clock, DownError()), idempotent=True)),
        asyncio.create_task(hedged.call(Dependency(clock, Slow(30)), idempotent=True)),
        asyncio.create_task(hedged.call(Dependency(clock, Slow(30)), idempotent=True)),
    ]
    await clock.advance(2)
    now = budget.snapshot()
    assert (now.active_calls, now.active_retries, now.granted, now.refused) == (3, 2, 2, 1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (budget.snapshot().active_calls, budget.snapshot().active_retries) == (0, 0)


@pytest.mark.parametrize("hedged", [False, True])
async def test_each_attempt_moves_the_tokens_once(clock: FakeClock, hedged: bool) -> None:
    budget = RetryBudget("stock", BudgetConfig(max_tokens=100, token_ratio=0.1))
    for _ in range(10):
        budget.on_failure()
    pipeline = Pipeline(
        "stock",
        retry=RetryConfig(max_attempts=3),
        hedge=HedgeConfig(delay=60) if hedged else None,
        budget=budget,
        clock=clock,
    )
    await clock.run(pipeline.call(Dependency(clock, DownError(), DownError(), 1), idempotent=True))
    assert budget.snapshot().tokens == pytest.approx(90 - 2 + 0.1)
    with pytest.raises(DownError):
        await clock.run(pipeline.call(Dependency(clock, DownError()), idempotent=True))
    assert budget.snapshot().tokens == pytest.approx(88.1 - 3)


async def test_without_a_retry_the_outcome_of_a_hedged_call_moves_the_tokens(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", hedge=HedgeConfig(delay=60), clock=clock)
    with pytest.raises(DownError):
        await clock.run(pipeline.call(Dependency(clock, DownError()), idempotent=True))
    assert pipeline.budget.snapshot().tokens == 99
    await clock.run(pipeline.call(Dependency(clock, 1), idempotent=True))
    assert pipeline.budget.snapshot().tokens == pytest.approx(99.1)


def test_a_budget_that_is_not_enforced_grants_everything_and_counts_it() -> None:
    budget = RetryBudget("stock", BudgetConfig(floor=0, ratio=0))
    assert not budget.try_acquire()
    budget.enforced = False
    assert [budget.try_acquire() for _ in range(5)] == [True] * 5
    assert (budget.snapshot().granted, budget.snapshot().refused, budget.snapshot().enforced) == (5, 1, False)
    budget.enforced = True
    assert not budget.try_acquire()
