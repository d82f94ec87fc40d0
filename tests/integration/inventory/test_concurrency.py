"""Stock under many hands at once, in one process and as several processes would."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import pytest

from services.inventory.catalogue import Catalogue, Entry
from services.inventory.reservation import InsufficientStock, Outcome, State, StockError
from services.inventory.stock import Stock
from shared.chassis.database import Database
from tests.integration.inventory.parts import HandClock, Units, assert_sound, units

LIMITED = Entry(sku="print-limited", name="Print", description="", prices={"EUR": 4900}, stock=100)


@pytest.fixture
async def replicas(database: Database, database_url: str, clock: HandClock) -> AsyncIterator[list[Stock]]:
    """Two services on one database, each with connections of its own."""
    other = Database(database_url, wait_seconds=60, synchronous="normal")
    yield [Stock(database, clock), Stock(other, clock)]
    await other.close()


async def _try_to_hold(stock: Stock, name: str, quantity: int = 1) -> Outcome | None:
    try:
        return (await stock.reserve(name, {"print-limited": quantity}, 60))[1]
    except InsufficientStock:
        return None


async def test_of_500_who_want_the_last_100_exactly_100_get_one(database: Database, stock: Stock) -> None:
    await Catalogue(database).seed([LIMITED])
    answers = Counter(await asyncio.gather(*(_try_to_hold(stock, f"o{n}") for n in range(500))))
    assert answers == {Outcome.HELD: 100, None: 400}
    assert (await units(database))["print-limited"] == Units(100, 0, 100, 0)
    await assert_sound(database)


async def test_two_replicas_sell_no_more_than_one_would(database: Database, replicas: list[Stock]) -> None:
    await Catalogue(database).seed([LIMITED])
    answers = Counter(await asyncio.gather(*(_try_to_hold(replicas[n % 2], f"o{n}") for n in range(500))))
    assert answers == {Outcome.HELD: 100, None: 400}
    await assert_sound(database)


async def test_the_same_reservation_at_both_replicas_at_once_holds_once(
    database: Database, replicas: list[Stock]
) -> None:
    await Catalogue(database).seed([LIMITED])
    for name in range(20):
        answers = Counter(await asyncio.gather(*(_try_to_hold(replicas[n % 2], f"o{name}", 3) for n in range(6))))
        assert answers == {Outcome.HELD: 1, Outcome.REPEATED: 5}
    assert (await units(database))["print-limited"].held == 60


async def test_a_hold_is_either_committed_or_expired_never_both(
    database: Database, replicas: list[Stock], clock: HandClock
) -> None:
    names = [f"o{n}" for n in range(40)]
    for name in names:
        await replicas[0].reserve(name, {"anchor": 1, "cable": 1} if name in names[:5] else {"anchor": 1}, 60)
        if name == "o17":
            clock.pass_by(5)  # so that some are due and some are not
    clock.pass_by(56)
    commits = (replicas[n % 2].commit(name) for n, name in enumerate(names))
    sweeps = (replica.expire(3) for replica in replicas * 5)
    results = await asyncio.gather(*commits, *sweeps, return_exceptions=True)
    assert all(not isinstance(result, BaseException) or isinstance(result, StockError) for result in results)
    states = Counter([(await replicas[0].find(name)).state for name in names])
    assert states[State.COMMITTED] >= 22  # what is not due cannot expire
    assert states[State.COMMITTED] + states[State.EXPIRED] == 40
    await assert_sound(database)


async def test_replicas_that_sweep_together_expire_each_hold_once(
    database: Database, replicas: list[Stock], clock: HandClock
) -> None:
    for n in range(40):
        await replicas[0].reserve(f"o{n}", {"anchor": 2}, 60)
    clock.pass_by(60)
    counts = await asyncio.gather(*(replica.expire(7) for replica in replicas * 6))
    assert sum(counts) == 40
    assert (await units(database))["anchor"] == Units(100, 100, 0, 0)


async def test_random_work_on_overlapping_items_neither_deadlocks_nor_loses_a_unit(
    database: Database, replicas: list[Stock], clock: HandClock
) -> None:
    random = Random(11)
    skus = ["bell", "anchor", "cable"]

    async def customer(n: int) -> None:
        stock = replicas[n % 2]
        for _ in range(12):
            wanted = {sku: random.randint(1, 3) for sku in random.sample(skus, random.randint(1, 3))}
            name = f"o{random.randint(1, 60)}"
            work = random.choice(["reserve", "reserve", "commit", "release"])
            try:
                await (stock.reserve(name, wanted, 30) if work == "reserve" else getattr(stock, work)(name))
            except StockError:
                continue
            finally:
                clock.pass_by(0.2)

    async def sweeper(stock: Stock) -> None:
        for _ in range(30):
            await stock.expire(4)

    async with asyncio.timeout(60):
        await asyncio.gather(*(customer(n) for n in range(24)), *(sweeper(replica) for replica in replicas))
    await assert_sound(database)
