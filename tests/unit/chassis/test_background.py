"""Background tasks: restarted with backoff, ended when told to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from shared.chassis.background import Background


class HandSet:
    """Time that passes only in waits, each of which is noted; after `limit` waits it stands still."""

    def __init__(self, limit: int = 1_000) -> None:
        self.now, self.waits, self.limit, self.done = 0.0, list[float](), limit, asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        if len(self.waits) == self.limit:
            self.done.set()
            await asyncio.Event().wait()
        self.waits.append(round(seconds, 3))
        self.now += seconds
        await asyncio.sleep(0)


def make(time: HandSet) -> tuple[Background, CollectorRegistry]:
    registry = CollectorRegistry()
    return Background(registry, monotonic=lambda: time.now, sleep=time.sleep, jitter=lambda: 1.0), registry


@pytest.fixture
async def run() -> AsyncIterator[Callable[..., Any]]:
    started: list[Background] = []

    async def run(task: Callable[[], Awaitable[None]], time: HandSet) -> CollectorRegistry:
        background, registry = make(time)
        background.add("work", task)
        background.start()
        started.append(background)
        await time.done.wait()
        return registry

    yield run
    for background in started:
        await background.stop()


async def test_a_task_that_fails_is_restarted_with_growing_waits(run: Any) -> None:
    time = HandSet(limit=9)

    async def fail() -> None:
        raise LookupError

    registry = await run(fail, time)
    assert time.waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 10.0]
    assert registry.get_sample_value("background_failures_total", {"task": "work"}) == 10


async def test_a_task_that_returns_is_restarted_too(run: Any, logged: list[dict[str, Any]]) -> None:
    async def end() -> None:
        pass

    await run(end, HandSet(limit=2))
    assert {record["event"] for record in logged} == {"background task returned"}


async def test_after_a_long_steady_run_the_first_wait_is_short_again(run: Any) -> None:
    time = HandSet(limit=6)

    async def fail_later() -> None:
        if len(time.waits) == 3:
            time.now += 61
        raise LookupError

    await run(fail_later, time)
    assert time.waits == [0.2, 0.4, 0.8, 0.2, 0.4, 0.8]


async def test_a_task_that_waited_for_what_was_cancelled_is_restarted(run: Any) -> None:
    time = HandSet(limit=2)

    async def wait_for_a_cancelled_future() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    await run(wait_for_a_cancelled_future, time)
    assert time.waits == [0.2, 0.4]


async def test_stopping_cancels_every_task_and_waits_for_its_end() -> None:
    background, _ = make(HandSet())
    began, ended = [asyncio.Event() for _ in range(3)], list[int]()

    def task(number: int) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            try:
                began[number].set()
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.append(number)

        return run

    for number in range(3):
        background.add(str(number), task(number))
    background.start()
    for event in began:
        await event.wait()
    await background.stop()
    assert sorted(ended) == [0, 1, 2]


async def test_a_task_that_loses_one_cancellation_ends_by_the_next() -> None:
    background, _ = make(HandSet())
    began = asyncio.Event()

    async def lose_one() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    background.add("loser", lose_one)
    background.start()
    await began.wait()
    async with asyncio.timeout(2):
        await background.stop()


async def test_a_task_that_never_ends_does_not_hold_up_the_stop(logged: list[dict[str, Any]]) -> None:
    background, _ = make(HandSet())
    began, let_go = asyncio.Event(), asyncio.Event()

    async def deaf() -> None:
        began.set()
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()

    background.add("deaf", deaf)
    background.start()
    await began.wait()
    (task,) = background._tasks
    await background.stop(seconds=0)
    assert logged[-1]["tasks"] == ["deaf"]
    let_go.set()
    await asyncio.wait([task])  # and once it does end, it is not started again


async def test_a_task_that_fails_while_it_is_stopped_is_not_restarted() -> None:
    background, registry = make(HandSet())
    began = asyncio.Event()

    async def fail_to_clean_up() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError

    background.add("work", fail_to_clean_up)
    background.start()
    await began.wait()
    async with asyncio.timeout(2):
        await background.stop()
    assert registry.get_sample_value("background_failures_total", {"task": "work"}) == 0


async def test_what_is_no_ordinary_error_ends_the_task(logged: list[dict[str, Any]]) -> None:
    class Fatal(BaseException):
        pass

    async def fail() -> None:
        raise Fatal

    background, registry = make(HandSet())
    background.add("fatal", fail)
    background.start()
    (task,) = background._tasks
    await asyncio.wait([task])
    assert isinstance(task.exception(), Fatal)
    await background.stop()
    assert registry.get_sample_value("background_failures_total", {"task": "fatal"}) == 0


def test_two_tasks_of_one_name_are_a_defect() -> None:
    background = Background(CollectorRegistry())
    background.add("x", asyncio.Event().wait)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'x'"):
        background.add("x", asyncio.Event().wait)  # type: ignore[arg-type]


async def test_the_tasks_of_the_loop_are_counted_also_by_another_thread() -> None:
    background, registry = make(HandSet(limit=0))
    assert registry.get_sample_value("asyncio_tasks") == 0
    background.start()
    before = await asyncio.to_thread(registry.get_sample_value, "asyncio_tasks")
    waiting = [asyncio.create_task(asyncio.Event().wait()) for _ in range(3)]
    assert await asyncio.to_thread(registry.get_sample_value, "asyncio_tasks") == before + 3
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert await asyncio.to_thread(registry.get_sample_value, "asyncio_tasks") == before
