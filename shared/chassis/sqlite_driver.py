"""SQLAlchemy's aiosqlite dialect with one thread hop a statement instead of four.

SQLite runs in a thread of its own connection. The stock dialect crosses to it for the cursor, the statement, the rows
and the cursor's end, and once more for BEGIN and for a ROLLBACK of nothing. Here a statement is one crossing, BEGIN
travels with the first statement, and what is not open is not rolled back. `in_one_hop` makes a single crossing of a
whole transaction.

    create_async_engine(url, begin="IMMEDIATE",                     # None: every statement commits by itself
                        connect_args={"pragmas": ("foreign_keys=ON",), "patience": 5.0})

`patience` is how long, in seconds, a statement waits for the lock of another connection; inside a transaction there is
nothing to wait for. SQLite's own wait polls every 100 ms once it has lasted, and nothing ends it early; this one polls
every few milliseconds and ends when the caller is cancelled.
"""

import asyncio
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Connection
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_cursor,
    AsyncAdapt_aiosqlite_dbapi,
    SQLiteDialect_aiosqlite,
)

T = TypeVar("T")

DRIVER = "sqlite+onehop"

_SHORTEST_POLL, _LONGEST_POLL = 0.001, 0.005

_Outcome = tuple[Sequence[Any], Any, int | None, int]


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's result code without its extension, such as `sqlite3.SQLITE_BUSY`; 0 when the error carries none."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


async def in_one_hop(connection: Connection, body: Callable[[Connection], T]) -> T:
    """Run `body` in the thread of `connection`, as one transaction: it begins, goes on and ends without another hop.

    The caller's context variables are set in there. When cancelled, end it soon, and return once it has ended.
    """
    driver: _Connection = connection.connection.dbapi_connection  # type: ignore[assignment]

    def transaction() -> T:
        with connection.begin():
            result = body(connection)
            driver.refuse_if_abandoned()
            return result

    result: T = await driver.run(partial(copy_context().run, transaction))
    return result


def is_in_its_thread(cursor: "_Cursor") -> bool:
    """Whether this is the thread of the cursor's connection, where waiting holds up nobody else."""
    adapted: _Connection = cursor._adapt_connection  # type: ignore[assignment]
    return threading.current_thread() is adapted._connection._thread


def is_wanted(cursor: "_Cursor") -> bool:
    """Whether somebody still waits for what the cursor's connection does."""
    adapted: _Connection = cursor._adapt_connection  # type: ignore[assignment]
    return not adapted.abandoned


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    __slots__ = ()

    def execute(self, operation: str, parameters: Any = None) -> None:
        self._run(sqlite3.Cursor.execute, operation, () if parameters is None else parameters)

    def executemany(self, operation: str, seq_of_parameters: Any) -> None:
        self._run(sqlite3.Cursor.executemany, operation, seq_of_parameters)

    def _run(self, method: Callable[..., Any], operation: str, parameters: Any) -> None:
        adapted: _Connection = self._adapt_connection  # type: ignore[assignment]

        def in_thread() -> _Outcome:
            adapted.enter_transaction()
            cursor = adapted.raw.cursor()
            try:
                if adapted.open:
                    method(cursor, operation, parameters)
                else:
                    adapted.patiently(lambda: method(cursor, operation, parameters))
                rows = cursor.fetchall() if cursor.description else ()
                return rows, cursor.description, cursor.lastrowid, cursor.rowcount
            finally:
                cursor.close()

        rows, self.description, self.lastrowid, self.rowcount = adapted.in_thread(in_thread)
        self._rows = deque(rows)


class _Connection(AsyncAdapt_aiosqlite_connection):
    """`begin` waits to travel with the next statement; `open` says that it has."""

    __slots__ = ("abandoned", "begin", "open", "patience")

    def __init__(self, dbapi: Any, connection: Any, patience: float) -> None:
        super().__init__(dbapi, connection)
        self.patience = patience
        self.begin: str | None = None
        self.open = False
        self.abandoned = False

    @property
    def raw(self) -> sqlite3.Connection:
        """The driver's own connection, to be used in its thread only."""
        return self._connection._conn  # type: ignore[no-any-return]

    def in_thread(self, function: Callable[[], Any]) -> Any:
        if threading.current_thread() is self._connection._thread:
            return function()
        try:
            return self.await_(self._connection._execute(function))
        except ValueError as error:
            self._handle_exception(error)

    async def run(self, function: Callable[[], Any]) -> Any:
        """Run `function()` in the thread: it has the connection for itself until it has ended, cancelled or not."""
        try:
            return await self._connection._execute(function)
        except asyncio.CancelledError:
            self.abandon()
            behind_it = asyncio.ensure_future(self._connection._execute(lambda: None))
            while not behind_it.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.shield(behind_it)
            self.abandoned = False
            raise

    def abandon(self) -> None:
        """Have what runs in the thread end soon, with an error."""
        self.abandoned = True
        inner = self._connection._connection
        if inner is not None:
            inner.interrupt()

    def refuse_if_abandoned(self) -> None:
        """Raise when nobody waits for the transaction any more. In the thread."""
        if self.abandoned:
            raise sqlite3.OperationalError("the transaction was abandoned")

    def enter_transaction(self) -> None:
        """Begin what waits to be begun; refuse to go on in a transaction that SQLite has rolled back. In the thread."""
        self.refuse_if_abandoned()
        begin = self.begin
        if begin is not None:
            self.patiently(lambda: self.raw.execute(begin))
            self.begin, self.open = None, True
        elif self.open and not self.raw.in_transaction:
            # a full disk and some other errors end the transaction: what follows would commit statement by statement
            raise sqlite3.OperationalError("the database has rolled the transaction back")

    def patiently(self, execute: Callable[[], object]) -> None:
        """Repeat what finds the database locked, until it does not or the patience is over. In the thread."""
        until = time.monotonic() + self.patience
        while True:
            try:
                execute()
            except sqlite3.OperationalError as error:
                if primary_code(error) != sqlite3.SQLITE_BUSY or self.abandoned or time.monotonic() >= until:
                    raise
            else:
                return
            time.sleep(random.uniform(_SHORTEST_POLL, _LONGEST_POLL))  # noqa: S311 - spreads contenders, no secret

    def cursor(self, server_side: bool = False) -> AsyncAdapt_aiosqlite_cursor:
        if server_side:
            raise self.dbapi.NotSupportedError("rows are not streamed: a statement is one hop")
        return _Cursor(self)

    def commit(self) -> None:
        self.begin = None
        if self.open:
            self.in_thread(lambda: self.raw.commit())
            self.open = False

    def rollback(self) -> None:
        self.begin = None
        if self.open:
            self.in_thread(lambda: self.raw.rollback())
            self.open = False

    def terminate(self) -> None:
        """Close at once, after a cancelled statement: what still runs in the thread is told to end."""
        self.abandon()
        super().terminate()

    def _handle_exception(self, error: Exception) -> NoReturn:
        if isinstance(error, ValueError) and error.args and error.args[0] == "Connection closed":
            raise self.dbapi.OperationalError("no active connection") from error
        super()._handle_exception(error)


class _Module(AsyncAdapt_aiosqlite_dbapi):
    def connect(
        self, *arguments: Any, pragmas: Sequence[str] = (), patience: float = 5.0, **options: Any
    ) -> _Connection:
        # no isolation level: the driver must not open transactions of its own
        stock = super().connect(*arguments, isolation_level=None, timeout=0, **options)
        connection = _Connection(self, stock._connection, patience)

        def prepare() -> None:
            for pragma in pragmas:
                connection.patiently(partial(connection.raw.execute, f"PRAGMA {pragma}"))

        try:
            connection.in_thread(prepare)
        except BaseException:
            connection.terminate()
            raise
        return connection


class OneHopDialect(SQLiteDialect_aiosqlite):
    """The dialect behind `DRIVER`."""

    driver = "onehop"
    supports_statement_cache = True
    supports_server_side_cursors = False

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
