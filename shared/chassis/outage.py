"""Which errors of a database driver mean that the database is away, and not that the statement is wrong."""

import sqlite3

from sqlalchemy.exc import DBAPIError

from shared.chassis.sqlite_driver import primary_code

_SQLITE_CODES = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    )
)
_SQLITE_MESSAGES = ("no active connection", "the database has rolled the transaction back")
"""Errors of the driver above SQLite, which carry no code."""

_POSTGRES_CLASSES = frozenset(("08", "53", "58"))
"""SQLSTATE classes: connection exception, insufficient resources, system error."""

_POSTGRES_STATES = frozenset(
    (
        "25P03",  # idle in transaction for too long
        "40001",  # serialization failure
        "40P01",  # deadlock
        "55P03",  # lock not available
        "57014",  # cancelled by a statement timeout or by an administrator
        "57P01",  # administrator shutdown
        "57P02",  # crash shutdown
        "57P03",  # starting up or shutting down
        "57P05",  # idle for too long
    )
)


class DatabaseUnavailable(Exception):
    """The database did not answer in time, or not at all, or gave the transaction up: trying again later may help."""


class DatabaseDamaged(DatabaseUnavailable):
    """The database's file is not whole. Trying again does not help: somebody has to restore it."""


def is_damage(error: BaseException | None) -> bool:
    """Whether an error of SQLite, or in SQLAlchemy's wrapper, says that the file is not whole, or no database."""
    inner = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(inner, sqlite3.Error) and primary_code(inner) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_outage(error: BaseException | None) -> bool:
    """Whether an error from below SQLAlchemy, or in its wrapper, says that the database is away."""
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or is_outage(error.orig)
    if isinstance(error, sqlite3.Error):
        return primary_code(error) in _SQLITE_CODES or str(error) in _SQLITE_MESSAGES
    if isinstance(error, OSError):  # a connection that is refused or cut, and asyncpg's command timeout
        return True
    state = str(getattr(error, "sqlstate", None) or "")
    return state[:2] in _POSTGRES_CLASSES or state in _POSTGRES_STATES
