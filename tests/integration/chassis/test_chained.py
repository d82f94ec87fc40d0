"""A change and the row that tells of it, as one: `Chained`, and statements that are transactions of their own."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from shared.chassis.chained import Chained
from shared.chassis.database import Database
from shared.chassis.inserts import insert_unless
from shared.chassis.prepared import Prepared

metadata = sa.MetaData()
accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", sa.String(20), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("balance", sa.BigInteger, nullable=False),
    sa.Column("about", sa.JSON),
)
changes = sa.Table(
    "changes",
    metadata,
    sa.Column("account", sa.String(20), sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("balance", sa.BigInteger, nullable=False),
    sa.Column("detail", sa.String(40)),
)
OPEN = Chained(insert_unless(accounts, "id"), changes)
CHANGE = Chained(
    sa.update(accounts)
    .where(accounts.c.id == sa.bindparam("of"), accounts.c.version == sa.bindparam("known"))
    .returning(accounts),
    changes,
    taken={"account": "id", "balance": "balance", "seq": "version"},
)
ADD = Prepared(sa.insert(accounts))
NEW: dict[str, Any] = {"id": "ada", "version": 1, "balance": 2**40, "about": {"tags": ["x"]}}
FIRST: dict[str, Any] = {"account": "ada", "seq": 1, "balance": 2**40, "detail": None}


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    async with database.upgrade() as connection:
        await connection.run_sync(metadata.create_all)
    yield database
    await database.close()


async def rows(database: Database, table: sa.Table) -> list[Any]:
    async with database.read() as connection:
        return [tuple(row) for row in await connection.execute(sa.select(table).order_by(*table.primary_key))]


async def test_a_new_row_and_the_one_that_tells_of_it_are_there_together(database: Database) -> None:
    row = await database.once(lambda connection: OPEN.run(connection, NEW, FIRST))
    assert row is not None
    assert row._asdict() == NEW
    assert await rows(database, accounts) == [tuple(NEW.values())]
    assert await rows(database, changes) == [tuple(FIRST.values())]


async def test_where_nothing_was_changed_nothing_is_added(database: Database) -> None:
    await database.once(lambda connection: OPEN.run(connection, NEW, FIRST))
    again = await database.once(lambda connection: OPEN.run(connection, NEW, {**FIRST, "seq": 2}))
    stale = await database.once(
        lambda connection: CHANGE.run(connection, {"of": "ada", "known": 7, "version": 8, "balance": 0}, {})
    )
    assert (again, stale) == (None, None)
    assert await rows(database, changes) == [tuple(FIRST.values())]


async def test_what_is_taken_of_the_changed_row_is_as_it_is_afterwards(database: Database) -> None:
    await database.once(lambda connection: OPEN.run(connection, NEW, FIRST))
    for known, balance in ((1, 5), (2, 6)):
        values = {"of": "ada", "known": known, "version": known + 1, "balance": balance, "about": None}
        row = await database.once(
            lambda connection, values=values: CHANGE.run(connection, values, {"detail": "booked"})
        )
        assert row is not None
        assert (row.version, row.balance, row.about) == (known + 1, balance, None)
    assert await rows(database, changes) == [tuple(FIRST.values()), ("ada", 2, 5, "booked"), ("ada", 3, 6, "booked")]


async def test_when_the_added_row_is_refused_nothing_is_changed(database: Database) -> None:
    await database.once(lambda connection: OPEN.run(connection, NEW, FIRST))
    clash = {"of": "ada", "known": 1, "version": 1, "balance": 9}  # its line would be the first again
    with pytest.raises(IntegrityError):
        await database.once(lambda connection: CHANGE.run(connection, clash, {}))
    assert await rows(database, accounts) == [tuple(NEW.values())]


async def test_in_a_transaction_it_is_undone_with_the_rest(database: Database) -> None:
    def both(connection: sa.Connection) -> None:
        OPEN.run(connection, NEW, FIRST)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.transact(both)
    assert await rows(database, accounts) == []


async def test_a_step_is_one_statement_and_no_transaction_around_it_on_postgres(database: Database) -> None:
    asked: list[str] = []
    for engine in database.sync_engines:
        sa.event.listen(engine, "before_cursor_execute", lambda *told: asked.append(told[2]))
        sa.event.listen(engine, "begin", lambda *_: asked.append("BEGIN"))
        sa.event.listen(engine, "commit", lambda *_: asked.append("COMMIT"))
    commits = database.commits
    await database.once(lambda connection: OPEN.run(connection, NEW, FIRST))
    assert database.commits == commits + 1
    if database.is_sqlite:
        assert [text.split()[0] for text in asked] == ["BEGIN", "INSERT", "INSERT", "COMMIT"]
    else:
        assert [text.split()[0] for text in asked] == ["WITH"]


async def test_a_connection_that_was_used_once_begins_transactions_again(database: Database) -> None:
    await database.once(lambda connection: ADD.run(connection, NEW))

    def fail(connection: sa.Connection) -> None:
        ADD.run(connection, {**NEW, "id": "eve"})
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await database.transact(fail)
    assert [row[0] for row in await rows(database, accounts)] == ["ada"]
