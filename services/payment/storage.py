"""The one statement that both sides of the wire begin with: take a payment key, or find who took it."""

from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection


async def insert_or_find(connection: AsyncConnection, table: Table, values: dict[str, Any]) -> tuple[Row[Any], bool]:
    """Insert a row, or find the one that holds its `payment_key`; the second value tells whether it was inserted.

    Of two transactions that insert one key at the same time, the second waits for the first and then finds its row.
    """
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(table).values(**values).on_conflict_do_nothing(index_elements=["payment_key"])
    row = (await connection.execute(insert.returning(table))).one_or_none()
    if row is not None:
        return row, True
    found = await connection.execute(select(table).where(table.c.payment_key == values["payment_key"]))
    return found.one(), False
