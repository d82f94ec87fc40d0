"""What a dependency that fails half of its calls is asked, by naive retries and by ours.

    make bench-retries ARGS="--callers 200 --seconds 30"

200 callers, each with about a call a second, for 30 s of simulated time: the clock jumps from event to event, all else
is the real library. Every way meets the same chance. What counts is how many requests reach the dependency for each
call that was made.
"""

import argparse
import asyncio
import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable
from random import Random

from shared.resilience import BudgetConfig, CircuitBreakerConfig, Pipeline, RetryBudget, RetryConfig
from shared.resilience.testing import FakeClock

_BAR = 1.2
Work = Callable[[], Awaitable[None]]
Call = Callable[[Work], Awaitable[None]]


class DownError(Exception):
    """The dependency failed."""


class Dependency:
    """Fails half of its calls after 5 to 25 ms."""

    def __init__(self, clock: FakeClock, random: Random) -> None:
        self._clock, self._random = clock, random
        self.requests = 0

    async def __call__(self) -> None:
        self.requests += 1
        await self._clock.sleep(self._random.uniform(0.005, 0.025))
        if self._random.random() < 0.5:
            raise DownError


def naive(clock: FakeClock, attempts: int) -> Call:
    """The loop that everybody has written once."""

    async def call(work: Work) -> None:
        for attempt in range(1, attempts + 1):
            try:
                await work()
            except DownError:
                if attempt == attempts:
                    raise
                await clock.sleep(0.05 * 2 ** (attempt - 1))
            else:
                return

    return call


def ours(clock: FakeClock, random: Random, *, breaker: bool) -> Call:
    """Five attempts, too, if the budget allows them; the budget is the default one."""
    pipeline = Pipeline(
        "storm",
        retry=RetryConfig(max_attempts=5, wait_duration=0.05),
        budget=RetryBudget("storm", BudgetConfig()),
        circuit_breaker=CircuitBreakerConfig(
            sliding_window_type="time",
            sliding_window_size=10,
            minimum_number_of_calls=20,
            wait_duration_in_open_state=2,
            automatic_transition=True,
        )
        if breaker
        else None,
        idempotent=True,
        clock=clock,
        random=random,
    )
    return pipeline.call


async def storm(make: Callable[[FakeClock, Random], Call], callers: int, seconds: float) -> tuple[int, int, int]:
    """Calls made, calls that succeeded, requests that reached the dependency."""
    clock = FakeClock()
    dependency = Dependency(clock, Random(1))
    call = make(clock, Random(2))
    end = clock.monotonic() + seconds
    made = succeeded = 0

    async def caller(random: Random) -> None:
        nonlocal made, succeeded
        await clock.sleep(random.uniform(0, 1))
        while clock.monotonic() < end:
            made += 1
            with contextlib.suppress(Exception):
                await call(dependency)
                succeeded += 1
            await clock.sleep(random.uniform(0.5, 1.5))

    await clock.run(_all([caller(Random(number)) for number in range(callers)]))
    return made, succeeded, dependency.requests


async def _all(work: list[Awaitable[None]]) -> None:
    await asyncio.gather(*work)


async def report(callers: int, seconds: float) -> str:
    """One line a way, and the bar."""
    ways: dict[str, Callable[[FakeClock, Random], Call]] = {
        "no retries": lambda clock, _: naive(clock, 1),
        "naive, 3 attempts": lambda clock, _: naive(clock, 3),
        "naive, 5 attempts": lambda clock, _: naive(clock, 5),
        "ours, 5 attempts, budget": lambda clock, random: ours(clock, random, breaker=False),
        "ours, 5 attempts, budget, breaker": lambda clock, random: ours(clock, random, breaker=True),
    }
    lines = [f"{callers} callers, {seconds:g} s, half of all requests fail", ""]
    lines.append(f"{'':36}{'calls':>8}{'succeeded':>11}{'requests':>10}{'requests / call':>17}")
    ratios: dict[str, float] = {}
    for name, make in ways.items():
        made, succeeded, requests = await storm(make, callers, seconds)
        ratios[name] = requests / made
        lines.append(f"{name:36}{made:8}{succeeded / made:10.0%} {requests:10}{requests / made:17.2f}")
    worst = max(ratio for name, ratio in ratios.items() if name.startswith("ours"))
    held = "held" if worst <= _BAR else "MISSED"
    return "\n".join([*lines, "", f"at most {_BAR} for ours: {held}", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    sys.stdout.write(asyncio.run(report(options.callers, options.seconds)))


if __name__ == "__main__":
    main()
