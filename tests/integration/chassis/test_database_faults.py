"""Statements and connections that fail on purpose, on real databases: as the driver fails, and over when it is over."""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, delete, insert, select

from shared.chassis.database import Database, DatabaseUnavailable
from shared.chassis.faults import DatabaseFault, DiskFault, Faults, PoolFault, Refused
from tests.fixtures.waiting import until_true
from tests.integration.chassis.conftest import create_notes
from tests.integration.chassis.notes import NOTES, add, assert_all_is_well, count

Block = Callable[[Database], Coroutine[object, object, None]]


@pytest.fixture
async def faults(database: Database) -> AsyncIterator[Faults]:
    made = Faults(CollectorRegistry(), database)
    yield made
    await made.close()


async def write_block(database: Database) -> None:
    async with database.write() as connection:
        await add(connection, 1)


async def read_block(database: Database) -> None:
    async with database.read() as connection:
        await connection.execute(select(NOTES))


def insert_one(connection: Connection) -> None:
    connection.execute(insert(NOTES).values(id=1, body="a note"))


async def transact(database: Database) -> None:
    await database.transact(insert_one)


async def query(database: Database) -> None:
    await database.query(lambda connection: connection.execute(select(NOTES)).all())


WRITES: list[Block] = [write_block, transact]
READS: list[Block] = [read_block, query]
BLOCKS = WRITES + READS


async def wipe(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(delete(NOTES))


EXPECTED = {
    ("locked", True): "database is locked",
    ("full", True): "database or disk is full",
    ("disconnected", True): "no active connection",
    ("locked", False): "lock timeout",
    ("full", False): "No space left on device",
    ("disconnected", False): "connection is closed",
}


@pytest.mark.parametrize("error", ["locked", "full", "disconnected"])
async def test_statements_fail_as_the_driver_fails_and_all_is_well_afterwards(
    database: Database, faults: Faults, error: str
) -> None:
    await read_block(database)  # the first connection asks the server who it is
    for block in BLOCKS:
        fault = faults.inject(DatabaseFault.model_validate({"error": error, "seconds": 60}))
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable, match=EXPECTED[error, database.is_sqlite]):
                await block(database)
        await database.ping()
        assert fault.struck == 3
        faults.clear()
        assert await count(database) == 0
        await block(database)
        await wipe(database)
    await assert_all_is_well(database)


async def test_reads_and_writes_are_told_apart(database: Database, faults: Faults) -> None:
    faults.inject(DatabaseFault(statements="write", error="full", seconds=60))
    for block in READS:
        await block(database)
    for block in WRITES:
        with pytest.raises(DatabaseUnavailable):
            await block(database)
    faults.clear()
    faults.inject(DatabaseFault(statements="read", error="locked", seconds=60))
    await write_block(database)
    for block in READS:
        with pytest.raises(DatabaseUnavailable):
            await block(database)


async def test_a_transaction_that_fails_in_the_middle_leaves_nothing_of_itself(
    database: Database, faults: Faults
) -> None:
    def body(connection: Connection) -> None:
        insert_one(connection)
        faults.inject(DatabaseFault(error="full", seconds=60))
        connection.execute(insert(NOTES).values(id=2, body="a note"))

    with pytest.raises(DatabaseUnavailable):
        await database.transact(body)
    faults.clear()
    assert await count(database) == 0
    await assert_all_is_well(database)


async def test_a_disk_that_takes_nothing_fails_commits_and_loses_nothing(sqlite: Database) -> None:
    faults, before = Faults(CollectorRegistry(), sqlite), resource.getrlimit(resource.RLIMIT_FSIZE)
    for write in WRITES:
        faults.inject(DiskFault(seconds=60))
        with pytest.raises(Refused, match="already"):
            faults.inject(DiskFault(seconds=60))
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable, match="disk I/O error"):
                await write(sqlite)
        for read in READS:
            await read(sqlite)
        assert faults.clear() == 1
        assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
        assert await count(sqlite) == 0
        await write(sqlite)
        await wipe(sqlite)
    await faults.close()
    await assert_all_is_well(sqlite)


async def test_a_slow_statement_does_not_hold_up_the_event_loop(database: Database, faults: Faults) -> None:
    await read_block(database)
    for block in BLOCKS:
        faults.inject(DatabaseFault(latency_ms=400, seconds=60))
        began = time.monotonic()
        task = asyncio.create_task(block(database))
        longest, before = 0.0, began
        while not task.done():
            await asyncio.sleep(0.005)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()
        await task
        assert time.monotonic() - began >= 0.4
        assert longest < 0.35
        faults.clear()
        await wipe(database)


async def test_a_slow_statement_ends_with_the_fault(database: Database, faults: Faults) -> None:
    for block in BLOCKS:
        fault = faults.inject(DatabaseFault(latency_ms=60_000, error="full", seconds=60))
        task = asyncio.create_task(block(database))
        await until_true(partial(getattr, fault, "struck"))
        faults.clear()
        await asyncio.wait_for(task, 20)
        await wipe(database)
    await assert_all_is_well(database)


async def test_a_slow_statement_can_be_given_up(database: Database, faults: Faults) -> None:
    for block in BLOCKS:
        fault = faults.inject(DatabaseFault(latency_ms=60_000, seconds=60))
        task = asyncio.create_task(block(database))
        await until_true(partial(getattr, fault, "struck"))
        task.cancel()
        await asyncio.wait([task], timeout=20)
        assert task.cancelled()
        faults.clear()
        await assert_all_is_well(database)


async def test_a_pool_that_is_held_is_exhausted_until_the_fault_ends(database_url: str) -> None:
    database = Database(database_url, wait_seconds=0.2)
    await create_notes(database)
    faults = Faults(CollectorRegistry(), database)
    _, most = database.pools()["write"]
    fault = faults.inject(PoolFault(connections=100, seconds=60))
    await until_true(lambda: fault.struck == most)
    with pytest.raises(DatabaseUnavailable):
        await write_block(database)
    await read_block(database)
    await database.ping()
    faults.clear()
    await write_block(database)
    await faults.close()
    await database.close()


async def test_a_pool_that_is_in_use_is_taken_as_it_becomes_free_and_let_go_when_the_service_stops(
    database_url: str,
) -> None:
    database = Database(database_url, wait_seconds=0.1)
    await create_notes(database)
    faults = Faults(CollectorRegistry(), database)
    _, most = database.pools()["write"]
    async with database.write() as connection:
        await connection.execute(select(NOTES))
        fault = faults.inject(PoolFault(connections=most, seconds=60))
        await asyncio.sleep(0.2)  # longer than a connection is waited for
        assert fault.struck == most - 1
    await until_true(lambda: fault.struck == most)
    await asyncio.wait_for(faults.close(), 20)
    assert database.pools()["write"][0] == 0
    await database.close()
