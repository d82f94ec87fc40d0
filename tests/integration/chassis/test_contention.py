"""Several processes on one SQLite file."""

import asyncio

from sqlalchemy import select

from shared.chassis.database import Database
from tests.integration.chassis.conftest import create_notes
from tests.integration.chassis.notes import NOTES
from tests.integration.chassis.processes import ping, together, write_notes

EACH = 150


async def test_two_processes_that_contend_for_one_file_both_make_progress(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    await create_notes(database)
    arguments = [(sqlite_url, "one", 0, EACH), (sqlite_url, "two", EACH, EACH)]
    assert sorted(await asyncio.to_thread(together, write_notes, arguments)) == ["one", "two"]
    async with database.read() as connection:
        bodies = (await connection.execute(select(NOTES.c.body))).scalars().all()
    assert sorted(bodies) == ["one"] * EACH + ["two"] * EACH
    await database.close()


async def test_ten_processes_that_open_a_new_file_at_once_all_can(sqlite_url: str) -> None:
    answers = await asyncio.to_thread(together, ping, [(sqlite_url,)] * 10)
    assert answers == ["pong"] * 10
