"""The database layer of the chassis, and with it the fixture that the other tests build on."""

import pytest
from sqlalchemy import text

from shared.chassis.database import Database


async def test_what_a_write_block_leaves_is_seen_by_a_reader(database_url: str) -> None:
    database = Database(database_url)
    try:
        async with database.write() as connection:
            await connection.execute(text("CREATE TABLE notes (body TEXT)"))
            await connection.execute(text("INSERT INTO notes VALUES ('kept')"))
        async with database.read() as connection:
            assert (await connection.execute(text("SELECT body FROM notes"))).scalars().all() == ["kept"]
    finally:
        await database.close()


async def test_a_write_block_that_raises_leaves_nothing(database_url: str) -> None:
    database = Database(database_url)
    try:
        async with database.write() as connection:
            await connection.execute(text("CREATE TABLE notes (body TEXT)"))

        async def fail_half_way() -> None:
            async with database.write() as connection:
                await connection.execute(text("INSERT INTO notes VALUES ('lost')"))
                raise LookupError

        with pytest.raises(LookupError):
            await fail_half_way()
        async with database.read() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM notes"))).scalar_one() == 0
    finally:
        await database.close()


async def test_each_test_has_a_database_of_its_own(database_url: str) -> None:
    database = Database(database_url)
    try:
        async with database.write() as connection:
            await connection.execute(text("CREATE TABLE notes (body TEXT)"))
    finally:
        await database.close()
