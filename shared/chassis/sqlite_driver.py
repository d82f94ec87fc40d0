"""SQLAlchemy's aiosqlite dialect with one thread hop a statement instead of four.

SQLite runs in a thread of its own connection. The stock dialect crosses to it for the cursor, the statement, the rows
and the cursor's end, and once more for BEGIN and for a ROLLBACK of nothing. Here a statement is one crossing, BEGIN
travels with the first statement, and what is not open is not rolled back. `begin` names the kind of transaction
(`IMMEDIATE` for writers); without it statements commit by themselves, as readers want.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_cursor,
    AsyncAdapt_aiosqlite_dbapi,
    SQLiteDialect_aiosqlite,
)

DRIVER = "sqlite+onehop"

_Outcome = tuple[Sequence[Any], Any, int | None, int]


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    __slots__ = ()

    def execute(self, operation: str, parameters: Any = None) -> None:
        self._run(sqlite3.Cursor.execute, operation, () if parameters is None else parameters)

    def executemany(self, operation: str, seq_of_parameters: Any) -> None:
        self._run(sqlite3.Cursor.executemany, operation, seq_of_parameters)

    def _run(self, method: Callable[..., Any], operation: str, parameters: Any) -> None:
        adapted: _Connection = self._adapt_connection  # type: ignore[assignment]
        begin, adapted.begin = adapted.begin, None
        adapted.open = adapted.open or begin is not None

        def in_thread() -> _Outcome:
            connection = adapted.raw
            if begin is not None:
                connection.execute(begin)
            cursor = connection.cursor()
            try:
                method(cursor, operation, parameters)
                rows = cursor.fetchall() if cursor.description else ()
                return rows, cursor.description, cursor.lastrowid, cursor.rowcount
            finally:
                cursor.close()

        try:
            rows, self.description, self.lastrowid, self.rowcount = adapted.in_thread(in_thread)
        except ValueError as error:
            adapted._handle_exception(error)
        self._rows = deque(rows)


class _Connection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ("begin", "open")

    def __init__(self, dbapi: Any, connection: Any) -> None:
        super().__init__(dbapi, connection)
        self.begin: str | None = None
        self.open = False

    @property
    def raw(self) -> sqlite3.Connection:
        """The driver's own connection, to be used in its thread only."""
        return self._connection._conn  # type: ignore[no-any-return]

    def in_thread(self, function: Callable[[], Any]) -> Any:
        return self.await_(self._connection._execute(function))

    def cursor(self, server_side: bool = False) -> AsyncAdapt_aiosqlite_cursor:
        return super().cursor(server_side=True) if server_side else _Cursor(self)

    def commit(self) -> None:
        self.begin = None
        if self.open:
            super().commit()
            self.open = False

    def rollback(self) -> None:
        self.begin = None
        if self.open:
            super().rollback()
            self.open = False


class _Module(AsyncAdapt_aiosqlite_dbapi):
    def connect(self, *arguments: Any, **options: Any) -> _Connection:
        stock = super().connect(*arguments, **options)
        return _Connection(self, stock._connection)


class OneHopDialect(SQLiteDialect_aiosqlite):
    """The dialect behind `DRIVER`."""

    driver = "onehop"
    supports_statement_cache = True

    def __init__(self, begin: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._begin = f"BEGIN {begin}" if begin else None

    @classmethod
    def import_dbapi(cls) -> AsyncAdapt_aiosqlite_dbapi:
        return _Module(__import__("aiosqlite"), sqlite3)

    def do_begin(self, dbapi_connection: Any) -> None:
        # the pool's wrapper hands attributes through for reading only
        getattr(dbapi_connection, "dbapi_connection", dbapi_connection).begin = self._begin


registry.register("sqlite.onehop", __name__, "OneHopDialect")
