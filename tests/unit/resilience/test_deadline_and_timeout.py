"""Deadlines and attempt timeouts: nothing outlives whoever waits for it."""

import asyncio
from contextlib import suppress

import pytest

from shared.resilience import (
    AttemptTimeout,
    CircuitBreakerConfig,
    DeadlineExceeded,
    Pipeline,
    RetryConfig,
    State,
    deadline,
    format_deadline,
    parse_deadline,
    remaining,
)
from shared.resilience.testing import FakeClock
from tests.unit.resilience.dependencies import Dependency, Slow


def test_without_a_deadline_nothing_remains_to_be_told() -> None:
    assert remaining() is None


def test_a_nested_deadline_can_only_be_shorter(clock: FakeClock) -> None:
    with deadline(2, clock=clock):
        with deadline(5, clock=clock):
            assert remaining() == 2
        with deadline(0.5, clock=clock):
            assert remaining() == 0.5
        clock.tick(1.5)
        assert remaining() == 0.5
        clock.tick(1)
        assert remaining() == 0
    assert remaining() is None


def test_deadlines_of_two_clocks_are_compared_by_what_remains() -> None:
    far, near = FakeClock(start=1e6), FakeClock(start=0)
    with deadline(3, clock=far), deadline(8, clock=near):
        assert remaining() == 3


def test_the_header_is_whole_milliseconds_rounded_down() -> None:
    assert [format_deadline(seconds) for seconds in (1.2349, 0.0009, 0, -3)] == ["1234", "0", "0", "0"]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("1500", 1.5), ("0", 0), (None, None), ("", None), ("-5", None), ("1.5", None), ("soon", None), ("٣", None)],
)
def test_a_header_is_milliseconds_or_no_deadline_at_all(value: str | None, seconds: float | None) -> None:
    assert parse_deadline(value) == seconds


def test_an_absurd_header_does_not_become_an_absurd_deadline() -> None:
    assert parse_deadline("9" * 40) is None
    assert parse_deadline("9999999999") == 1_000_000


async def test_an_attempt_that_takes_too_long_is_cancelled(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", timeout=0.5, clock=clock)
    dependency = Dependency(clock, Slow(10))
    start = clock.monotonic()
    with pytest.raises(AttemptTimeout) as raised:
        await clock.run(pipeline.call(dependency))
    assert clock.monotonic() - start == pytest.approx(0.5)
    assert isinstance(raised.value, TimeoutError)
    assert dependency.running == 0


async def test_an_attempt_in_time_is_not_disturbed(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", timeout=0.5, clock=clock)
    assert await clock.run(pipeline.call(Dependency(clock, Slow(0.49)))) == "late"
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    now = pipeline.timeout.snapshot()
    assert (now.successful, now.failed, now.timeout) == (1, 0, 0)


async def test_many_attempts_share_one_timer_and_each_keeps_its_own_time(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", timeout=1, clock=clock)
    ends: dict[int, float] = {}

    async def call(number: int) -> None:
        await clock.sleep(number / 10)
        with pytest.raises(AttemptTimeout):
            await pipeline.call(clock.sleep, 100)
        ends[number] = clock.monotonic()

    async def quick() -> None:
        for _ in range(30):
            await pipeline.call(clock.sleep, 0.05)

    start = clock.monotonic()
    await clock.run(_all(*(call(number) for number in range(10)), quick()))
    assert {n: round(end - start, 6) for n, end in ends.items()} == {n: pytest.approx(n / 10 + 1) for n in range(10)}


async def _all(*work) -> None:
    await asyncio.gather(*work)


async def test_an_attempt_gets_the_smaller_of_its_timeout_and_what_remains(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", timeout=0.5, clock=clock)
    dependency = Dependency(clock, 1)
    await pipeline.call(dependency)
    with deadline(0.2, clock=clock):
        await pipeline.call(dependency)
    with deadline(20, clock=clock):
        await pipeline.call(dependency)
        assert remaining() == 20
    assert dependency.remaining == pytest.approx([0.5, 0.2, 0.5])
    assert remaining() is None


async def test_with_the_deadline_layer_off_an_attempt_is_told_of_no_deadline(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", timeout=0.5, clock=clock)
    pipeline.switch("deadline", False)
    dependency = Dependency(clock, 1)
    await pipeline.call(dependency)
    assert dependency.remaining == [None]


async def test_when_the_callers_time_is_over_during_the_attempt_that_is_what_is_raised(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", timeout=5, clock=clock)
    with deadline(0.2, clock=clock), pytest.raises(DeadlineExceeded) as raised:
        await clock.run(pipeline.call(Dependency(clock, Slow(10))))
    assert raised.value.attempted
    assert isinstance(raised.value, TimeoutError)


async def test_a_call_whose_time_is_over_is_never_made(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", clock=clock)
    dependency = Dependency(clock, 1)
    with deadline(0.2, clock=clock):
        clock.tick(0.2)
        with pytest.raises(DeadlineExceeded) as raised:
            await pipeline.call(dependency)
    assert (dependency.calls, raised.value.attempted) == (0, False)


async def test_the_pipelines_own_deadline_covers_all_attempts(clock: FakeClock) -> None:
    pipeline = Pipeline(
        "stock",
        deadline=2,
        timeout=0.9,
        retry=RetryConfig(max_attempts=10, wait_duration=0.1, jitter="none", multiplier=1),
        clock=clock,
    )
    dependency = Dependency(clock, Slow(10))
    start = clock.monotonic()
    # Two attempts of 0.9 s and two waits of 0.1 s leave no time for a third.
    with pytest.raises(AttemptTimeout):
        await clock.run(pipeline.call(dependency, idempotent=True))
    assert dependency.calls == 2
    assert clock.monotonic() - start <= 2


async def test_without_a_timeout_the_deadline_ends_the_attempt(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", deadline=2, clock=clock)
    start = clock.monotonic()
    with pytest.raises(DeadlineExceeded):
        await clock.run(pipeline.call(Dependency(clock, Slow(10))))
    assert clock.monotonic() - start == pytest.approx(2)


async def test_cancellation_from_outside_is_not_mistaken_for_a_timeout(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", timeout=5, clock=clock)
    task = asyncio.create_task(pipeline.call(clock.sleep, 100))
    await clock.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pipeline.timeout.snapshot().timeout == 0


async def test_cancellation_that_arrives_with_the_timeout_wins(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", timeout=5, clock=clock)
    task = asyncio.create_task(pipeline.call(clock.sleep, 100))
    await clock.settle()
    clock.call_later(5, task.cancel)
    # Both fall due in the same turn of the loop, before the task runs again.
    clock.tick(5)
    await clock.settle()
    assert task.cancelled()


async def test_a_timeout_inside_a_timeout_leaves_the_outer_one_alone(clock: FakeClock) -> None:
    inner, outer = Pipeline("inner", timeout=1, clock=clock), Pipeline("outer", timeout=2, clock=clock)

    async def patient() -> str:
        with pytest.raises(AttemptTimeout, match="inner"):
            await inner.call(clock.sleep, 100)
        await clock.sleep(100)
        return "never"

    with pytest.raises(AttemptTimeout, match="outer"):
        await clock.run(outer.call(patient))


async def test_an_answer_that_comes_after_a_blocking_call_is_kept_and_nothing_is_left_cancelled(
    clock: FakeClock,
) -> None:
    pipeline = Pipeline("stock", timeout=1, clock=clock)

    async def blocks() -> int:
        clock.tick(5)
        return 7

    assert await pipeline.call(blocks) == 7
    await clock.settle()


async def test_work_that_ignores_its_cancellation_is_not_reported_as_a_timeout(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", timeout=1, clock=clock)

    async def stubborn() -> int:
        try:
            await clock.sleep(100)
        except asyncio.CancelledError:
            return 7
        return 0

    async def call() -> tuple[int, int]:
        answer = await pipeline.call(stubborn)
        # A cancellation that was not taken back would count here, and end the next timeout's wait wrongly.
        return answer, asyncio.current_task().cancelling()

    assert await clock.run(call()) == (7, 0)


def test_a_pipeline_outlives_an_event_loop_with_its_timers() -> None:
    pipeline = Pipeline("stock", timeout=0.02)

    async def hang() -> None:
        await asyncio.Event().wait()

    async def abandoned() -> None:
        asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)
        await pipeline.call(hang)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(abandoned())
    with pytest.raises(AttemptTimeout):
        asyncio.run(pipeline.call(hang))


class GaveUp(Exception):
    """What a dependency says whose time was over before the caller's clock said so."""

    gave_up = True


BREAKER = CircuitBreakerConfig(sliding_window_size=4, minimum_number_of_calls=4)


async def state_after_four_calls(clock: FakeClock, answer: object, *, longest: float | None, given: float) -> State:
    pipeline = Pipeline("stock", timeout=longest, circuit_breaker=BREAKER, clock=clock)
    for _ in range(4):
        with deadline(given, clock=clock), suppress(DeadlineExceeded, GaveUp):
            await clock.run(pipeline.call(Dependency(clock, answer)))
    assert pipeline.circuit_breaker is not None
    return pipeline.circuit_breaker.state


@pytest.mark.parametrize("answer", [Slow(10), GaveUp()])
async def test_callers_who_give_less_than_half_an_attempts_time_open_no_breaker_for_the_others(
    clock: FakeClock, answer: object
) -> None:
    assert await state_after_four_calls(clock, answer, longest=0.5, given=0.2) is State.CLOSED


@pytest.mark.parametrize("answer", [Slow(10), GaveUp()])
@pytest.mark.parametrize(("longest", "given"), [(0.5, 0.3), (None, 0.2)])
async def test_a_dependency_that_had_its_time_opens_the_breaker_whoever_gave_it(
    clock: FakeClock, answer: object, longest: float | None, given: float
) -> None:
    assert await state_after_four_calls(clock, answer, longest=longest, given=given) is State.OPEN
