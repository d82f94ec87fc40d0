"""The statements that both sides of the wire begin with: take a payment key, or find who took it."""

from typing import Any

from sqlalchemy import Connection, Table, bindparam, select

from shared.chassis.inserts import insert_unless
from shared.chassis.prepared import Found, Prepared


class KeyedRows:
    """The rows of a table in which each `payment_key` stands at most once."""

    def __init__(self, table: Table) -> None:
        self._unknown = dict.fromkeys(table.c.keys())
        self._insert = Prepared(insert_unless(table, "payment_key"))
        self._select = Prepared(select(table).where(table.c.payment_key == bindparam("payment_key")))

    def insert_or_find(self, connection: Connection, values: dict[str, Any]) -> tuple[Found, bool]:
        """Insert a row, or find the one that holds its `payment_key`; the second value tells whether it was inserted.

        Of two transactions that insert one key at the same time, the second waits for the first and then finds its row.
        """
        row = self._insert.run(connection, self._unknown | values).one_or_none()
        return (row, True) if row is not None else (self.find(connection, values["payment_key"]), False)

    def find(self, connection: Connection, payment_key: str) -> Found:
        """The row with this key, which is known to exist."""
        return self._select.run(connection, {"payment_key": payment_key}).one()
