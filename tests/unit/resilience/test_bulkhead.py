"""The bulkhead: slots, the line in front of them, and nothing lost on the way."""

import asyncio
from typing import Any

import pytest

from shared.resilience import Bulkhead, BulkheadConfig, BulkheadFull, DeadlineExceeded, Pipeline, deadline
from shared.resilience.testing import FakeClock
from tests.unit.resilience.dependencies import Dependency, Slow


def make(clock: FakeClock, **settings: Any) -> Pipeline:
    values = {"max_concurrent_calls": 2, "max_wait_duration": 1, "max_waiting": 3}
    return Pipeline("stock", bulkhead=BulkheadConfig(**(values | settings)), clock=clock)


async def start(clock: FakeClock, pipeline: Pipeline, dependency: Dependency, calls: int) -> list[asyncio.Task]:
    tasks = [asyncio.create_task(pipeline.call(dependency)) for _ in range(calls)]
    await clock.settle()
    return tasks


async def outcomes(tasks: list[asyncio.Task]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_no_more_calls_run_than_there_are_slots(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, Slow(0.1))
    tasks = await start(clock, pipeline, dependency, 5)
    assert (dependency.running, pipeline.bulkhead.snapshot().waiting) == (2, 3)
    await clock.advance(1)
    assert [await task for task in tasks] == ["late"] * 5
    assert dependency.most_running == 2
    assert pipeline.bulkhead.snapshot().available == 2


async def test_who_comes_first_is_served_first(clock: FakeClock) -> None:
    pipeline = make(clock, max_concurrent_calls=1)
    order: list[int] = []

    async def work(number: int) -> None:
        order.append(number)
        await clock.sleep(0.1)

    tasks = [asyncio.create_task(pipeline.call(work, number)) for number in range(4)]
    await clock.advance(1)
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3]


async def test_a_newcomer_does_not_overtake_those_in_line(clock: FakeClock) -> None:
    bulkhead = Bulkhead("stock", BulkheadConfig(max_concurrent_calls=1, max_wait_duration=1), clock=clock)
    await bulkhead.acquire()
    waiting = asyncio.create_task(bulkhead.acquire())
    await clock.settle()
    bulkhead.release()
    # The slot belongs to the waiter already, though it has not run since.
    assert bulkhead.snapshot().available == 0
    await waiting


async def test_a_full_line_refuses_at_once_and_says_that_it_is_full(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, Slow(0.1))
    tasks = await start(clock, pipeline, dependency, 4)
    assert not pipeline.bulkhead.full
    tasks += await start(clock, pipeline, dependency, 2)
    assert pipeline.bulkhead.full
    assert isinstance(tasks[5].exception(), BulkheadFull)
    assert tasks[5].exception().retry_after == 1
    await clock.advance(1)
    assert dependency.calls == 5
    await outcomes(tasks)


async def test_waiting_ends_after_the_longest_wait(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, Slow(10))
    tasks = await start(clock, pipeline, dependency, 3)
    await clock.advance(0.99)
    assert not tasks[2].done()
    await clock.advance(0.01)
    assert isinstance(tasks[2].exception(), BulkheadFull)
    await clock.advance(20)
    await outcomes(tasks)
    assert pipeline.bulkhead.snapshot() == type(pipeline.bulkhead.snapshot())("stock", 2, 2, 0, 1)


async def test_without_a_wait_a_call_that_finds_no_slot_is_refused_at_once(clock: FakeClock) -> None:
    pipeline, dependency = make(clock, max_wait_duration=0), Dependency(clock, Slow(1))
    tasks = await start(clock, pipeline, dependency, 3)
    assert isinstance(tasks[2].exception(), BulkheadFull)
    await clock.advance(1)
    await outcomes(tasks)


async def test_nobody_waits_longer_than_the_caller(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, Slow(10))
    tasks = await start(clock, pipeline, dependency, 2)
    with deadline(0.3, clock=clock):
        late = asyncio.create_task(pipeline.call(dependency))
        await clock.advance(0.3)
    error = late.exception()
    assert isinstance(error, DeadlineExceeded)
    assert not error.attempted
    await clock.advance(10)
    await outcomes(tasks)


async def test_a_cancelled_waiter_leaves_the_line(clock: FakeClock) -> None:
    pipeline, dependency = make(clock), Dependency(clock, Slow(0.5))
    tasks = await start(clock, pipeline, dependency, 4)
    tasks[2].cancel()
    await clock.advance(2)
    assert [type(result) for result in await outcomes(tasks)] == [str, str, asyncio.CancelledError, str]
    assert pipeline.bulkhead.snapshot().available == 2


async def test_a_slot_that_arrives_together_with_the_cancellation_is_passed_on(clock: FakeClock) -> None:
    bulkhead = Bulkhead("stock", BulkheadConfig(max_concurrent_calls=1, max_wait_duration=9), clock=clock)
    await bulkhead.acquire()
    first, second = asyncio.create_task(bulkhead.acquire()), asyncio.create_task(bulkhead.acquire())
    await clock.settle()
    bulkhead.release()
    first.cancel()
    await clock.settle()
    assert first.cancelled()
    assert second.done()
    assert second.exception() is None
    bulkhead.release()
    assert bulkhead.snapshot().available == 1


async def test_a_call_that_fails_or_is_cancelled_frees_its_slot(clock: FakeClock) -> None:
    pipeline = make(clock, max_wait_duration=0)
    for _ in range(5):
        with pytest.raises(ValueError, match="down"):
            await pipeline.call(Dependency(clock, ValueError("down")))
        task = asyncio.create_task(pipeline.call(clock.sleep, 10))
        await clock.settle()
        task.cancel()
        await outcomes([task])
    assert pipeline.bulkhead.snapshot().available == 2


async def test_more_releases_than_slots_taken_make_no_new_slots(clock: FakeClock) -> None:
    bulkhead = Bulkhead("stock", BulkheadConfig(max_concurrent_calls=1, max_wait_duration=0), clock=clock)
    bulkhead.release()
    await bulkhead.acquire()
    with pytest.raises(BulkheadFull):
        await bulkhead.acquire()
