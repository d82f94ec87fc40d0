"""A write block is one transaction, whatever happens to it."""

import asyncio
import threading
from contextvars import ContextVar
from unittest.mock import patch

import aiosqlite
import pytest
from sqlalchemy import Connection, event, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from shared.chassis.database import Database, DatabaseUnavailable
from tests.integration.chassis.conftest import create_notes
from tests.integration.chassis.notes import NOTES, add, assert_all_is_well, assert_no_lock_is_held, count, stranger


def assert_threads_have_ended(before: set[threading.Thread]) -> None:
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=2)
        assert not thread.is_alive()


async def test_a_write_block_holds_the_write_lock_from_its_first_statement_to_its_end(sqlite: Database) -> None:
    async with sqlite.write() as connection:
        await connection.execute(select(NOTES))  # reading is enough: a later write cannot fail for want of the lock
        with pytest.raises(Exception, match="database is locked"):
            assert_no_lock_is_held(sqlite)
    assert_no_lock_is_held(sqlite)


async def test_what_a_write_block_has_not_committed_nobody_sees(database: Database) -> None:
    async with database.write() as connection:
        await add(connection, 1)
        await add(connection, 2)
        assert await count(database) == 0
    assert await count(database) == 2


async def test_an_empty_write_block_opens_no_transaction(database: Database) -> None:
    async with database.write():
        assert_no_lock_is_held(database)
    await assert_all_is_well(database)


@pytest.mark.parametrize("error", [LookupError, TimeoutError, OSError, asyncio.CancelledError, KeyboardInterrupt])
async def test_what_a_block_raises_rolls_it_back_and_passes_through(
    database: Database, error: type[BaseException]
) -> None:
    async def fail() -> None:
        async with database.write() as connection:
            await add(connection, 1)
            raise error

    with pytest.raises(error):
        await fail()
    assert await count(database) == 0
    await assert_all_is_well(database)


async def test_a_failed_statement_leaves_no_transaction_open(database: Database) -> None:
    for statement in ("INSERT INTO nowhere VALUES (1)", "not even SQL", "INSERT INTO notes VALUES (1, NULL)"):
        with pytest.raises(DBAPIError):
            async with database.write() as connection:
                await connection.execute(text(statement))
        with pytest.raises(DBAPIError):
            async with database.read() as connection:
                await connection.execute(text(statement))
    await assert_all_is_well(database)


async def test_a_conflict_keeps_its_own_type(database: Database) -> None:
    async with database.write() as connection:
        await add(connection, 1)
    with pytest.raises(IntegrityError):
        async with database.write() as connection:
            await add(connection, 1)
    await assert_all_is_well(database)


async def test_a_caught_conflict_inside_a_savepoint_keeps_the_rest(database: Database) -> None:
    async with database.write() as connection:
        await add(connection, 1)
        with pytest.raises(IntegrityError):
            async with connection.begin_nested():
                await add(connection, 1)
        await add(connection, 2)
    assert await count(database) == 2
    await assert_all_is_well(database)


async def test_a_read_block_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError):
        async with database.read() as connection:
            await add(connection, 1)
    assert await count(database) == 0


async def test_many_rows_in_one_statement_are_counted(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(insert(NOTES), [{"id": number, "body": str(number)} for number in range(100)])
        changed = await connection.execute(update(NOTES).where(NOTES.c.id < 7).values(body="changed"))
        assert changed.rowcount == 7
        removed = await connection.execute(NOTES.delete().where(NOTES.c.id == -1))
        assert removed.rowcount == 0
    assert await count(database) == 100


async def test_a_failure_among_many_rows_keeps_none(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.write() as connection:
            await connection.execute(insert(NOTES), [{"id": n, "body": "x"} for n in (1, 2, 3, 2)])
    assert await count(database) == 0
    await assert_all_is_well(database)


async def test_returning_gives_the_rows_and_their_number(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(insert(NOTES), [{"id": n, "body": "x"} for n in (1, 2, 3)])
        result = await connection.execute(
            update(NOTES).where(NOTES.c.id > 1).values(body="y").returning(NOTES.c.id, NOTES.c.body)
        )
        assert sorted(map(tuple, result.all())) == [(2, "y"), (3, "y")]
        key = await connection.execute(insert(NOTES).values(body="made by the database", id=4).returning(NOTES.c.id))
        assert key.scalar_one() == 4


async def test_unicode_blobs_and_nothing_come_back_as_they_went(database: Database) -> None:
    body = "naïve \N{SNOWMAN} \U0001f600 " + "x" * 100_000
    async with database.write() as connection:
        await add(connection, 1, body)
    async with database.read() as connection:
        row = (await connection.execute(select(NOTES.c.body, func.nullif(1, 1)))).one()
    assert tuple(row) == (body, None)


async def test_cancelled_after_any_number_of_loop_turns_a_block_is_whole_or_nothing(database: Database) -> None:
    async def write_two(identifier: int) -> None:
        async with database.write() as connection:
            await add(connection, identifier)
            await add(connection, identifier + 1)

    outcomes = set()
    for turns in [*range(24), *range(24, 400, 12)]:
        task = asyncio.create_task(write_two(turns * 2))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with database.read() as connection:
            mine = select(func.count()).where(NOTES.c.id.in_((turns * 2, turns * 2 + 1)))
            outcomes.add(int((await connection.execute(mine)).scalar_one()))
        assert_no_lock_is_held(database)
    assert outcomes <= {0, 2}
    assert 0 in outcomes
    await assert_all_is_well(database)


async def test_a_cancelled_statement_in_flight_ends_soon_and_frees_its_connection(database: Database) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    loop = asyncio.get_running_loop()
    for block in (database.write, database.read):

        async def run(block=block) -> None:
            async with block() as connection:
                await connection.execute(text("SELECT 1"))
                await connection.execute(text(endless))

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await run()
        started = loop.time()
        await assert_all_is_well(database)
        assert loop.time() - started < 1.0


async def test_a_cancelled_wait_for_the_pool_loses_no_connection(database_url: str) -> None:
    database = Database(database_url, writers=1)

    async def write() -> None:
        async with database.write() as connection:
            await connection.execute(text("SELECT 1"))

    async with database.write():
        waiting = [asyncio.create_task(write()) for _ in range(3)]
        for _ in range(5):
            await asyncio.sleep(0)
        for task in waiting[:2]:
            task.cancel()
        ended = await asyncio.gather(*waiting[:2], return_exceptions=True)
        assert [type(end) for end in ended] == [asyncio.CancelledError] * 2
        assert not waiting[2].done()
    async with asyncio.timeout(2):
        await waiting[2]
    assert database.pools()["write"] == (0, 1)
    await database.close()


async def test_cancelled_during_commit_a_block_is_whole_or_nothing(database: Database) -> None:
    async def write_two() -> None:
        async with database.write() as connection:
            await add(connection, 1)
            await add(connection, 2)

    task = asyncio.create_task(write_two())
    event.listen(database._writer.sync_engine, "commit", lambda _connection: task.cancel(), once=True)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count(database) in {0, 2}
    await assert_all_is_well(database)


async def test_cancelled_during_rollback_a_block_leaves_nothing(database: Database) -> None:
    async def fail() -> None:
        async with database.write() as connection:
            await add(connection, 1)
            raise LookupError

    task = asyncio.create_task(fail())
    event.listen(database._writer.sync_engine, "rollback", lambda _connection: task.cancel(), once=True)
    with pytest.raises((asyncio.CancelledError, LookupError)):
        await task
    assert await count(database) == 0
    await assert_all_is_well(database)


async def test_no_connection_in_time_is_an_unavailable_database(database_url: str) -> None:
    database = Database(database_url, writers=1, readers=1, wait_seconds=0.05)
    for block in (database.write, database.read):
        async with block() as connection:
            await connection.execute(text("SELECT 1"))
            with pytest.raises(DatabaseUnavailable):
                async with block():
                    pass
        async with block() as connection:
            await connection.execute(text("SELECT 1"))
    await database.close()


async def test_the_gauges_of_the_pools_follow_their_use(database_url: str) -> None:
    database = Database(database_url, writers=3, readers=2)
    writers = 1 if database.is_sqlite else 3
    assert database.pools() == {"write": (0, writers), "read": (0, 2)}
    async with database.write(), database.read(), database.read():
        assert database.pools() == {"write": (1, writers), "read": (2, 2)}
    assert database.pools() == {"write": (0, writers), "read": (0, 2)}
    await database.close()


async def test_a_closed_database_has_no_threads_and_takes_no_work(database_url: str) -> None:
    before = set(threading.enumerate())
    database = Database(database_url)
    async with database.write() as one, database.read() as two, database.read() as three:
        for connection in (one, two, three):
            await connection.execute(text("SELECT 1"))
    await database.close()
    assert_threads_have_ended(before)
    with pytest.raises(DatabaseUnavailable):
        await database.ping()


async def test_closing_waits_for_what_was_cancelled_to_roll_back(database: Database) -> None:
    entered = asyncio.Event()

    async def linger() -> None:
        async with database.write() as connection:
            await add(connection, 1)
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(linger())
    await entered.wait()
    task.cancel()
    await database.close()
    assert task.done()
    assert_no_lock_is_held(database)


async def test_rows_are_not_streamed_on_sqlite(sqlite: Database) -> None:
    async with sqlite.write() as connection:
        with pytest.raises(Exception, match=r"stream|server"):
            await connection.stream(select(NOTES))
    await assert_all_is_well(sqlite)


async def test_a_transaction_that_the_database_has_ended_takes_no_more_statements(sqlite: Database) -> None:
    async def go_on_after_a_rollback() -> None:
        async with sqlite.write() as connection:
            await add(connection, 1)
            await connection.execute(text("ROLLBACK"))  # as a full disk does behind the back of the block
            await add(connection, 2)

    with pytest.raises(DatabaseUnavailable):
        await go_on_after_a_rollback()
    assert await count(sqlite) == 0
    await assert_all_is_well(sqlite)


async def test_locked_for_too_long_is_an_unavailable_database(sqlite: Database) -> None:
    other = stranger(sqlite)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="locked"):
        async with sqlite.write() as connection:
            await add(connection, 1)
    assert await count(sqlite) == 0  # readers do not mind
    other.execute("ROLLBACK")
    other.close()
    await assert_all_is_well(sqlite)


async def test_a_block_whose_begin_has_failed_can_try_again(sqlite: Database) -> None:
    other = stranger(sqlite)
    other.execute("BEGIN IMMEDIATE")
    async with sqlite.write() as connection:
        with pytest.raises(DatabaseUnavailable):
            await add(connection, 1)
        other.execute("ROLLBACK")
        other.close()
        await add(connection, 2)
        with pytest.raises(Exception, match="database is locked"):
            assert_no_lock_is_held(sqlite)  # a transaction of its own, not statements that commit one by one
    assert await count(sqlite) == 1


async def test_waiting_for_a_lock_ends_when_the_caller_is_cancelled(sqlite_url: str) -> None:
    database = Database(sqlite_url, busy_seconds=30.0)
    await database.ping()
    other = stranger(database)
    other.execute("BEGIN IMMEDIATE")
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), database.write() as connection:
            await connection.execute(text("SELECT 1"))
    assert loop.time() - started < 1.0
    other.execute("ROLLBACK")
    other.close()
    async with database.write() as connection:
        await connection.execute(text("SELECT 1"))
    await database.close()


async def test_a_full_disk_is_an_unavailable_database(sqlite: Database) -> None:
    async with sqlite._writer.connect() as connection:
        await connection.execute(text("PRAGMA max_page_count = 10"))
    with pytest.raises(DatabaseUnavailable, match="full"):
        async with sqlite.write() as connection:
            await add(connection, 1, "x" * 1_000_000)
    async with sqlite._writer.connect() as connection:
        await connection.execute(text("PRAGMA max_page_count = 100000"))
    await assert_all_is_well(sqlite)


@pytest.mark.parametrize("place", ["", "file/db"], ids=["directory", "below-a-file"])
async def test_a_file_that_cannot_be_opened_is_an_unavailable_database(tmp_path, place: str) -> None:
    (tmp_path / "file").touch()
    before = set(threading.enumerate())
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/{place}")
    for block in (database.write, database.read):
        with pytest.raises(DatabaseUnavailable):
            async with block() as connection:
                await connection.execute(text("SELECT 1"))
    await database.close()
    assert_threads_have_ended(before)


def _clear(connection: Connection) -> None:
    connection.execute(NOTES.delete())


async def test_a_transaction_given_as_a_function_answers_with_what_it_returns(database: Database) -> None:
    def two(connection: Connection) -> str:
        connection.execute(insert(NOTES), {"id": 1, "body": "one"})
        connection.execute(insert(NOTES), {"id": 2, "body": "two"})
        return connection.execute(select(NOTES.c.body).where(NOTES.c.id == 2)).scalar_one()

    assert await database.transact(two) == "two"
    assert await count(database) == 2
    await assert_all_is_well(database)


@pytest.mark.parametrize("error", [LookupError, TimeoutError, OSError, KeyboardInterrupt])
async def test_what_such_a_function_raises_rolls_it_back_and_passes_through(
    database: Database, error: type[BaseException]
) -> None:
    def fail(connection: Connection) -> None:
        connection.execute(insert(NOTES), {"id": 1, "body": "lost"})
        raise error

    with pytest.raises(error):
        await database.transact(fail)
    assert await count(database) == 0
    await assert_all_is_well(database)


async def test_a_conflict_in_such_a_function_keeps_its_own_type(database: Database) -> None:
    def clash(connection: Connection) -> None:
        connection.execute(insert(NOTES), [{"id": 1, "body": "one"}])
        connection.execute(insert(NOTES), [{"id": 1, "body": "again"}])

    with pytest.raises(IntegrityError):
        await database.transact(clash)
    await assert_all_is_well(database)


async def test_such_a_function_knows_the_context_of_its_caller(database: Database) -> None:
    caller: ContextVar[str] = ContextVar("caller")
    caller.set("ada")
    assert await database.transact(lambda _: caller.get()) == "ada"


async def test_a_transaction_given_as_a_function_is_one_crossing_of_threads(sqlite: Database) -> None:
    def three(connection: Connection) -> None:
        for number in range(3):
            connection.execute(insert(NOTES), {"id": number, "body": "a note"})

    await sqlite.transact(three)  # connects
    await sqlite.transact(_clear)
    with patch.object(
        aiosqlite.Connection, "_execute", autospec=True, side_effect=aiosqlite.Connection._execute
    ) as hop:
        await sqlite.transact(three)
    assert hop.call_count == 1


async def test_a_function_that_is_cancelled_while_it_runs_leaves_nothing(sqlite: Database) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(connection: Connection) -> None:
        connection.execute(insert(NOTES), {"id": 1, "body": "lost"})
        begun.set()
        go_on.wait(5)

    task = asyncio.create_task(sqlite.transact(slow))
    assert await asyncio.to_thread(begun.wait, 5)
    task.cancel()
    asyncio.get_running_loop().call_later(0.02, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert go_on.is_set(), "the caller went on while the thread still had the connection"
    assert await count(sqlite) == 0
    await assert_all_is_well(sqlite)


async def test_a_function_that_waits_for_a_lock_ends_soon_when_it_is_cancelled(sqlite_url: str) -> None:
    database = Database(sqlite_url, busy_seconds=60)
    await create_notes(database)
    other = stranger(database)
    other.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(database.transact(_clear))
    done, _ = await asyncio.wait({task}, timeout=0.1)
    assert not done
    task.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await task
    other.close()
    await assert_all_is_well(database)
    await database.close()
