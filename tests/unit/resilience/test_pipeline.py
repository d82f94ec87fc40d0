"""The pipeline: the order of its layers, switching them, and what it refuses to guard."""

import asyncio

import pytest

from shared.resilience import (
    BulkheadConfig,
    BulkheadFull,
    CacheConfig,
    CallNotPermitted,
    CircuitBreaker,
    CircuitBreakerConfig,
    HedgeConfig,
    Pipeline,
    RateLimiterConfig,
    RetryConfig,
    SyncCallableError,
)
from shared.resilience.events import CallFailed, LayerSwitched, RetryScheduled
from shared.resilience.testing import FakeClock
from tests.unit.resilience.dependencies import Dependency, DownError, Slow, kinds


def everything(clock: FakeClock) -> Pipeline:
    return Pipeline(
        "stock",
        deadline=5,
        cache=CacheConfig(),
        retry=RetryConfig(max_attempts=3, wait_duration=0.1, jitter="none"),
        hedge=HedgeConfig(delay=0.2),
        circuit_breaker=CircuitBreakerConfig(sliding_window_size=10, minimum_number_of_calls=10),
        rate_limiter=RateLimiterConfig(),
        bulkhead=BulkheadConfig(max_concurrent_calls=2),
        timeout=0.5,
        idempotent=True,
        clock=clock,
    )


async def test_arguments_and_the_answer_pass_through_all_layers(clock: FakeClock) -> None:
    async def add(a: int, *, b: int) -> int:
        return a + b

    assert await everything(clock).call(add, 3, b=4) == 7


async def test_a_decorated_function_is_guarded_and_keeps_its_name(clock: FakeClock) -> None:
    pipeline = everything(clock)
    calls: list[int] = []

    @pipeline
    async def charge(amount: int) -> int:
        calls.append(amount)
        if len(calls) == 1:
            raise DownError
        return amount

    assert await clock.run(charge(7)) == 7
    assert (charge.__name__, calls) == ("charge", [7, 7])


def test_the_layers_stand_in_their_order_from_the_outside_in(clock: FakeClock) -> None:
    assert list(everything(clock).layers) == [
        "deadline",
        "fallback",
        "cache",
        "retry",
        "hedge",
        "circuit_breaker",
        "rate_limiter",
        "bulkhead",
        "timeout",
        "faults",
    ]
    assert list(Pipeline("stock", clock=clock).layers) == ["deadline", "fallback", "faults"]


async def test_each_attempt_of_a_retry_is_recorded_by_the_breaker(clock: FakeClock) -> None:
    pipeline = everything(clock)
    with pytest.raises(DownError):
        await clock.run(pipeline.call(Dependency(clock, DownError())))
    assert pipeline.circuit_breaker.snapshot().failed.calls == 3


async def test_a_timeout_is_a_failure_of_the_breaker_also_when_only_timeouts_are_recorded(clock: FakeClock) -> None:
    config = CircuitBreakerConfig(record_exceptions=(TimeoutError,))
    pipeline = Pipeline("stock", circuit_breaker=config, timeout=1, clock=clock)
    with pytest.raises(TimeoutError):
        await clock.run(pipeline.call(clock.sleep, 10))
    assert pipeline.circuit_breaker.snapshot().failed_calls == 1


async def test_a_full_bulkhead_says_nothing_about_the_dependency(clock: FakeClock) -> None:
    pipeline = Pipeline(
        "stock",
        retry=RetryConfig(),
        circuit_breaker=CircuitBreakerConfig(),
        bulkhead=BulkheadConfig(max_concurrent_calls=1),
        clock=clock,
    )
    running = asyncio.create_task(pipeline.call(clock.sleep, 1))
    await clock.settle()
    dependency = Dependency(clock, 1)
    with pytest.raises(BulkheadFull):
        await pipeline.call(dependency, idempotent=True)
    now = pipeline.circuit_breaker.snapshot()
    assert (dependency.calls, now.buffered_calls, now.ignored.calls) == (0, 0, 1)
    await clock.advance(1)
    await running


async def test_an_open_breaker_refuses_before_a_slot_is_taken(clock: FakeClock) -> None:
    pipeline = everything(clock)
    pipeline.circuit_breaker.transition_to_forced_open()
    with pytest.raises(CallNotPermitted):
        await pipeline.call(Dependency(clock, 1))
    assert pipeline.bulkhead.snapshot().refused == 0


@pytest.mark.parametrize("layer", ["retry", "hedge", "circuit_breaker", "bulkhead", "timeout", "deadline", "fallback"])
async def test_every_layer_can_be_switched_off_and_on_again(clock: FakeClock, layer: str) -> None:
    pipeline = everything(clock)
    pipeline.switch(layer, False)
    assert pipeline.layers == {name: name != layer for name in everything(clock).layers}
    assert await pipeline.call(Dependency(clock, 7)) == 7
    pipeline.switch(layer, True)
    assert all(pipeline.layers.values())
    assert [event for event in pipeline.recent_events() if isinstance(event, LayerSwitched)][-1].enabled


async def test_a_switched_off_layer_does_nothing(clock: FakeClock) -> None:
    pipeline = everything(clock)
    for layer in pipeline.layers:
        pipeline.switch(layer, False)
    pipeline.circuit_breaker.transition_to_forced_open()
    dependency = Dependency(clock, Slow(100, DownError()))
    calls = [pipeline.call(dependency, fallback=_never) for _ in range(4)]
    results = await clock.run(_gather(calls))
    assert [type(result) for result in results] == [DownError] * 4
    assert (dependency.calls, dependency.most_running, dependency.remaining) == (4, 4, [None] * 4)


async def _never(_: BaseException) -> None:
    raise AssertionError("the fallback is switched off")


async def _gather(calls: list) -> list:
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_switching_does_not_disturb_a_call_that_runs(clock: FakeClock) -> None:
    pipeline = everything(clock)
    task = asyncio.create_task(pipeline.call(Dependency(clock, DownError(), 7)))
    await clock.settle()
    pipeline.switch("retry", False)
    pipeline.switch("bulkhead", False)
    assert await clock.run(_one(task)) == 7
    assert pipeline.bulkhead.snapshot().available == 2


async def _one(task: asyncio.Task) -> object:
    return await task


def test_a_layer_that_is_not_there_cannot_be_switched(clock: FakeClock) -> None:
    with pytest.raises(ValueError, match="no layer 'retry', only: deadline, fallback"):
        Pipeline("stock", clock=clock).switch("retry", True)


async def test_a_plain_function_is_refused_clearly_and_is_nobodys_failure(clock: FakeClock) -> None:
    pipeline = everything(clock)

    def blocking() -> int:
        return 7

    with pytest.raises(SyncCallableError, match="blocking is not a coroutine function"):
        await pipeline.call(blocking)
    assert pipeline.circuit_breaker.snapshot().buffered_calls == 0
    with pytest.raises(SyncCallableError):
        pipeline(blocking)


async def test_a_lambda_that_returns_an_awaitable_is_fine(clock: FakeClock) -> None:
    dependency = Dependency(clock, 7)
    assert await everything(clock).call(lambda: dependency()) == 7
    future = asyncio.get_running_loop().create_future()
    future.set_result(8)
    assert await everything(clock).call(lambda: future) == 8


async def test_two_pipelines_can_share_a_breaker(clock: FakeClock) -> None:
    breaker = CircuitBreaker(
        "payment", CircuitBreakerConfig(sliding_window_size=2, minimum_number_of_calls=2), clock=clock
    )
    charge, refund = (Pipeline(name, circuit_breaker=breaker, clock=clock) for name in ("charge", "refund"))
    for _ in range(2):
        with pytest.raises(DownError):
            await charge.call(Dependency(clock, DownError()))
    with pytest.raises(CallNotPermitted):
        await refund.call(Dependency(clock, 1))


async def test_the_recent_events_tell_the_story_in_order(clock: FakeClock) -> None:
    pipeline = Pipeline(
        "stock", retry=RetryConfig(wait_duration=1), circuit_breaker=CircuitBreakerConfig(), clock=clock
    )
    await clock.run(pipeline.call(Dependency(clock, DownError(), 1), idempotent=True))
    assert kinds(pipeline.recent_events()) == ["CallFailed", "RetryScheduled", "RetrySucceeded"]


async def test_a_listener_hears_the_pipeline_and_its_breaker_until_it_ends(clock: FakeClock) -> None:
    pipeline = everything(clock)
    heard: list[object] = []
    end = pipeline.subscribe(heard.append, CallFailed, RetryScheduled)
    await clock.run(pipeline.call(Dependency(clock, DownError(), 1)))
    assert sorted(kinds(heard)) == ["CallFailed", "RetryScheduled"]
    end()
    await clock.run(pipeline.call(Dependency(clock, DownError(), 1)))
    assert len(heard) == 2
