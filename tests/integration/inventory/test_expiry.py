"""The task that expires holds: when it wakes, and that nothing due is left behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from prometheus_client import CollectorRegistry

from services.inventory.expiry import GRACE_SECONDS, Expiry
from services.inventory.metrics import InventoryMetrics
from services.inventory.reservation import State
from services.inventory.stock import Stock
from shared.chassis.clock import SystemClock
from shared.chassis.database import Database
from tests.integration.inventory.parts import HandClock, Units, units


class Watched(Stock):
    """Stock that tells when holds have been expired and when the next expiry was asked for."""

    def __init__(self, database: Database, clock: object) -> None:
        super().__init__(database, clock)  # type: ignore[arg-type]
        self.expired: asyncio.Queue[int] = asyncio.Queue()
        self.looked = asyncio.Event()

    async def expire(self, limit: int) -> int:
        count = await super().expire(limit)
        self.expired.put_nowait(count)
        return count

    async def next_expiry(self) -> int | None:
        due = await super().next_expiry()
        self.looked.set()
        return due


@pytest.fixture
def metrics() -> InventoryMetrics:
    return InventoryMetrics(CollectorRegistry())


@asynccontextmanager
async def running(expiry: Expiry) -> AsyncIterator[None]:
    task = asyncio.create_task(expiry.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_hold_taken_here_is_expired_when_its_time_comes(database: Database, metrics: InventoryMetrics) -> None:
    stock = Watched(database, SystemClock())
    async with running(Expiry(stock, SystemClock(), metrics, batch=10)):
        await asyncio.wait_for(stock.looked.wait(), 10)  # it sleeps by now, and only the new hold can wake it in time
        held, _ = await stock.reserve("o1", {"bell": 3}, 0.3)
        assert await asyncio.wait_for(stock.expired.get(), 10) == 1
        late = SystemClock().now() - (held.expires_at or 0) / 1000
    assert 0 <= late < 1
    assert (await stock.find("o1")).state is State.EXPIRED
    assert (await units(database))["bell"] == Units(10, 10, 0, 0)


async def test_a_hold_of_a_replica_that_died_is_expired_too(database: Database, metrics: InventoryMetrics) -> None:
    await Stock(database, SystemClock()).reserve("o1", {"bell": 3}, 0.2)
    stock = Watched(database, SystemClock())
    async with running(Expiry(stock, SystemClock(), metrics, batch=10)):
        assert await asyncio.wait_for(stock.expired.get(), 10) == 1


async def test_a_hold_that_another_replica_took_after_our_look_is_at_most_a_second_late(
    database: Database, metrics: InventoryMetrics
) -> None:
    stock = Watched(database, SystemClock())
    async with running(Expiry(stock, SystemClock(), metrics, batch=10)):
        await asyncio.wait_for(stock.looked.wait(), 10)
        held, _ = await Stock(database, SystemClock()).reserve("o1", {"bell": 3}, 1)
        assert await asyncio.wait_for(stock.expired.get(), 10) == 1
        # half a second for a busy machine; the task itself allows one
        assert SystemClock().now() - (held.expires_at or 0) / 1000 < 1.5


async def test_the_task_sleeps_until_a_hold_is_due_instead_of_asking_all_the_time(
    database: Database, metrics: InventoryMetrics
) -> None:
    looks = 0

    class Counting(Watched):
        async def next_expiry(self) -> int | None:
            nonlocal looks
            looks += 1
            return await super().next_expiry()

    stock = Counting(database, SystemClock())
    await stock.reserve("o1", {"bell": 1}, 1)
    async with running(Expiry(stock, SystemClock(), metrics, batch=10)):
        await asyncio.wait_for(stock.expired.get(), 10)
    assert looks <= 3


async def test_a_sweep_takes_all_that_is_due_in_small_batches(
    database: Database, clock: HandClock, metrics: InventoryMetrics
) -> None:
    stock = Watched(database, clock)
    for n in range(7):
        await stock.reserve(f"o{n}", {"anchor": 1, "cable": 1} if n < 5 else {"anchor": 1}, 60)
    await stock.reserve("later", {"anchor": 1}, 61)
    clock.pass_by(60)
    assert await Expiry(stock, clock, metrics, batch=3).sweep() == 7
    assert [stock.expired.get_nowait() for _ in range(stock.expired.qsize())] == [3, 3, 1]
    assert (await stock.find("later")).state is State.HELD
    assert metrics.expired._value.get() == 7


async def test_a_clock_that_jumps_ahead_ends_no_hold_before_its_time(
    database: Database, clock: HandClock, metrics: InventoryMetrics
) -> None:
    passed, stock = HandClock(0.0), Watched(database, clock)
    expiry = Expiry(stock, clock, metrics, batch=10, monotonic=passed.now)
    await stock.reserve("o1", {"bell": 3}, 110)
    over = 50 + GRACE_SECONDS
    for moment, jump, trusted in ((50, 3_600, False), (over - 1, 0, False), (over, 0, True)):
        clock.pass_by(moment - passed.now() + jump)
        passed.seconds = moment
        assert expiry._clock_is_trusted() is trusted
    async with running(expiry):
        assert await asyncio.wait_for(stock.expired.get(), 10) == 1


def test_a_clock_that_is_set_right_again_is_trusted_at_once(database: Database, metrics: InventoryMetrics) -> None:
    clock, passed = HandClock(), HandClock(0.0)
    expiry = Expiry(Stock(database, clock), clock, metrics, batch=10, monotonic=passed.now)
    for jump, trusted in ((3_600, False), (-3_600, True), (-3_600, True), (59, True)):
        clock.pass_by(jump)
        assert expiry._clock_is_trusted() is trusted


async def test_the_gauges_show_the_stock_of_all_products(database: Database, clock: HandClock) -> None:
    registry = CollectorRegistry()
    metrics, stock = InventoryMetrics(registry), Stock(database, clock)
    await stock.reserve("o1", {"bell": 3}, 60)
    await stock.reserve("o2", {"anchor": 20}, 60)
    await stock.commit("o2")
    await metrics.refresh(stock)
    shown = {kind: registry.get_sample_value("stock_units", {"kind": kind}) for kind in ("free", "held", "sold")}
    assert shown == {"free": 92, "held": 3, "sold": 20}
    assert registry.get_sample_value("inventory_holds", {"state": "held"}) == 1
