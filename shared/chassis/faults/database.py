"""Statements that are slow or fail, through SQLAlchemy's hooks: below them errors are mapped as those of the driver."""

import sqlite3
import time
from random import Random
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.util import await_only

from shared.chassis.database import Database, spared
from shared.chassis.faults.active import Active, Kind
from shared.chassis.faults.requests import DatabaseFault
from shared.chassis.sqlite_driver import is_in_its_thread, is_wanted

_LOOK_SECONDS = 0.02
_READS = ("SELECT", "SHOW", "VALUES", "PRAGMA")

_SQLITE_ERRORS = {
    "locked": ("database is locked", sqlite3.SQLITE_BUSY),
    "full": ("database or disk is full", sqlite3.SQLITE_FULL),
    "disconnected": ("no active connection", 0),  # what the driver says of a connection that is closed
}
_POSTGRES_ERRORS: dict[str, tuple[type[asyncpg.PostgresError], str]] = {
    "locked": (asyncpg.LockNotAvailableError, "canceling statement due to lock timeout"),
    "full": (asyncpg.DiskFullError, "could not extend file: No space left on device"),
}


class DatabaseFaults(Kind[DatabaseFault]):
    """Strikes any statement but those of health checks.

    `locked` is SQLite's SQLITE_BUSY or Postgres's 55P03, `full` SQLITE_FULL or 53100, both without the wait that comes
    before them in earnest (that is what `latency_ms` is for). `disconnected` closes the connection on Postgres.
    """

    name = "database"

    def __init__(self, random: Random, database: Database) -> None:
        super().__init__(random)
        self._database, self._listens = database, False

    def begin(self, fault: Active[DatabaseFault]) -> None:  # noqa: ARG002 - the hooks look at what is active
        """Listen to statements from the first fault on: before it, they cost nothing more."""
        if self._listens:
            return
        self._listens = True
        for engine in self._database.sync_engines:
            event.listen(engine, "do_execute", self._execute)
            event.listen(engine, "do_executemany", self._execute)
            event.listen(engine, "do_execute_no_params", self._execute)

    def _execute(self, cursor: Any, statement: str, *_: Any) -> None:
        if self.active and not spared.get():
            self._suffer(cursor, statement)

    def _suffer(self, cursor: Any, statement: str) -> None:
        for fault in self.running():
            request = fault.request
            if not _concerns(request, statement) or not self.draw(request.rate):
                continue
            fault.strike()
            if request.latency_ms and self._pause(fault, cursor, request.latency_ms / 1000):
                continue  # it ended, and with it what it would have done
            if request.error is not None:
                self._fail(cursor, request.error)

    def _pause(self, fault: Active[DatabaseFault], cursor: Any, seconds: float) -> bool:
        if not (self._database.is_sqlite and is_in_its_thread(cursor)):
            return await_only(fault.pause(seconds))
        # a thread that waits for nobody but the caller: when the caller has given up, so does this
        until = time.monotonic() + seconds
        while fault.runs and is_wanted(cursor) and (left := until - time.monotonic()) > 0:
            fault.wait(min(_LOOK_SECONDS, left))
        return not fault.runs

    def _fail(self, cursor: Any, error: str) -> None:
        if self._database.is_sqlite:
            text, code = _SQLITE_ERRORS[error]
            failure = sqlite3.OperationalError(text)
            failure.sqlite_errorcode = code
            raise failure
        connection = cursor._adapt_connection  # noqa: SLF001 - the way to the driver's connection, and to its errors
        if error == "disconnected":
            connection.driver_connection.terminate()  # then the statement finds out by itself
            return
        kind, text = _POSTGRES_ERRORS[error]
        connection._handle_exception(kind(text))  # noqa: SLF001 - translates as for an error of the server


def _concerns(request: DatabaseFault, statement: str) -> bool:
    if request.statements == "any":
        return True
    is_read = statement.lstrip()[:6].upper().startswith(_READS)
    return is_read == (request.statements == "read")
