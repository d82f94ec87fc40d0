"""The adaptive bulkhead: its limit follows what the dependency can take, in a model of one that queues."""

import asyncio
from typing import Any

import pytest

from shared.resilience import (
    AdaptiveBulkhead,
    AdaptiveBulkheadConfig,
    AttemptTimeout,
    BulkheadConfig,
    DeadlineExceeded,
    Pipeline,
    deadline,
)
from shared.resilience.events import LimitChanged
from shared.resilience.gradient import Gradient
from shared.resilience.testing import FakeClock
from tests.unit.resilience.dependencies import Dependency, DownError, Slow


def config(**settings: Any) -> AdaptiveBulkheadConfig:
    return AdaptiveBulkheadConfig(**({"type": "adaptive"} | settings))


class Server:
    """`workers` of them, each busy with a call for `seconds`; who finds none free queues."""

    def __init__(self, clock: FakeClock, workers: int, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds
        self.free = asyncio.Semaphore(workers)

    async def __call__(self) -> None:
        async with self.free:
            await self.clock.sleep(self.seconds)


async def keep_calling(clock: FakeClock, pipeline: Pipeline, server: Server, callers: int, seconds: float) -> None:
    """So many callers, each with one call after the other, for so long."""

    async def call_on() -> None:
        while True:
            await pipeline.call(server)

    tasks = [asyncio.create_task(call_on()) for _ in range(callers)]
    await clock.advance(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def under_load(clock: FakeClock, **settings: Any) -> Pipeline:
    values = {"min_limit": 2, "initial_limit": 4, "max_limit": 60, "max_wait_duration": 100, "window": 0.5}
    return Pipeline("stock", bulkhead=config(**(values | settings)), clock=clock)


def limit_of(pipeline: Pipeline) -> int:
    return pipeline.bulkhead.snapshot().max_concurrent_calls


async def test_the_limit_finds_the_knee_of_a_dependency_that_queues(clock: FakeClock) -> None:
    pipeline = under_load(clock)
    await keep_calling(clock, pipeline, Server(clock, workers=10, seconds=0.1), callers=40, seconds=60)
    # Below 10 workers idle; by Little's law more than 10 only wait. Gradient2 aims at tolerance * knee + queue_size.
    assert 10 <= limit_of(pipeline) <= 20
    assert pipeline.bulkhead.snapshot().available == limit_of(pipeline)


async def test_the_limit_falls_when_the_dependency_slows_down_and_recovers_with_it(clock: FakeClock) -> None:
    pipeline = under_load(clock)
    server = Server(clock, workers=10, seconds=0.1)
    await keep_calling(clock, pipeline, server, callers=40, seconds=60)
    before = limit_of(pipeline)
    server.seconds = 0.5
    await keep_calling(clock, pipeline, server, callers=40, seconds=8)
    during = limit_of(pipeline)
    assert during < before / 2
    server.seconds = 0.1
    await keep_calling(clock, pipeline, server, callers=40, seconds=60)
    assert 10 <= limit_of(pipeline) <= 20


async def test_nobody_waits_behind_a_limit_that_has_grown(clock: FakeClock) -> None:
    pipeline = under_load(clock, initial_limit=2, smoothing=1, window_calls=2)
    dependency = Dependency(clock, Slow(1))
    tasks = [asyncio.create_task(pipeline.call(dependency)) for _ in range(6)]
    await clock.advance(1)
    # Two calls have ended, the window is over and the limit is 6: the four that waited all run.
    assert (limit_of(pipeline), dependency.running) == (6, 4)
    await clock.advance(10)
    await asyncio.gather(*tasks)


async def test_a_change_of_the_limit_is_an_event(clock: FakeClock) -> None:
    pipeline = under_load(clock, smoothing=1, window_calls=4)
    await keep_calling(clock, pipeline, Server(clock, 10, 0.5), callers=4, seconds=0.6)
    [event] = pipeline.recent_events()
    assert isinstance(event, LimitChanged)
    assert (event.before, event.after, event.latency) == (4, 8, pytest.approx(0.5))


async def test_timeouts_shrink_the_limit(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", bulkhead=config(smoothing=1, window_calls=5), timeout=0.5, clock=clock)
    tasks = [asyncio.create_task(pipeline.call(clock.sleep, 9)) for _ in range(5)]
    await clock.advance(0.5)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [AttemptTimeout] * 5
    assert limit_of(pipeline) == 20
    tasks = [asyncio.create_task(pipeline.call(clock.sleep, 9)) for _ in range(5)]
    await clock.advance(0.5)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert limit_of(pipeline) == 10


async def test_a_quick_failure_tells_nothing_about_the_load(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", bulkhead=config(window_calls=1), clock=clock)
    for _ in range(20):
        clock.tick(1)
        with pytest.raises(DownError):
            await pipeline.call(Dependency(clock, DownError()))
    assert pipeline.bulkhead.gradient.usual == 0
    assert limit_of(pipeline) == 20


class Windows:
    """A Gradient that is fed whole windows."""

    def __init__(self, **settings: Any) -> None:
        self.gradient = Gradient(config(window_calls=10, **settings), 0)
        self.now = 0.0

    def pass_one(self, latency: float, active: int, dropped: int = 0) -> int:
        self.now += 1
        for number in range(10):
            self.gradient.record(self.now, latency, active, dropped=number < dropped)
        return self.gradient.limit

    def under_steady_overload(self, windows: int, knee: int, seconds: float = 0.1) -> int:
        """Always as many calls as the limit allows; what exceeds the knee queues."""
        for _ in range(windows):
            limit = self.gradient.limit
            self.pass_one(seconds * max(1.0, limit / knee), limit)
        return self.gradient.limit


def test_the_limit_does_not_grow_while_less_than_half_of_it_is_used() -> None:
    windows = Windows(initial_limit=20)
    assert {windows.pass_one(0.1, active=9) for _ in range(50)} == {20}
    assert [windows.pass_one(0.1, active=10) for _ in range(3)] == [20, 20, 20]
    # 20.8 now, of which 10 is less than half.
    assert [windows.pass_one(0.1, active=11) for _ in range(3)] == [21, 22, 22]


def test_a_window_needs_its_time_and_its_calls() -> None:
    gradient = Gradient(config(window=1, window_calls=10, smoothing=1), 0)
    for _ in range(50):
        gradient.record(0.99, 0.1, 20, dropped=False)
    assert gradient.limit == 20
    gradient.record(1.0, 0.1, 20, dropped=False)
    assert gradient.limit == 24
    for _ in range(9):
        gradient.record(9.0, 0.1, 24, dropped=False)
    assert gradient.limit == 24
    gradient.record(9.0, 0.1, 24, dropped=False)
    assert gradient.limit == 28


def test_one_timeout_among_many_calls_shrinks_the_limit_only_a_little() -> None:
    windows = Windows(initial_limit=100)
    windows.pass_one(0.1, active=100, dropped=1)
    assert windows.gradient.limit == 98
    windows.pass_one(0.1, active=100, dropped=10)
    assert windows.gradient.limit == 88


def test_under_steady_overload_the_limit_does_not_creep_away() -> None:
    windows = Windows(initial_limit=10, min_limit=2)
    after_ten_minutes = windows.under_steady_overload(600, knee=20)
    assert 20 <= after_ten_minutes <= 40
    assert windows.under_steady_overload(6000, knee=20) == after_ten_minutes


def test_a_dependency_that_is_slower_for_good_is_found_out_in_time() -> None:
    windows = Windows(initial_limit=10, min_limit=2)
    windows.under_steady_overload(300, knee=20)
    slower = [windows.under_steady_overload(1, knee=20, seconds=0.4) for _ in range(3000)]
    # At first it looks like overload, so the limit falls; but it stays so with fewer calls, too.
    assert min(slower) == 2
    assert 15 <= slower[-1] <= 40


def test_at_the_lowest_limit_a_latency_that_stays_soon_becomes_the_usual_one() -> None:
    windows = Windows(initial_limit=10, min_limit=10)
    windows.under_steady_overload(20, knee=100)
    assert windows.gradient.usual == pytest.approx(0.1)
    windows.gradient.reconfigure(config(window_calls=10, min_limit=100, initial_limit=100))
    for _ in range(30):
        windows.pass_one(0.4, active=100)
    assert windows.gradient.usual > 0.25


def test_after_a_long_overload_what_was_usual_then_is_soon_forgotten() -> None:
    windows = Windows()
    for _ in range(10):
        windows.pass_one(0.8, active=20)
    for _ in range(30):
        windows.pass_one(0.1, active=20)
    assert windows.gradient.usual < 0.21


async def test_what_was_never_sent_is_no_drop(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", bulkhead=config(window_calls=1, smoothing=1), clock=clock)
    clock.tick(2)
    with pytest.raises(DeadlineExceeded):
        await pipeline.call(Dependency(clock, DeadlineExceeded("other", attempted=False)))
    assert pipeline.bulkhead.gradient.usual == 0
    assert limit_of(pipeline) == 20
    with pytest.raises(DeadlineExceeded):
        await pipeline.call(Dependency(clock, DeadlineExceeded("other", attempted=True)))
    assert limit_of(pipeline) == 10


async def test_a_caller_who_gave_little_time_lowers_no_limit_for_the_others(clock: FakeClock) -> None:
    pipeline = Pipeline("stock", bulkhead=config(window_calls=1, smoothing=1), timeout=1, clock=clock)
    clock.tick(2)
    for given, limit in [(0.4, 20), (0.6, 10)]:
        with deadline(given, clock=clock), pytest.raises(DeadlineExceeded):
            await clock.run(pipeline.call(Dependency(clock, Slow(5))))
        assert limit_of(pipeline) == limit


async def test_other_settings_keep_what_was_learnt_within_the_new_limits(clock: FakeClock) -> None:
    bulkhead = AdaptiveBulkhead("stock", config(initial_limit=40, max_wait_duration=9), clock=clock)
    bulkhead.reconfigure(config(min_limit=1, initial_limit=1, max_limit=2, max_wait_duration=9))
    await bulkhead.acquire()
    await bulkhead.acquire()
    waiting = asyncio.create_task(bulkhead.acquire())
    await clock.settle()
    assert not waiting.done()
    bulkhead.reconfigure(config(min_limit=3, initial_limit=9))
    await clock.settle()
    assert waiting.done()
    assert bulkhead.snapshot().max_concurrent_calls == 3
    with pytest.raises(TypeError, match="'stock' is adaptive"):
        bulkhead.reconfigure(BulkheadConfig())


def test_limits_that_are_not_in_order_are_refused() -> None:
    with pytest.raises(ValueError, match="not in order: 5, 3, 200"):
        config(initial_limit=3)
