"""Time that passes when a test says so, and chance that is decided beforehand."""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry

from shared.chassis.database import Database
from shared.chassis.faults import Faults
from tests.fixtures.waiting import until_true


class HandTimer:
    def __init__(self, at: float, callback: Callable[[], object]) -> None:
        self.at, self.callback, self.is_cancelled = at, callback, False

    def cancel(self) -> None:
        self.is_cancelled = True


class HandTiming:
    """`late`: timers do not fire, as when no thread gets a turn."""

    def __init__(self) -> None:
        self.time, self.late = 1_000.0, False
        self.timers: list[HandTimer] = []

    def monotonic(self) -> float:
        return self.time

    def call_later(self, seconds: float, callback: Callable[[], object]) -> HandTimer:
        timer = HandTimer(self.time + seconds, callback)
        self.timers.append(timer)
        return timer

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        timer = self.call_later(seconds, event.set)
        await event.wait()
        timer.cancel()

    def advance(self, seconds: float) -> None:
        until = self.time + seconds
        while not self.late and (due := [t for t in self.timers if t.at <= until and not t.is_cancelled]):
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self.time = max(self.time, first.at)
            first.callback()
        self.time = until

    @property
    def pending(self) -> list[HandTimer]:
        return [timer for timer in self.timers if not timer.is_cancelled]

    async def reached(self, number: int) -> None:
        """Until that many timers are pending."""
        await until_true(lambda: len(self.pending) == number)


class Drawn(Random):
    """Gives these numbers, over and over."""

    def __init__(self, numbers: Sequence[float]) -> None:
        super().__init__(0)
        self._numbers = itertools.cycle(numbers)

    def random(self) -> float:
        return next(self._numbers)


class Bench:
    """Faults, and what surrounds them."""

    def __init__(self, database: Database, drawn: Sequence[float] = (0.5,)) -> None:
        self.timing, self.metrics, self.database = HandTiming(), CollectorRegistry(), database
        numbers = itertools.count(1)
        self.faults = Faults(
            self.metrics, database, timing=self.timing, random=Drawn(drawn), new_id=lambda: str(next(numbers))
        )
        self.faults.network.called["payment"] = True
        self.faults.idempotency.remembered = True

    def value(self, metric: str, kind: str) -> float | None:
        return self.metrics.get_sample_value(metric, {"kind": kind})


@contextmanager
def bench(directory: Path, **options: Any) -> Iterator[Bench]:
    made = Bench(Database(f"sqlite+aiosqlite:///{directory}/none.sqlite"), **options)
    try:
        yield made
    finally:
        made.faults.clear()
