"""What SQLite writes ahead is given back to the disk once nobody reads the past any more."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import text

from shared.chassis.database import Database


async def test_the_log_that_grew_behind_a_long_read_shrinks_after_it(tmp_path: Path) -> None:
    database, log = Database(f"sqlite+aiosqlite:///{tmp_path}/notes.sqlite"), tmp_path / "notes.sqlite-wal"

    async def write(megabytes: int) -> None:
        for _ in range(megabytes):
            async with database.write() as connection:
                await connection.execute(text("INSERT INTO notes VALUES (randomblob(1000000))"))

    try:
        async with database.write() as connection:
            await connection.execute(text("CREATE TABLE notes (body BLOB)"))
        with closing(sqlite3.connect(tmp_path / "notes.sqlite")) as another:
            another.execute("BEGIN")
            another.execute("SELECT count(*) FROM notes")  # and reads on, as of this moment
            await write(30)
        assert log.stat().st_size > 25e6
        await write(10)
        assert log.stat().st_size < 8e6
    finally:
        await database.close()
