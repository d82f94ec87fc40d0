"""A prepared statement gives and takes what SQLAlchemy's own way does, on both engines."""

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, NoResultFound

from shared.chassis.database import Database
from shared.chassis.inserts import insert_unless
from shared.chassis.prepared import Prepared

things = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("about", sa.JSON(none_as_null=True)),
)


class Kind(StrEnum):
    OLD = "old"


ADD = Prepared(sa.insert(things))
ADD_UNLESS = Prepared(insert_unless(things, "id"))
CHANGE = Prepared(sa.update(things).where(things.c.id == sa.bindparam("of"), things.c.kind == Kind.OLD))
FIND = Prepared(sa.select(things).where(things.c.id == sa.bindparam("of")))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    async with database.upgrade() as connection:
        await connection.run_sync(things.metadata.create_all)
    yield database
    await database.close()


async def test_values_go_in_and_come_out_as_their_types_say(database: Database) -> None:
    about: dict[str, Any] = {"tags": ["a", "b"], "price": 12}

    def work(connection: sa.Connection) -> tuple[Any, Any, int, int]:
        fresh = ADD_UNLESS.run(connection, {"id": 1, "kind": Kind.OLD, "about": about}).one()
        again = ADD_UNLESS.run(connection, {"id": 1, "kind": Kind.OLD, "about": None}).one_or_none()
        ADD.run(connection, {"id": 2, "kind": "new", "about": None})
        # the columns that are set are those that are given, and a constant of the statement stays one
        changed = [CHANGE.run(connection, {"of": number, "about": [number]}).rowcount for number in (1, 2)]
        return fresh, again, *changed

    fresh, again, first, second = await database.transact(work)
    assert fresh._asdict() == {"id": 1, "kind": "old", "about": about}
    assert (again, first, second) == (None, 1, 0)
    rows = await database.query(lambda connection: [FIND.run(connection, {"of": n}).one() for n in (1, 2)])
    assert [row.about for row in rows] == [[1], None]
    with pytest.raises(NoResultFound):
        await database.query(lambda connection: FIND.run(connection, {"of": 3}).one())


async def test_an_error_is_mapped_and_undoes_the_transaction(database: Database) -> None:
    def twice(connection: sa.Connection) -> None:
        for _ in range(2):
            ADD.run(connection, {"id": 7, "kind": "new", "about": None})

    with pytest.raises(IntegrityError):
        await database.transact(twice)
    assert not await database.query(lambda connection: len(FIND.run(connection, {"of": 7})))


async def test_prepared_statements_are_counted_as_any_other(database: Database) -> None:
    before = database.statements
    await database.query(lambda connection: FIND.run(connection, {"of": 1}))
    assert database.statements == before + 1


async def test_a_statement_whose_text_depends_on_its_values_is_refused(database: Database) -> None:
    several = Prepared(sa.select(things).where(things.c.id.in_(sa.bindparam("ids", expanding=True))))
    with pytest.raises(TypeError, match="not to be prepared"):
        await database.query(lambda connection: several.run(connection, {"ids": [1, 2]}))
