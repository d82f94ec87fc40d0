"""Inserts that a conflict may stop or turn, as text that both databases take.

SQLAlchemy's own constructs for ON CONFLICT have no cache key (`inherit_cache` is not set on them): they are compiled
again at every call, which costs several times what running them does.
"""

from collections.abc import Iterable

from sqlalchemy import Table, bindparam, text
from sqlalchemy.sql.selectable import TextualSelect


def insert_unless(
    table: Table, conflict: str, *, columns: Iterable[str] | None = None, action: str = "DO NOTHING"
) -> TextualSelect:
    """INSERT a row, or do `action` when there is one with the same value in the column `conflict`; return the row.

    Every one of `columns` (None: all of the table's) needs a parameter of its name. No row is returned when nothing was
    written.
    """
    names = list(columns or table.c.keys())
    values = ", ".join(f":{name}" for name in names)
    statement = text(
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values})"  # noqa: S608 - names of the schema
        f" ON CONFLICT ({conflict}) {action} RETURNING {', '.join(table.c.keys())}"
    )
    return statement.bindparams(*(bindparam(name, type_=table.c[name].type) for name in names)).columns(*table.c)
