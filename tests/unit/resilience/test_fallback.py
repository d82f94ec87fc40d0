"""Fallbacks: a worse answer, and the reason for it."""

import asyncio

import pytest

from shared.resilience import CallNotPermitted, CircuitBreakerConfig, Fallback, Pipeline, RetryConfig
from shared.resilience.events import FallbackAnswered, FallbackFailed
from shared.resilience.testing import FakeClock
from tests.unit.resilience.dependencies import Dependency, DownError


async def answer_with_the_error(error: BaseException) -> str:
    return f"instead of {type(error).__name__}"


async def fail(error: BaseException) -> str:
    raise LookupError("no cached answer")


async def test_a_fallback_answers_with_the_error_at_hand(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", clock=clock)
    answer = await pipeline.call(Dependency(clock, DownError()), fallback=answer_with_the_error)
    assert answer == "instead of DownError"
    [event] = pipeline.recent_events()
    assert isinstance(event, FallbackAnswered)
    assert (event.fallback, event.cause.kind) == ("answer_with_the_error", "DownError")


async def test_a_success_asks_no_fallback(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", clock=clock)
    assert await pipeline.call(Dependency(clock, 7), fallback=fail) == 7
    assert pipeline.fallback.snapshot() == type(pipeline.fallback.snapshot())("stock", 0, 0)


async def test_a_fallback_answers_only_for_its_exceptions(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", clock=clock)
    only_refusals = Fallback(answer_with_the_error, on=(CallNotPermitted,))
    with pytest.raises(DownError):
        await pipeline.call(Dependency(clock, DownError()), fallback=only_refusals)


async def test_the_first_fallback_that_wants_the_error_answers(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", clock=clock)

    async def never(_: BaseException) -> str:
        raise AssertionError("not for this error")

    chain = [Fallback(never, on=(CallNotPermitted,)), Fallback(answer_with_the_error, on=(DownError,)), Fallback(never)]
    assert await pipeline.call(Dependency(clock, DownError()), fallback=chain) == "instead of DownError"


async def test_a_fallback_that_fails_hands_its_error_to_the_next(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", clock=clock)
    chain = [Fallback(fail, name="cache"), Fallback(answer_with_the_error)]
    assert await pipeline.call(Dependency(clock, DownError()), fallback=chain) == "instead of LookupError"
    failed, answered = pipeline.recent_events()
    assert isinstance(failed, FallbackFailed)
    assert (failed.fallback, failed.cause.kind, failed.error.kind) == ("cache", "DownError", "LookupError")
    assert isinstance(answered, FallbackAnswered)
    now = pipeline.fallback.snapshot()
    assert (now.successful, now.failed) == (1, 1)


async def test_when_the_last_fallback_fails_the_first_error_is_the_cause(clock: FakeClock) -> None:
    first = DownError()
    with pytest.raises(LookupError) as raised:
        await Pipeline("stock", clock=clock).call(Dependency(clock, first), fallback=fail)
    assert raised.value.__cause__ is first


async def test_the_pipelines_fallbacks_follow_those_of_the_call(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", fallbacks=(Fallback(answer_with_the_error),), clock=clock)
    assert await pipeline.call(Dependency(clock, DownError())) == "instead of DownError"
    assert await pipeline.call(Dependency(clock, DownError()), fallback=fail) == "instead of LookupError"


async def test_a_fallback_answers_for_an_open_breaker_and_after_all_retries(clock: FakeClock) -> None:
    pipeline = Pipeline(
        "stock",
        retry=RetryConfig(max_attempts=2, wait_duration=0.1),
        circuit_breaker=CircuitBreakerConfig(sliding_window_size=2, minimum_number_of_calls=2),
        clock=clock,
    )
    dependency = Dependency(clock, DownError())
    call = {"idempotent": True, "fallback": answer_with_the_error}
    assert await clock.run(pipeline.call(dependency, **call)) == "instead of DownError"
    assert await clock.run(pipeline.call(dependency, **call)) == "instead of CallNotPermitted"
    assert dependency.calls == 2


async def test_cancellation_is_not_answered_for(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", clock=clock)
    task = asyncio.create_task(pipeline.call(clock.sleep, 10, fallback=answer_with_the_error))
    await clock.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pipeline.recent_events() == []
