"""Whatever callers do, no period admits more than its limit, nobody overtakes, and nobody waits in vain."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.resilience import RateLimiter, RateLimiterConfig, RateLimitExceeded
from shared.resilience.testing import FakeClock
from tests.fixtures.examples import examples

# Binary fractions of a second, so that boundaries are met exactly.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(1, 4)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("advance"), st.integers(1, 80)),
        st.tuples(st.just("block"), st.integers(1, 80)),
    ),
    max_size=40,
)


class Callers:
    """Callers of one limiter: when each came, what it was told, and when it was admitted."""

    def __init__(self, limit: int, period: float, timeout: float) -> None:
        self.clock = FakeClock()
        self.period, self.timeout, self.limit = period, timeout, limit
        config = RateLimiterConfig(
            limit_for_period=limit, limit_refresh_period=period, timeout_duration=timeout, max_waiting=12
        )
        self.limiter = RateLimiter("stock", config, clock=self.clock)
        self.tasks: list[asyncio.Task[None]] = []
        self.came: dict[int, float] = {}
        self.admitted: dict[int, float] = {}
        self.refused: dict[int, RateLimitExceeded] = {}
        self.blocked = False

    async def come(self, number: int) -> None:
        self.came[number] = self.clock.monotonic()
        try:
            await self.limiter.acquire()
        except RateLimitExceeded as error:
            self.refused[number] = error
        else:
            self.admitted[number] = self.clock.monotonic()

    async def play(self, steps: list[tuple[str, int]]) -> None:
        for kind, amount in steps:
            if kind == "call":
                self.tasks += [asyncio.create_task(self.come(len(self.tasks) + n)) for n in range(amount)]
            elif kind == "cancel" and amount < len(self.tasks):
                self.tasks[amount].cancel()
            elif kind == "advance":
                await self.clock.advance(amount / 16)
            elif kind == "block":
                # The event loop hangs, timers ring late.
                self.clock.tick(amount / 16)
                self.blocked = True
            await self.clock.settle()
        await self.clock.advance(200 * self.period)
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def check(self) -> None:
        periods = [int((at - 1000) / self.period) for at in self.admitted.values()]
        assert all(periods.count(number) <= self.limit for number in set(periods))
        assert list(self.admitted) == sorted(self.admitted), "somebody overtook"
        if not self.blocked:
            waits = [at - self.came[number] for number, at in self.admitted.items()]
            assert max(waits, default=0) <= self.timeout
        assert all(error.retry_after > 0 for error in self.refused.values())
        assert all(error.retry_after > self.timeout for error in self.refused.values() if error.reason == "wait")
        left = self.limiter.snapshot()
        assert (left.waiting, left.available, self.clock.pending) == (0, self.limit, 0)


@settings(deadline=None, max_examples=examples(150))
@given(st.integers(1, 4), st.sampled_from([0.25, 1, 3]), st.sampled_from([0, 0.5, 2, 10]), STEPS)
def test_no_period_admits_more_than_its_limit_and_nobody_overtakes(
    limit: int, period: float, timeout: float, steps: list[tuple[str, int]]
) -> None:
    async def play() -> None:
        callers = Callers(limit, period, timeout)
        await callers.play(steps)
        callers.check()

    asyncio.run(play())
