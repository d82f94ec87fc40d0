"""Statements on the table `notes`."""

import sqlite3

from sqlalchemy import Column, Integer, MetaData, Table, Text, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.chassis.database import Database

NOTES = Table("notes", MetaData(), Column("id", Integer, primary_key=True), Column("body", Text, nullable=False))


async def add(connection: AsyncConnection, identifier: int, body: str = "a note") -> None:
    await connection.execute(insert(NOTES).values(id=identifier, body=body))


async def count(database: Database) -> int:
    async with database.read() as connection:
        return int((await connection.execute(select(func.count()).select_from(NOTES))).scalar_one())


def stranger(database: Database) -> sqlite3.Connection:
    """Another connection to the same SQLite file, as another process has it; it waits for no lock."""
    assert database.url.database
    return sqlite3.connect(database.url.database, timeout=0, isolation_level=None)


def assert_no_lock_is_held(database: Database) -> None:
    """Fails with `database is locked` when some connection has a write transaction open."""
    if database.is_sqlite:
        other = stranger(database)
        try:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        finally:
            other.close()


async def assert_all_is_well(database: Database) -> None:
    """No lock is left, no connection is missing from the pools, and both kinds of block work."""
    assert_no_lock_is_held(database)
    assert {used for used, _ in database.pools().values()} == {0}
    before = await count(database)
    async with database.write() as connection:
        await add(connection, 1_000_000)
    async with database.write() as connection:
        await connection.execute(NOTES.delete().where(NOTES.c.id == 1_000_000))
    assert await count(database) == before
