"""The clock for tests is itself tested: other tests believe it."""

import asyncio

import pytest

from shared.resilience.testing import FakeClock, seeded_random


async def test_sleepers_wake_in_the_order_of_their_times(clock: FakeClock) -> None:
    order: list[tuple[int, float]] = []

    async def sleep(seconds: int) -> None:
        await clock.sleep(seconds)
        order.append((seconds, clock.monotonic()))

    tasks = [asyncio.create_task(sleep(seconds)) for seconds in (3, 1, 2)]
    await clock.advance(2.5)
    assert order == [(1, 1001), (2, 1002)]
    assert clock.monotonic() == 1002.5
    await clock.advance(0.5)
    await asyncio.gather(*tasks)


async def test_run_takes_every_wait_at_once(clock: FakeClock) -> None:
    async def work() -> float:
        for _ in range(1000):
            await clock.sleep(3600)
        return clock.monotonic()

    assert await clock.run(work()) == 1000 + 1000 * 3600


async def test_run_says_so_when_it_cannot_help(clock: FakeClock) -> None:
    with pytest.raises(RuntimeError, match="does not drive"):
        await clock.run(asyncio.Event().wait())


async def test_ticking_inside_a_task_runs_what_is_due_after_the_task_has_paused(clock: FakeClock) -> None:
    rang: list[int] = []
    clock.call_later(1, rang.append, 1)
    clock.tick(2)
    assert rang == []
    await asyncio.sleep(0)
    assert rang == [1]


def test_ticking_without_a_loop_runs_what_is_due_now(clock: FakeClock) -> None:
    rang: list[int] = []
    timer = clock.call_later(1, rang.append, 1)
    clock.call_later(2, rang.append, 2)
    timer.cancel()
    clock.tick(2)
    assert rang == [2]


def test_the_same_seed_gives_the_same_chance() -> None:
    assert seeded_random(3).random() == seeded_random(3).random()
    assert seeded_random(3).random() != seeded_random(4).random()
