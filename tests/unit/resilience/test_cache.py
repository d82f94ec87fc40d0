"""The stale-if-error cache: the last good answer instead of an error, and one call for many."""

import asyncio
from typing import Any

import pytest

from shared.resilience import (
    CacheConfig,
    CallNotPermitted,
    CircuitBreakerConfig,
    DeadlineExceeded,
    HedgeConfig,
    Pipeline,
    RateLimiterConfig,
    RateLimitExceeded,
    RetryConfig,
    deadline,
)
from shared.resilience.events import FallbackAnswered, StaleAnswered
from shared.resilience.testing import FakeClock
from tests.unit.resilience.dependencies import Dependency, DownError, Slow, kinds


def make(clock: FakeClock, **settings: Any) -> Pipeline:
    return Pipeline("stock", cache=CacheConfig(**settings), clock=clock)


async def test_a_kept_answer_stands_in_for_a_failed_call_and_the_cause_is_told(clock: FakeClock) -> None:
    pipeline = make(clock, max_age=2, stale_if_error=10)
    dependency = Dependency(clock, 7, DownError("no"))
    assert await pipeline.call(dependency, cache_key="a") == 7
    clock.tick(5)
    assert await pipeline.call(dependency, cache_key="a") == 7
    [event] = pipeline.recent_events()
    assert isinstance(event, StaleAnswered)
    assert (event.age, event.cause.kind, str(event.cause)) == (5, "DownError", "no")
    assert pipeline.cache.snapshot() == type(pipeline.cache.snapshot())("stock", 1, 0, 1, 0, 0)


async def test_after_its_time_a_kept_answer_is_gone(clock: FakeClock) -> None:
    pipeline = make(clock, max_age=2, stale_if_error=10)
    dependency = Dependency(clock, 7, DownError())
    await pipeline.call(dependency, cache_key="a")
    clock.tick(11.99)
    assert await pipeline.call(dependency, cache_key="a") == 7
    clock.tick(0.01)
    with pytest.raises(DownError):
        await pipeline.call(dependency, cache_key="a")
    now = pipeline.cache.snapshot()
    assert (now.entries, now.stale, now.missed) == (0, 1, 1)


async def test_answers_are_kept_by_key_and_never_without_one(clock: FakeClock) -> None:
    pipeline = make(clock)
    await pipeline.call(Dependency(clock, 7), cache_key="a")
    await pipeline.call(Dependency(clock, 8))
    down = Dependency(clock, DownError())
    assert await pipeline.call(down, cache_key="a") == 7
    for key in ("b", None):
        with pytest.raises(DownError):
            await pipeline.call(down, cache_key=key)


async def test_a_fresh_answer_is_served_without_a_call_only_when_asked_to(clock: FakeClock) -> None:
    dependency = Dependency(clock, 1, 2, 3)
    plain = make(clock, max_age=5)
    assert [await plain.call(dependency, cache_key="a") for _ in range(2)] == [1, 2]
    serving = make(clock, max_age=5, serve_fresh=True)
    assert [await serving.call(dependency, cache_key="a") for _ in range(2)] == [3, 3]
    assert (dependency.calls, serving.cache.snapshot().fresh) == (3, 1)
    clock.tick(5)
    await serving.call(dependency, cache_key="a")
    assert dependency.calls == 4


async def test_nothing_is_an_answer_too(clock: FakeClock) -> None:
    pipeline = make(clock, max_age=5, serve_fresh=True)
    dependency = Dependency(clock, None)
    assert [await pipeline.call(dependency, cache_key="a") for _ in range(2)] == [None, None]
    assert dependency.calls == 1


async def test_the_answer_that_was_not_used_for_the_longest_time_leaves_first(clock: FakeClock) -> None:
    pipeline = make(clock, max_entries=2)
    down = Dependency(clock, DownError())
    for key in ("a", "b"):
        await pipeline.call(Dependency(clock, key), cache_key=key)
    assert await pipeline.call(down, cache_key="a") == "a"
    await pipeline.call(Dependency(clock, "c"), cache_key="c")
    assert [await pipeline.call(down, cache_key=key) for key in ("a", "c")] == ["a", "c"]
    with pytest.raises(DownError):
        await pipeline.call(down, cache_key="b")
    assert pipeline.cache.snapshot().entries == 2


async def test_only_the_errors_that_are_meant_are_answered_for(clock: FakeClock) -> None:
    pipeline = make(clock, stale_exceptions=(DownError, TimeoutError), ignore_exceptions=(ConnectionError,))
    await pipeline.call(Dependency(clock, 7), cache_key="a")
    assert await pipeline.call(Dependency(clock, DownError()), cache_key="a") == 7
    assert await pipeline.call(Dependency(clock, TimeoutError()), cache_key="a") == 7
    for error in (KeyError("a"), ConnectionError()):
        with pytest.raises(type(error)):
            await pipeline.call(Dependency(clock, error), cache_key="a")


async def test_a_result_that_is_a_failure_is_not_kept_and_is_answered_for(clock: FakeClock) -> None:
    pipeline = make(clock, stale_on_result=lambda status: status >= 500)
    assert await pipeline.call(Dependency(clock, 503), cache_key="a") == 503
    assert pipeline.cache.snapshot().entries == 0
    await pipeline.call(Dependency(clock, 200), cache_key="a")
    assert await pipeline.call(Dependency(clock, 503), cache_key="a") == 200
    assert pipeline.recent_events()[-1].cause is None


async def test_the_cache_stands_outside_the_retry_and_inside_the_fallback(clock: FakeClock) -> None:
    pipeline = Pipeline(
        "stock",
        cache=CacheConfig(stale_if_error=60),
        retry=RetryConfig(max_attempts=3, wait_duration=0.1),
        circuit_breaker=CircuitBreakerConfig(sliding_window_size=4, minimum_number_of_calls=4),
        idempotent=True,
        clock=clock,
    )

    async def instead(error: BaseException) -> str:
        return f"instead of {type(error).__name__}"

    await pipeline.call(Dependency(clock, 7), cache_key="a")
    down = Dependency(clock, DownError())
    assert await clock.run(pipeline.call(down, cache_key="a", fallback=instead)) == 7
    assert down.calls == 3
    # The breaker is open now: the cache answers for its refusal, the fallback for what was never kept.
    assert await pipeline.call(down, cache_key="a", fallback=instead) == 7
    assert await pipeline.call(down, cache_key="b", fallback=instead) == "instead of CallNotPermitted"
    causes = [event.cause.kind for event in pipeline.recent_events() if isinstance(event, StaleAnswered)]
    assert causes == ["DownError", "CallNotPermitted"]
    assert [type(e) for e in pipeline.recent_events()][-1] is FallbackAnswered
    with pytest.raises(CallNotPermitted):
        await pipeline.call(down, cache_key="b")


async def test_what_the_cache_answers_by_itself_is_no_call_to_the_dependency(clock: FakeClock) -> None:
    pipeline = Pipeline(
        "stock",
        cache=CacheConfig(max_age=9, serve_fresh=True),
        hedge=HedgeConfig(delay=1),
        idempotent=True,
        clock=clock,
    )
    dependency = Dependency(clock, 7)
    await pipeline.call(dependency, cache_key="a")
    pipeline.budget.on_failure()
    for _ in range(3):
        await pipeline.call(dependency, cache_key="a")
    # A success would have given something back.
    assert pipeline.budget.snapshot().tokens == 99


async def test_a_key_can_be_made_from_the_arguments(clock: FakeClock) -> None:
    pipeline = make(
        clock, max_age=5, serve_fresh=True, key=lambda sku, *, fresh=False: None if fresh else ("stock", sku)
    )
    asked: list[str] = []

    @pipeline
    async def stock(sku: str, *, fresh: bool = False) -> int:
        asked.append(sku)
        return len(asked)

    assert [await stock("a"), await stock("a"), await stock("b"), await stock("a", fresh=True)] == [1, 1, 2, 3]


async def test_an_answer_that_is_older_than_the_kept_one_does_not_replace_it(clock: FakeClock) -> None:
    cache = make(clock).cache
    # So it happens to one that waited for another's call, and comes to itself after a third one has answered.
    cache._store("a", "new", 1001)
    cache._store("a", "old", 1000)
    assert cache._entries["a"] == ("new", 1001)


async def test_calls_with_equal_keys_become_one(clock: FakeClock) -> None:
    pipeline = make(clock, single_flight=True)
    dependency = Dependency(clock, Slow(1, 7))
    tasks = [asyncio.create_task(pipeline.call(dependency, cache_key=key)) for key in ("a", "a", "b", "a")]
    await clock.settle()
    assert dependency.running == 2
    await clock.advance(1)
    assert [await task for task in tasks] == [7] * 4
    assert (dependency.calls, pipeline.cache.snapshot().shared) == (2, 2)
    await clock.run(pipeline.call(dependency, cache_key="a"))
    assert dependency.calls == 3


async def test_an_error_is_shared_as_an_answer_is(clock: FakeClock) -> None:
    pipeline = make(clock, single_flight=True)
    dependency = Dependency(clock, Slow(1, DownError()))
    tasks = [asyncio.create_task(pipeline.call(dependency, cache_key="a")) for _ in range(3)]
    await clock.advance(1)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert (kinds(outcomes), dependency.calls) == (["DownError"] * 3, 1)
    assert pipeline.cache._flights._waiting == {}


async def test_when_the_one_that_calls_is_cancelled_the_next_one_calls(clock: FakeClock) -> None:
    pipeline = make(clock, single_flight=True)
    dependency = Dependency(clock, Slow(1, 7))
    tasks = [asyncio.create_task(pipeline.call(dependency, cache_key="a")) for _ in range(3)]
    await clock.advance(0.5)
    tasks[0].cancel()
    await clock.settle()
    assert (dependency.calls, dependency.running) == (2, 1)
    await clock.advance(1)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert kinds(outcomes) == ["CancelledError", "int", "int"]


async def test_one_that_waits_can_be_cancelled_without_the_others(clock: FakeClock) -> None:
    pipeline = make(clock, single_flight=True)
    dependency = Dependency(clock, Slow(1, 7))
    tasks = [asyncio.create_task(pipeline.call(dependency, cache_key="a")) for _ in range(3)]
    await clock.settle()
    tasks[1].cancel()
    await clock.settle()
    assert len(pipeline.cache._flights._waiting["a"]) == 1
    await clock.advance(1)
    assert kinds(await asyncio.gather(*tasks, return_exceptions=True)) == ["int", "CancelledError", "int"]
    assert dependency.calls == 1


async def test_a_shorter_deadline_ends_only_its_own_wait(clock: FakeClock) -> None:
    pipeline = make(clock, single_flight=True)
    dependency = Dependency(clock, Slow(1, 7))

    async def call(seconds: float) -> Any:
        with deadline(seconds, clock=clock):
            return await pipeline.call(dependency, cache_key="a")

    patient_waits = [asyncio.create_task(call(seconds)) for seconds in (9, 0.5, 9)]
    await clock.advance(0.5)
    assert isinstance(patient_waits[1].exception(), DeadlineExceeded)
    await clock.advance(0.5)
    assert (await patient_waits[0], await patient_waits[2], dependency.calls) == (7, 7, 1)

    hasty_calls = [asyncio.create_task(call(seconds)) for seconds in (0.5, 9)]
    await clock.advance(0.5)
    assert await asyncio.gather(*hasty_calls[:1], return_exceptions=True) == [7], "the kept answer stands in"
    await clock.advance(1)
    assert (await hasty_calls[1], dependency.calls) == (7, 3)


async def test_a_refusal_for_want_of_the_callers_own_time_is_not_shared(clock: FakeClock) -> None:
    pipeline = Pipeline(
        "stock",
        cache=CacheConfig(single_flight=True),
        rate_limiter=RateLimiterConfig(limit_for_period=1, timeout_duration=5),
        clock=clock,
    )
    dependency = Dependency(clock, 7)
    await pipeline.call(dependency, cache_key="other")

    async def call(seconds: float) -> Any:
        with deadline(seconds, clock=clock):
            return await pipeline.call(dependency, cache_key="a")

    tasks = [asyncio.create_task(call(seconds)) for seconds in (0.5, 9)]
    await clock.advance(1)
    hasty, patient = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(hasty, RateLimitExceeded)
    assert patient == 7


async def test_cancellation_is_not_answered_for(clock: FakeClock) -> None:
    pipeline = make(clock)
    await pipeline.call(Dependency(clock, 7), cache_key="a")
    task = asyncio.create_task(pipeline.call(clock.sleep, 10, cache_key="a"))
    await clock.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_is_forgotten_is_not_answered_with(clock: FakeClock) -> None:
    pipeline = make(clock)
    for key in ("a", "b", "c"):
        await pipeline.call(Dependency(clock, key), cache_key=key)
    pipeline.cache.forget("a")
    pipeline.cache.forget("never there")
    assert pipeline.cache.snapshot().entries == 2
    pipeline.cache.forget()
    assert pipeline.cache.snapshot().entries == 0


async def test_other_settings_keep_the_answers_that_they_have_room_for(clock: FakeClock) -> None:
    pipeline = make(clock)
    for key in ("a", "b", "c"):
        await pipeline.call(Dependency(clock, key), cache_key=key)
    pipeline.cache.reconfigure(CacheConfig(max_age=5, serve_fresh=True, max_entries=2))
    assert [await pipeline.call(Dependency(clock, 7), cache_key=key) for key in ("c", "b", "a")] == ["c", "b", 7]


def test_settings_that_would_never_answer_are_refused() -> None:
    with pytest.raises(ValueError, match="serve_fresh without a max_age"):
        CacheConfig(serve_fresh=True)
    with pytest.raises(ValueError, match="nothing would ever be answered"):
        CacheConfig(stale_if_error=0)
