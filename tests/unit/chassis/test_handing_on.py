"""Short transactions hand connections on; whoever wants one of the pool gets it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from shared.chassis.database import Database, DatabaseUnavailable


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/notes.sqlite")
    await database.transact(lambda connection: connection.execute(text("CREATE TABLE notes (id INTEGER)")))
    yield database
    await database.close()


def note(connection: Connection) -> int:
    """Adds a row; answers with the number of the driver's connection."""
    connection.execute(text("INSERT INTO notes VALUES (1)"))
    return id(connection.connection.dbapi_connection)


async def test_transactions_of_many_tasks_share_the_one_connection_for_writing(database: Database) -> None:
    used = await asyncio.gather(*(database.transact(note) for _ in range(20)))
    assert len(set(used)) == 1
    assert (
        await database.query(lambda connection: connection.execute(text("SELECT count(*) FROM notes")).scalar()) == 20
    )


async def test_a_connection_between_two_transactions_is_not_in_use(database: Database) -> None:
    await database.transact(note)
    assert database.pools()["write"] == (0, 1)


async def test_a_block_gets_the_connection_that_transactions_keep_and_gives_it_back_to_them(database: Database) -> None:
    await database.transact(note)
    async with database.write() as connection:
        assert database.pools()["write"] == (1, 1)
        await connection.execute(text("INSERT INTO notes VALUES (2)"))
        waiting = [asyncio.create_task(database.transact(note)) for _ in range(3)]
    await asyncio.gather(*waiting)
    assert database.pools()["write"] == (0, 1)


async def test_who_waits_in_vain_is_told_so_after_the_same_time(tmp_path: Path) -> None:
    hurried = Database(f"sqlite+aiosqlite:///{tmp_path}/notes.sqlite", wait_seconds=0.3)
    async with hurried.connected("write"):
        found = await asyncio.gather(*(hurried.transact(note) for _ in range(4)), return_exceptions=True)
    await hurried.close()
    assert [type(error) for error in found] == [DatabaseUnavailable] * 4


async def test_a_transaction_that_is_cancelled_while_it_waits_holds_up_nobody(database: Database) -> None:
    async with database.connected("write"):
        waiting = [asyncio.create_task(database.transact(note)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[1].cancel()
    assert isinstance(await waiting[2], int)
    await database.transact(note)
