"""Whatever happens to calls, every permit, slot and share of the budget comes back.

RESILIENCE_OPERATIONS sets how many random operations are made.
"""

import asyncio
import os
from random import Random
from typing import Any

import pytest

from shared.resilience import (
    BudgetConfig,
    BulkheadConfig,
    CacheConfig,
    CircuitBreakerConfig,
    Fault,
    HedgeConfig,
    Pipeline,
    RateLimiterConfig,
    ResilienceError,
    RetryBudget,
    RetryConfig,
    State,
    deadline,
)
from shared.resilience.events import Event, HedgeStarted, RetryScheduled
from shared.resilience.testing import FakeClock, seeded_random

OPERATIONS = int(os.environ.get("RESILIENCE_OPERATIONS", "4000"))
SLOTS = 6
TRIALS = 3
STARTS, PERIOD = 12, 0.5
BUDGET = BudgetConfig(ratio=0.2, floor=3, max_tokens=1000, token_ratio=1000)


class DownError(Exception):
    pass


class IgnoredError(Exception):
    pass


class Storm:
    """A pipeline with every layer, and calls that end in every way."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.clock = FakeClock()
        self.budget = RetryBudget("stock", BUDGET)
        self.pipeline = Pipeline(
            "stock",
            deadline=3,
            retry=RetryConfig(max_attempts=4, wait_duration=0.1, retry_exceptions=(DownError, TimeoutError)),
            budget=self.budget,
            hedge=HedgeConfig(delay=0.2, max_hedges=2),
            circuit_breaker=CircuitBreakerConfig(
                sliding_window_size=20,
                minimum_number_of_calls=10,
                wait_duration_in_open_state=1,
                permitted_calls_in_half_open=TRIALS,
                max_wait_duration_in_half_open=5,
                automatic_transition=seed % 2 == 0,
                ignore_exceptions=(IgnoredError,),
            ),
            cache=CacheConfig(stale_if_error=0.5, single_flight=True, max_entries=3),
            rate_limiter=RateLimiterConfig(
                limit_for_period=STARTS, limit_refresh_period=PERIOD, timeout_duration=0.4, max_waiting=8
            ),
            bulkhead=BulkheadConfig(max_concurrent_calls=SLOTS, max_wait_duration=0.3, max_waiting=4),
            timeout=0.6,
            clock=self.clock,
            random=seeded_random(seed),
        )
        self.tasks: dict[asyncio.Task, None] = {}  # in the order of their beginning, so that a seed says all
        self.active_calls = 0
        self.running = 0
        self.overruns: list[str] = []
        self.pipeline.subscribe(self.check_grant, RetryScheduled, HedgeStarted)

    def check_grant(self, _: Event) -> None:
        """At the moment of a grant the repeats are within their share, by the test's own count of the calls."""
        repeats = self.budget.snapshot().active_retries
        if repeats > max(BUDGET.floor, BUDGET.ratio * self.active_calls):
            self.overruns.append(f"{repeats} repeats of {self.active_calls} calls")

    async def dependency(self) -> int:
        self.running += 1
        if self.running > SLOTS:
            self.overruns.append(f"{self.running} calls in {SLOTS} slots")
        try:
            if self.random.random() < 0.6:
                await self.clock.sleep(self.random.choice([0.01, 0.15, 0.25, 0.5, 2]))
            kind = self.random.random()
            if kind < 0.3:
                raise DownError
            if kind < 0.35:
                raise IgnoredError
            return 7
        finally:
            self.running -= 1

    async def call(self) -> None:
        self.active_calls += 1
        try:
            with deadline(self.random.choice([0.3, 1, 10]), clock=self.clock):
                key = self.random.choice([None, None, None, "a", "b", "c", "d"])
                await self.pipeline.call(self.dependency, idempotent=self.random.random() < 0.8, cache_key=key)
        except (DownError, IgnoredError, TimeoutError, ResilienceError):
            pass
        finally:
            self.active_calls -= 1

    async def step(self) -> None:
        choice = self.random.random()
        if choice < 0.55:
            task = asyncio.create_task(self.call())
            self.tasks[task] = None
            task.add_done_callback(self.tasks.pop)
        elif choice < 0.7 and self.tasks:
            self.random.choice(list(self.tasks)).cancel()
        elif choice < 0.98:
            self.clock.tick(self.random.choice([0, 0.01, 0.05, 0.1, 0.3]))
            for _ in range(self.random.randrange(6)):
                await asyncio.sleep(0)
        else:
            self.disturb()

    def disturb(self) -> None:
        breaker = self.pipeline.circuit_breaker
        actions: list[Any] = [
            breaker.reset,
            breaker.transition_to_open,
            breaker.transition_to_metrics_only,
            lambda: self.pipeline.faults.inject(Fault(latency=0.2, jitter=0.3, rate=0.3), seconds=1),
            lambda: self.pipeline.faults.inject(Fault(error=DownError, rate=0.5), seconds=0.5),
            self.pipeline.faults.clear,
            lambda: self.pipeline.switch("rate_limiter", self.random.random() < 0.7),
            lambda: self.pipeline.switch("cache", self.random.random() < 0.7),
            lambda: self.pipeline.switch("hedge", self.random.random() < 0.5),
            lambda: self.pipeline.switch("bulkhead", True),
            lambda: self.pipeline.switch("retry", self.random.random() < 0.5),
        ]
        self.random.choice(actions)()

    async def calm(self) -> None:
        """Let everything end."""
        while self.tasks:
            await self.clock.advance(1)
        # What has begun in this period stays taken until its end.
        await self.clock.advance(PERIOD)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2])
async def test_no_permit_slot_or_share_leaks_and_no_limit_is_exceeded(seed: int) -> None:
    storm = Storm(seed)
    for number in range(OPERATIONS // 2):
        await storm.step()
        if number % 500 == 499:
            await storm.calm()
            check_nothing_is_held(storm)
    await storm.calm()
    check_nothing_is_held(storm)
    now = storm.pipeline.budget.snapshot()
    # The storm has been through what it is about.
    assert now.granted > OPERATIONS / 200
    assert now.refused > 0
    assert storm.pipeline.bulkhead.snapshot().refused > 0
    assert storm.pipeline.circuit_breaker.snapshot().not_permitted_calls > 0
    assert storm.pipeline.rate_limiter.snapshot().refused > 0
    assert storm.pipeline.cache.snapshot().stale > 0
    assert storm.pipeline.cache.snapshot().shared > 0


def check_nothing_is_held(storm: Storm) -> None:
    assert storm.overruns == []
    assert storm.running == 0
    bulkhead = storm.pipeline.bulkhead.snapshot()
    assert (bulkhead.available, bulkhead.waiting) == (SLOTS, 0)
    limiter = storm.pipeline.rate_limiter.snapshot()
    assert (limiter.waiting, limiter.available) == (0, STARTS)
    assert storm.pipeline.cache._flights._waiting == {}
    assert storm.pipeline.cache.snapshot().entries <= 3
    budget = storm.budget.snapshot()
    assert (budget.active_calls, budget.active_retries) == (0, 0)
    breaker = storm.pipeline.circuit_breaker
    if breaker.state is not State.HALF_OPEN:
        breaker.transition_to_open()
        breaker.transition_to_half_open()
    spent = breaker.snapshot().buffered_calls
    permits = [breaker.try_acquire() for _ in range(TRIALS + 1)]
    assert permits.count(None) == 1 + spent
    breaker.reset()
