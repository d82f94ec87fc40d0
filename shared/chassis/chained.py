"""A change, and a row that tells of it: in one statement where the database can.

On Postgres the two are a data-modifying common table expression, so that with `Database.once` a step is one round trip
instead of four; on SQLite, where a round trip costs nothing, they are two statements of one transaction. See
https://www.postgresql.org/docs/current/queries-with.html#QUERIES-WITH-MODIFYING.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, bindparam, insert, select
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.sql.expression import TextualSelect
from sqlalchemy.sql.selectable import Select

from shared.chassis.prepared import Found, Prepared

_SET, _ADDED = "set_", "added_"


class Chained:
    """`first` changes one row or none and returns it; a row of `added` is written if and only if it did.

    first: as for `Prepared`. Its parameters are not named like columns that it sets
    taken: columns of the added row that are those of the changed one, by name: {"order_id": "id"}
    """

    __slots__ = ("_add", "_added", "_columns", "_first", "_joined", "_statement", "_taken")

    def __init__(
        self, first: TextualSelect | ReturningUpdate[Any], added: Table, *, taken: Mapping[str, str] | None = None
    ) -> None:
        self._statement, self._added, self._taken = first, added, dict(taken or {})
        self._first, self._add = Prepared(first), Prepared(insert(added))
        # what an update sets are its table's columns; an insert is text, with parameters of its own
        self._columns = {} if isinstance(first, TextualSelect) else dict(first.table.c.items())
        self._joined: dict[tuple[tuple[str, ...], tuple[str, ...]], Prepared] = {}

    def run(self, connection: Connection, values: Mapping[str, Any], row: Mapping[str, Any]) -> Found | None:
        """The changed row, or None: then nothing was added. Raises what `connection.execute` raises.

        values: of `first`, by name; for an update also the columns that it sets
        row:    of the added row, without what is taken
        """
        if connection.dialect.name == "sqlite":
            found = self._first.run(connection, values).one_or_none()
            if found is not None:
                taken = {name: getattr(found, source) for name, source in self._taken.items()}
                self._add.run(connection, {**row, **taken})
            return found
        names = tuple(values), tuple(row)
        joined = self._joined.get(names)
        if joined is None:
            joined = self._joined[names] = Prepared(self._join(*names))
        given = {_SET + name if name in self._columns else name: value for name, value in values.items()}
        given.update((_ADDED + name, value) for name, value in row.items())
        return joined.run(connection, given).one_or_none()

    def _join(self, values: tuple[str, ...], row: tuple[str, ...]) -> Select[Any]:
        first = self._statement
        if not isinstance(first, TextualSelect):
            columns = {name: self._columns[name] for name in values if name in self._columns}
            first = first.values({name: bindparam(_SET + name, type_=column.type) for name, column in columns.items()})
        changed = first.cte("changed")
        told: dict[str, Any] = {name: bindparam(_ADDED + name, type_=self._added.c[name].type) for name in row}
        told |= {name: changed.c[source] for name, source in self._taken.items()}
        rows = select(*told.values()).select_from(changed)
        add = insert(self._added).from_select(list(told), rows, include_defaults=False)
        return select(changed).add_cte(add.cte("added"))
