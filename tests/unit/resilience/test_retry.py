"""Retry: what is repeated, when, and when not."""

import asyncio
import contextlib
from typing import Any

import pytest
from tenacity.wait import wait_chain, wait_fixed

from shared.resilience import (
    BudgetConfig,
    CallNotPermitted,
    CircuitBreakerConfig,
    Pipeline,
    RetryBudget,
    RetryConfig,
    current_attempt,
    deadline,
)
from shared.resilience.events import RetryRefused, RetryScheduled, RetrySucceeded
from shared.resilience.invocation import Invocation, attempt
from shared.resilience.retry import Retry, push_back
from shared.resilience.testing import FakeClock, seeded_random
from tests.unit.resilience.dependencies import Dependency, DownError, PushBackError


def make(clock: FakeClock, **settings: Any) -> Pipeline:
    values = {"max_attempts": 3, "wait_duration": 0.1, "multiplier": 2, "max_wait": 1, "jitter": "none"}
    return Pipeline("stock", retry=RetryConfig(**(values | settings)), clock=clock, random=seeded_random())


async def test_max_attempts_counts_the_first_call(clock: FakeClock) -> None:
    dependency = Dependency(clock, DownError())
    with pytest.raises(DownError):
        await clock.run(make(clock).call(dependency, idempotent=True))
    assert dependency.calls == 3


async def test_the_waits_grow_by_the_multiplier_up_to_the_longest(clock: FakeClock) -> None:
    dependency = Dependency(clock, DownError())
    with pytest.raises(DownError):
        await clock.run(make(clock, max_attempts=6, max_wait=0.5).call(dependency, idempotent=True))
    assert dependency.waits() == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.5])


async def test_the_last_real_error_is_raised_with_a_note_of_the_attempts(clock: FakeClock) -> None:
    last = DownError("third")
    with pytest.raises(DownError) as raised:
        await clock.run(make(clock).call(Dependency(clock, DownError(), DownError(), last), idempotent=True))
    assert raised.value is last
    assert raised.value.__notes__ == ["stock: 3 of 3 attempts made; no more because of: attempts"]
    assert isinstance(raised.value.__cause__, DownError)


async def test_an_error_object_that_is_raised_again_and_again_keeps_one_note(clock: FakeClock) -> None:
    error = DownError()
    pipeline = make(clock)
    for _ in range(3):
        with pytest.raises(DownError):
            await clock.run(pipeline.call(Dependency(clock, error), idempotent=True))
    assert len(error.__notes__) == 1


async def test_what_is_not_declared_safe_is_tried_once(clock: FakeClock) -> None:
    dependency = Dependency(clock, DownError(), 7)
    pipeline = make(clock)
    with pytest.raises(DownError):
        await clock.run(pipeline.call(dependency))
    assert dependency.calls == 1
    [refused] = [event for event in pipeline.recent_events() if isinstance(event, RetryRefused)]
    assert refused.reason == "not_idempotent"


async def test_the_instance_can_declare_its_calls_safe_and_a_call_can_take_it_back(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", retry=RetryConfig(wait_duration=0.1), idempotent=True, clock=clock)
    assert await clock.run(pipeline.call(Dependency(clock, DownError(), 7))) == 7
    with pytest.raises(DownError):
        await clock.run(pipeline.call(Dependency(clock, DownError(), 7), idempotent=False))


async def test_a_retried_success_is_returned_and_told(clock: FakeClock) -> None:
    pipeline = make(clock)
    assert await clock.run(pipeline.call(Dependency(clock, DownError(), 7), idempotent=True)) == 7
    events = [e for e in pipeline.recent_events() if isinstance(e, RetryScheduled | RetrySucceeded)]
    assert [type(event) for event in events] == [RetryScheduled, RetrySucceeded]
    assert events[1].attempts == 2


async def test_a_result_can_be_worth_a_retry_and_the_last_one_is_returned(clock: FakeClock) -> None:
    pipeline = make(clock, retry_on_result=lambda status: status >= 500)
    dependency = Dependency(clock, 503, 502, 501)
    assert await clock.run(pipeline.call(dependency, idempotent=True)) == 501
    assert await clock.run(pipeline.call(Dependency(clock, 503, 200), idempotent=True)) == 200
    now = pipeline.retry.snapshot()
    assert (dependency.calls, now.failed_with_retry, now.successful_with_retry) == (3, 1, 1)


async def test_only_listed_exceptions_are_retried_and_ignored_ones_never(clock: FakeClock) -> None:
    pipeline = make(clock, retry_exceptions=(DownError,), ignore_exceptions=(PushBackError,))
    for error, calls in ((DownError(), 3), (PushBackError(0), 1), (ValueError(), 1)):
        dependency = Dependency(clock, error)
        with pytest.raises(type(error)):
            await clock.run(pipeline.call(dependency, idempotent=True))
        assert dependency.calls == calls


async def test_a_refusal_by_the_breaker_is_not_retried_and_keeps_what_opened_it(clock: FakeClock) -> None:
    pipeline = Pipeline(
        "stock",
        retry=RetryConfig(max_attempts=5, wait_duration=0.1),
        circuit_breaker=CircuitBreakerConfig(sliding_window_size=2, minimum_number_of_calls=2),
        clock=clock,
    )
    dependency = Dependency(clock, DownError())
    with pytest.raises(CallNotPermitted) as refused:
        await clock.run(pipeline.call(dependency, idempotent=True))
    assert dependency.calls == 2
    assert isinstance(refused.value.__cause__, DownError)


async def test_retry_after_is_waited_for_when_it_is_longer(clock: FakeClock) -> None:
    dependency = Dependency(clock, PushBackError(2), PushBackError("0.01"), 7)
    await clock.run(make(clock).call(dependency, idempotent=True))
    assert dependency.waits() == pytest.approx([2, 0.2])


@pytest.mark.parametrize("unusable", [-1, "soon", float("nan"), float("inf"), object(), 3600])
async def test_a_negative_unreadable_or_endless_push_back_means_no_retry(clock: FakeClock, unusable: Any) -> None:
    dependency = Dependency(clock, PushBackError(unusable), 7)
    pipeline = make(clock)
    with pytest.raises(PushBackError):
        await clock.run(pipeline.call(dependency, idempotent=True))
    assert dependency.calls == 1
    assert [e.reason for e in pipeline.recent_events() if isinstance(e, RetryRefused)] == ["push_back"]


@pytest.mark.parametrize(("value", "seconds"), [(None, None), (0, 0), ("2", 2), (1.5, 1.5), (-3, -1), ("x", -1)])
def test_a_push_back_is_seconds_or_a_refusal(value: Any, seconds: float | None) -> None:
    assert push_back(PushBackError(value)) == seconds


async def test_a_wait_that_does_not_fit_the_deadline_is_refused(clock: FakeClock) -> None:
    dependency = Dependency(clock, DownError())
    pipeline = make(clock, max_attempts=10)
    start = clock.monotonic()
    with deadline(0.5, clock=clock), pytest.raises(DownError):
        await clock.run(pipeline.call(dependency, idempotent=True))
    # Waits of 0.1 and 0.2 s fit; the next one, 0.4 s, does not, and is not begun.
    assert dependency.calls == 3
    assert clock.monotonic() - start == pytest.approx(0.3)
    assert [e.reason for e in pipeline.recent_events() if isinstance(e, RetryRefused)] == ["deadline"]


async def test_an_attempt_knows_its_number_and_forgets_it_afterwards(clock: FakeClock) -> None:
    dependency = Dependency(clock, DownError(), DownError(), 7)
    await make_and_check(clock, dependency)
    assert dependency.attempts == [1, 2, 3]


async def make_and_check(clock: FakeClock, dependency: Dependency) -> None:
    async def work() -> None:
        await make(clock).call(dependency, idempotent=True)
        assert current_attempt() == 1

    await clock.run(work())


async def test_a_pipeline_inside_a_retried_call_goes_on_counting(clock: FakeClock) -> None:
    inner_dependency = Dependency(clock, 1, DownError(), 1)
    inner, outer = make(clock), make(clock)
    tries = []

    async def work() -> int:
        tries.append(1)
        answer = await inner.call(inner_dependency, idempotent=True)
        if len(tries) == 1:
            raise DownError
        return answer

    await clock.run(outer.call(work, idempotent=True))
    assert inner_dependency.attempts == [1, 2, 3]


async def test_calls_are_counted_by_outcome_and_by_whether_they_were_retried(clock: FakeClock) -> None:
    pipeline = make(clock)
    for script in ((1,), (1,), (DownError(), 1), (DownError(),)):
        await clock.run(asyncio.wait_for(_quietly(pipeline.call(Dependency(clock, *script), idempotent=True)), None))
    await clock.run(_quietly(pipeline.call(Dependency(clock, DownError()))))
    now = pipeline.retry.snapshot()
    assert (now.successful_without_retry, now.successful_with_retry) == (2, 1)
    assert (now.failed_without_retry, now.failed_with_retry) == (1, 1)
    assert now.attempts == 3


async def _quietly(call: Any) -> None:
    with contextlib.suppress(DownError):
        await call


async def test_a_cancelled_wait_ends_the_call_and_gives_the_budget_back(clock: FakeClock) -> None:
    pipeline = make(clock)
    dependency = Dependency(clock, DownError())
    task = asyncio.create_task(pipeline.call(dependency, idempotent=True))
    await clock.settle()
    assert pipeline.budget.snapshot().active_retries == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    now = pipeline.budget.snapshot()
    assert (dependency.calls, now.active_retries, now.active_calls) == (1, 0, 0)


@pytest.mark.parametrize(("jitter", "lowest", "highest"), [("full", 0, 0.8), ("equal", 0.4, 0.8), ("none", 0.8, 0.8)])
async def test_jitter_spreads_the_wait_within_its_bounds(
    clock: FakeClock, jitter: str, lowest: float, highest: float
) -> None:
    waits = []
    for seed in range(200):
        dependency = Dependency(clock, DownError(), 1)
        config = RetryConfig(wait_duration=0.8, jitter=jitter)
        pipeline = Pipeline("stock", retry=config, clock=clock, random=seeded_random(seed))
        await clock.run(pipeline.call(dependency, idempotent=True))
        waits += dependency.waits()
    # The instants are large numbers, so their differences are exact to about 1e-12.
    assert lowest - 1e-9 <= min(waits)
    assert max(waits) <= highest + 1e-9
    assert jitter == "none" or max(waits) - min(waits) > (highest - lowest) * 0.8


async def test_decorrelated_jitter_stays_between_the_first_wait_and_three_times_the_previous(clock: FakeClock) -> None:
    dependency = Dependency(clock, DownError())
    pipeline = make(clock, jitter="decorrelated", max_attempts=40, max_wait=5)
    with pytest.raises(DownError):
        await clock.run(pipeline.call(dependency, idempotent=True))
    waits = dependency.waits()
    assert len(waits) == 39
    previous = 0.1
    for wait in waits:
        assert 0.1 - 1e-9 <= wait <= min(5, previous * 3) + 1e-9
        previous = wait


async def test_any_wait_strategy_of_tenacity_can_be_used(clock: FakeClock) -> None:
    retry = Retry(
        "stock",
        RetryConfig(max_attempts=4, jitter="none"),
        strategy=wait_chain(wait_fixed(3), wait_fixed(1)),
        clock=clock,
    )
    dependency = Dependency(clock, DownError())
    with pytest.raises(DownError):
        await clock.run(retry.run(attempt, Invocation(dependency, idempotent=True)))
    assert dependency.waits() == pytest.approx([3, 1, 1])


async def test_the_budget_stops_retries_but_not_first_attempts(clock: FakeClock) -> None:
    budget = RetryBudget("stock", BudgetConfig(max_tokens=4))
    pipeline = Pipeline("stock", retry=RetryConfig(max_attempts=2), budget=budget, clock=clock)
    calls = []
    for _ in range(10):
        dependency = Dependency(clock, DownError())
        with pytest.raises(DownError):
            await clock.run(pipeline.call(dependency, idempotent=True))
        calls.append(dependency.calls)
    # 4 tokens: the first failure leaves 3, so one retry; its own failure leaves 2, which is half.
    assert calls == [2, *[1] * 9]
    assert [e.reason for e in pipeline.recent_events() if isinstance(e, RetryRefused)][1:] == ["budget"] * 9


async def test_a_result_can_ask_for_a_pause_as_an_error_can(clock: FakeClock) -> None:
    busy = PushBackError(7)
    pipeline = make(clock, retry_on_result=lambda answer: answer is busy)

    async def answer() -> object:
        at.append(clock.monotonic())
        return busy if len(at) == 1 else "done"

    at: list[float] = []
    assert await clock.run(pipeline.call(answer, idempotent=True)) == "done"
    assert at == [1000, 1007]


async def test_a_predicate_that_raises_does_not_undo_the_answer(clock: FakeClock) -> None:
    pipeline = make(clock, retry_on_result=lambda answer: answer.no_such_attribute)
    assert await pipeline.call(Dependency(clock, 7), idempotent=True) == 7


async def test_a_pipeline_takes_any_wait_strategy_of_tenacity(clock: FakeClock) -> None:
    config = RetryConfig(max_attempts=3, jitter="none")
    pipeline = Pipeline("stock", retry=config, backoff=wait_chain(wait_fixed(3), wait_fixed(1)), clock=clock)
    dependency = Dependency(clock, DownError(), DownError(), 7)
    await clock.run(pipeline.call(dependency, idempotent=True))
    assert dependency.waits() == [3, 1]
