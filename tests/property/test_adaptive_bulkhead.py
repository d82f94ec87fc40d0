"""Whatever calls do, the limit stays within its bounds and every slot comes back."""

import asyncio
import contextlib
import os
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.resilience import AdaptiveBulkheadConfig, AttemptTimeout, BulkheadFull, Pipeline
from shared.resilience.events import LimitChanged
from shared.resilience.gradient import Gradient
from shared.resilience.testing import FakeClock
from tests.fixtures.examples import examples

OPERATIONS = int(os.environ.get("RESILIENCE_OPERATIONS", "4000"))


@settings(deadline=None, max_examples=examples(200))
@given(
    st.tuples(st.integers(1, 30), st.integers(0, 30), st.integers(0, 30)),
    st.floats(0.01, 1),
    st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 100), st.booleans(), st.floats(0, 3)), max_size=200),
)
def test_the_limit_is_always_within_its_bounds(
    limits: tuple[int, int, int], smoothing: float, calls: list[tuple[float, int, bool, float]]
) -> None:
    lowest, more, most = limits
    config = AdaptiveBulkheadConfig(
        type="adaptive",
        min_limit=lowest,
        initial_limit=lowest + more,
        max_limit=lowest + more + most,
        smoothing=smoothing,
        window_calls=2,
    )
    gradient, now = Gradient(config, 0), 0.0
    for elapsed, active, dropped, passed in calls:
        now += passed
        before = gradient.limit
        gradient.record(now, elapsed, active, dropped=dropped)
        assert config.min_limit <= gradient.limit <= config.max_limit
        assert gradient.usual >= 0
        if active < before / 2 and dropped:
            assert gradient.limit <= before


class DownError(Exception):
    pass


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2])
async def test_no_slot_leaks_while_the_limit_moves(seed: int) -> None:
    random, clock = Random(seed), FakeClock()
    config = AdaptiveBulkheadConfig(
        type="adaptive",
        min_limit=2,
        initial_limit=4,
        max_limit=12,
        window=0.2,
        window_calls=3,
        smoothing=0.6,
        max_wait_duration=0.5,
        max_waiting=6,
    )
    pipeline = Pipeline("stock", bulkhead=config, timeout=0.6, clock=clock)
    limits: list[int] = []
    pipeline.subscribe(lambda event: limits.append(event.after), LimitChanged)
    running = 0

    async def call() -> None:
        with contextlib.suppress(DownError, BulkheadFull, AttemptTimeout):
            await pipeline.call(dependency)

    async def dependency() -> None:
        nonlocal running
        running += 1
        assert running <= config.max_limit
        try:
            await clock.sleep(random.choice([0.01, 0.02, 0.05, 0.3, 2]) * (1 + running / 6))
            if random.random() < 0.2:
                raise DownError
        finally:
            running -= 1

    tasks: set[asyncio.Task[None]] = set()
    for _ in range(OPERATIONS // 2):
        choice = random.random()
        if choice < 0.55:
            task = asyncio.create_task(call())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        elif choice < 0.65 and tasks:
            random.choice(sorted(tasks, key=lambda task: task.get_name())).cancel()
        else:
            clock.tick(random.choice([0.01, 0.02, 0.1]))
            for _ in range(random.randrange(6)):
                await asyncio.sleep(0)
    outcomes = asyncio.gather(*tasks, return_exceptions=True)
    await clock.advance(10)
    assert all(outcome is None or isinstance(outcome, asyncio.CancelledError) for outcome in await outcomes)
    now = pipeline.bulkhead.snapshot()
    assert (running, now.waiting, now.available) == (0, 0, now.max_concurrent_calls)
    # It has been through what it is about: the limit went up and down, and calls were turned away.
    assert len(set(limits)) > 4
    assert now.refused > 0
