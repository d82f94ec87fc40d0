"""Hedging: a second attempt beside a late first one."""

import asyncio
from contextvars import ContextVar

import pytest

from shared.resilience import (
    BudgetConfig,
    BulkheadConfig,
    CircuitBreakerConfig,
    HedgeConfig,
    Pipeline,
    RetryBudget,
    current_attempt,
)
from shared.resilience.events import HedgeRefused, HedgeWon
from shared.resilience.testing import FakeClock
from tests.unit.resilience.dependencies import Dependency, DownError, Slow, kinds


def make(clock: FakeClock, *, delay: float = 0.05, max_hedges: int = 1, **settings) -> Pipeline:
    return Pipeline("stock", hedge=HedgeConfig(delay=delay, max_hedges=max_hedges), clock=clock, **settings)


async def test_an_answer_within_the_delay_starts_no_hedge(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, Slow(0.04))
    assert await clock.run(pipeline.call(dependency, idempotent=True)) == "late"
    await clock.advance(1)
    assert (dependency.calls, pipeline.hedge.snapshot().started) == (1, 0)


async def test_the_hedge_answers_when_the_first_attempt_is_late(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, Slow(10, "first"), Slow(0.01, "hedge"))
    start = clock.monotonic()
    assert await clock.run(pipeline.call(dependency, idempotent=True)) == "hedge"
    assert clock.monotonic() - start == pytest.approx(0.06)
    assert kinds(pipeline.recent_events()) == ["HedgeStarted", "HedgeWon"]
    assert dependency.running == 0


async def test_the_first_attempt_wins_when_it_answers_first_and_the_hedge_is_cancelled(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, Slow(0.06, "first"), Slow(10, "hedge"))
    assert await clock.run(pipeline.call(dependency, idempotent=True)) == "first"
    assert (dependency.calls, dependency.running) == (2, 0)
    assert pipeline.budget.snapshot().active_retries == 0


async def test_what_is_not_safe_to_repeat_is_never_hedged(clock: FakeClock) -> None:
    dependency = Dependency(clock, Slow(10))
    await clock.run(make(clock).call(dependency))
    assert dependency.calls == 1


async def test_the_loser_gives_its_breaker_permit_and_its_slot_back(clock: FakeClock) -> None:
    pipeline = make(
        clock,
        circuit_breaker=CircuitBreakerConfig(
            permitted_calls_in_half_open=3, minimum_number_of_calls=3, max_wait_duration_in_half_open=0
        ),
        bulkhead=BulkheadConfig(max_concurrent_calls=2),
    )
    breaker = pipeline.circuit_breaker
    breaker.transition_to_open()
    breaker.transition_to_half_open()
    dependency = Dependency(clock, Slow(10, "first"), Slow(0.01, "hedge"))
    await clock.run(pipeline.call(dependency, idempotent=True))
    now = breaker.snapshot()
    assert (now.buffered_calls, now.failed_calls) == (1, 0)
    assert pipeline.bulkhead.snapshot().available == 2
    # One of three trials is spent, not two.
    assert [breaker.try_acquire() is not None for _ in range(3)] == [True, True, False]


async def test_without_budget_no_hedge_starts(clock: FakeClock) -> None:
    pipeline = make(clock, budget=RetryBudget("stock", BudgetConfig(floor=0, ratio=0)))
    dependency = Dependency(clock, Slow(1))
    assert await clock.run(pipeline.call(dependency, idempotent=True)) == "late"
    assert dependency.calls == 1
    assert [type(event) for event in pipeline.recent_events()] == [HedgeRefused]


async def test_the_budget_is_given_back_even_when_the_hedge_never_ran(clock: FakeClock) -> None:
    pipeline = make(clock)
    dependency = Dependency(clock, Slow(10))
    task = asyncio.create_task(pipeline.call(dependency, idempotent=True))
    await clock.settle()
    # In one turn of the loop the call is cancelled and then the hedge is created, so the hedge ends before it begins.
    clock.call_later(0.0499, task.cancel)
    clock.tick(0.05)
    await clock.settle()
    assert pipeline.hedge.snapshot().started == 1
    assert task.cancelled()
    assert (dependency.calls, dependency.running) == (1, 0)
    assert pipeline.budget.snapshot().active_retries == 0


async def test_a_failed_hedge_leaves_the_first_attempt_to_answer(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, Slow(1, "first"), DownError())
    assert await clock.run(pipeline.call(dependency, idempotent=True)) == "first"
    now = pipeline.hedge.snapshot()
    assert (now.started, now.failed, now.won) == (1, 1, 0)


async def test_a_hedge_answers_for_a_first_attempt_that_fails_late(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, Slow(0.1, DownError()), Slow(0.2, "hedge"))
    assert await clock.run(pipeline.call(dependency, idempotent=True)) == "hedge"
    assert pipeline.hedge.snapshot().won == 1


async def test_a_first_attempt_that_fails_in_time_is_not_hedged(clock: FakeClock) -> None:
    dependency = Dependency(clock, DownError())
    with pytest.raises(DownError):
        await clock.run(make(clock).call(dependency, idempotent=True))
    assert dependency.calls == 1


async def test_when_all_attempts_fail_the_first_ones_error_is_raised(clock: FakeClock) -> None:
    first = DownError("first")
    dependency = Dependency(clock, Slow(0.1, first), Slow(0.2, DownError("hedge")))
    with pytest.raises(DownError) as raised:
        await clock.run(make(clock).call(dependency, idempotent=True))
    assert raised.value is first


async def test_further_hedges_follow_one_delay_apart(clock: FakeClock) -> None:
    pipeline, dependency = make(clock, max_hedges=2), Dependency(clock, Slow(10), Slow(10), Slow(0.01, "third"))
    assert await clock.run(pipeline.call(dependency, idempotent=True)) == "third"
    assert dependency.waits() == pytest.approx([0.05, 0.05])
    assert dependency.attempts == [1, 2, 3]
    [won] = [event for event in pipeline.recent_events() if isinstance(event, HedgeWon)]
    assert won.attempt == 3
    assert current_attempt() == 1


async def test_cancelling_the_call_cancels_every_attempt(clock: FakeClock) -> None:
    pipeline, dependency = make(clock, max_hedges=2), Dependency(clock, Slow(10))
    task = asyncio.create_task(pipeline.call(dependency, idempotent=True))
    await clock.advance(0.2)
    assert dependency.running == 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert dependency.running == 0
    assert pipeline.budget.snapshot().active_retries == 0


async def test_cancellation_that_arrives_with_the_hedges_answer_wins(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, Slow(10), 7)
    task = asyncio.create_task(pipeline.call(dependency, idempotent=True))
    pipeline.events.subscribe(lambda _: task.cancel(), HedgeWon)
    await clock.advance(0.05)
    assert task.cancelled()
    assert dependency.running == 0


async def test_a_first_attempt_that_fails_while_being_cancelled_does_not_spoil_the_hedges_answer(
    clock: FakeClock,
) -> None:
    calls = []

    async def fails_when_cancelled() -> int:
        calls.append(1)
        if len(calls) > 1:
            return 7
        try:
            await clock.sleep(10)
        except asyncio.CancelledError:
            raise DownError from None
        return 0

    async def work() -> tuple[int, int]:
        answer = await make(clock).call(fails_when_cancelled, idempotent=True)
        return answer, asyncio.current_task().cancelling()

    assert await clock.run(work()) == (7, 0)


async def test_the_caller_is_not_left_cancelled_after_a_hedge_won(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, Slow(10), 7)

    async def work() -> tuple[int, int]:
        answer = await pipeline.call(dependency, idempotent=True)
        await asyncio.sleep(0)
        return answer, asyncio.current_task().cancelling()

    assert await clock.run(work()) == (7, 0)


async def test_each_hedge_runs_in_its_callers_context(clock: FakeClock) -> None:
    pipeline = make(clock)
    request: ContextVar[str] = ContextVar("request")
    seen: list[str] = []

    async def slow() -> None:
        seen.append(request.get())
        await clock.sleep(0.2)

    async def caller(name: str) -> None:
        request.set(name)
        await pipeline.call(slow, idempotent=True)

    # The second call's alarm rings on the timer that the first call set.
    await clock.run(_both(caller("first"), caller("second")))
    assert seen == ["first", "second", "first", "second"]


async def _both(*work) -> None:
    await asyncio.gather(*work)


async def test_no_hedge_starts_after_the_deadline(clock: FakeClock) -> None:
    pipeline = make(clock, delay=0.5, deadline=0.5)
    dependency = Dependency(clock, Slow(10))
    with pytest.raises(TimeoutError):
        await clock.run(pipeline.call(dependency, idempotent=True))
    assert dependency.calls == 1
