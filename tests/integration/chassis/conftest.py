"""A database with one table, on each engine."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from shared.chassis.database import Database


async def create_notes(database: Database) -> None:
    """The table that these tests write to."""
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT NOT NULL)"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database that holds an empty table `notes`."""
    opened = Database(database_url)
    await create_notes(opened)
    yield opened
    await opened.close()


@pytest.fixture
async def sqlite(sqlite_url: str) -> AsyncIterator[Database]:
    """The same, SQLite only, and not patient: a lock is waited for 50 ms."""
    opened = Database(sqlite_url, busy_seconds=0.05)
    await create_notes(opened)
    yield opened
    await opened.close()
