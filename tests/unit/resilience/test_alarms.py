"""Alarms: a queue that keeps time as exactly as a timer each would."""

import asyncio

from shared.resilience.alarms import Alarms
from shared.resilience.testing import FakeClock


class Counting(FakeClock):
    """Counts the timers that were asked for."""

    timers = 0

    def call_later(self, delay, callback, *args):
        self.timers += 1
        return super().call_later(delay, callback, *args)


def set_alarm(alarms: Alarms, clock: FakeClock, rung: list, name: str):
    return alarms.set(clock.monotonic(), lambda: rung.append((name, clock.monotonic())), asyncio.get_running_loop())


async def test_each_alarm_rings_at_its_time(clock: FakeClock) -> None:
    alarms, rung = Alarms(1, clock), []
    for name in "abc":
        set_alarm(alarms, clock, rung, name)
        clock.tick(0.25)
    await clock.advance(5)
    assert rung == [("a", 1001), ("b", 1001.25), ("c", 1001.5)]


async def test_a_cancelled_alarm_does_not_ring(clock: FakeClock) -> None:
    alarms, rung = Alarms(1, clock), []
    first, second, third = (set_alarm(alarms, clock, rung, name) for name in "abc")
    second.cancel()
    first.cancel()
    await clock.advance(5)
    third.cancel()
    assert [name for name, _ in rung] == ["c"]


async def test_alarms_that_are_set_and_cancelled_leave_nothing_and_need_few_timers() -> None:
    clock = Counting()
    alarms, rung = Alarms(1, clock), []
    for _ in range(10_000):
        set_alarm(alarms, clock, rung, "x").cancel()
        clock.tick(0.001)
        await asyncio.sleep(0)
    assert rung == []
    assert clock.timers <= 12
    assert len(alarms._queue) == 0


async def test_an_alarm_set_while_another_rings_is_kept(clock: FakeClock) -> None:
    alarms, rung = Alarms(1, clock), []
    loop = asyncio.get_running_loop()
    alarms.set(clock.monotonic(), lambda: set_alarm(alarms, clock, rung, "second"), loop)
    await clock.advance(1.5)
    assert rung == []
    await clock.advance(0.5)
    assert rung == [("second", 1002)]
