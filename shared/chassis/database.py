"""One database a service: SQLite in WAL mode or Postgres, through SQLAlchemy's async engine.

Writers and readers have a pool each. On SQLite the writers' pool holds one connection: a process then queues for the
write lock fairly, in memory, instead of polling the file for it, and only other processes are waited for.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from shared.chassis import sqlite_driver

SQLITE_BUSY_MS = 5_000
"""How long a statement may wait for another process's write transaction."""


_JSON: dict[str, Any] = {
    "json_serializer": lambda value: orjson.dumps(value).decode(),
    "json_deserializer": orjson.loads,
}

_SIGNS = ("database is locked", "disk is full", "disk i/o error", "unable to open", "connection")


class DatabaseUnavailable(Exception):
    """The database did not answer in time, or not at all."""


class Database:
    """The connections of one service to its own database.

    `read()` and `write()` yield a connection: a write block is one transaction, committed at its end and rolled back on
    any exception (cancellation included); a read block sees committed data and takes no lock.
    """

    def __init__(
        self,
        url: str,
        *,
        readers: int = 4,
        writers: int = 8,
        wait_seconds: float = 5.0,
        synchronous: str = "full",
    ) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._synchronous = synchronous
        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        if self.is_sqlite:
            # IMMEDIATE: a transaction that reads first cannot become a writer in WAL mode once another has written
            self._writer = self._sqlite(1, wait_seconds, begin="IMMEDIATE")
            self._reader = self._sqlite(readers, wait_seconds, begin=None)
        else:
            self._writer = self._postgres(writers, wait_seconds)
            self._reader = self._postgres(readers, wait_seconds).execution_options(isolation_level="AUTOCOMMIT")

    def _sqlite(self, size: int, wait_seconds: float, *, begin: str | None) -> AsyncEngine:
        engine = create_async_engine(
            self.url.set(drivername=sqlite_driver.DRIVER),
            poolclass=AsyncAdaptedQueuePool,
            pool_size=size,
            max_overflow=0,
            pool_timeout=wait_seconds,
            begin=begin,
            **_JSON,
        )
        event.listen(engine.sync_engine, "connect", self._prepare_sqlite)
        return engine

    def _postgres(self, size: int, wait_seconds: float) -> AsyncEngine:
        return create_async_engine(
            self.url,
            pool_size=size,
            max_overflow=0,
            pool_timeout=wait_seconds,
            pool_pre_ping=True,
            connect_args={"timeout": wait_seconds, "command_timeout": wait_seconds},
            **_JSON,
        )

    def _prepare_sqlite(self, connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not open transactions of its own
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={SQLITE_BUSY_MS}",
            "journal_mode=WAL",
            f"synchronous={self._synchronous}",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One write transaction. Raises `DatabaseUnavailable` when no connection can be had in time."""
        try:
            async with self._writer.begin() as connection:
                yield connection
        except (PoolTimeout, OSError) as error:
            raise DatabaseUnavailable(str(error)) from error
        except DBAPIError as error:
            if _is_unavailable(error):
                raise DatabaseUnavailable(str(error.orig)) from error
            raise

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading committed data. Raises `DatabaseUnavailable` as `write` does."""
        try:
            async with self._reader.connect() as connection:
                yield connection
        except (PoolTimeout, OSError) as error:
            raise DatabaseUnavailable(str(error)) from error
        except DBAPIError as error:
            if _is_unavailable(error):
                raise DatabaseUnavailable(str(error.orig)) from error
            raise

    async def ping(self) -> None:
        """Answer a trivial query, or raise `DatabaseUnavailable`."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    def pools(self) -> dict[str, tuple[int, int]]:
        """Connections in use and at most, for each pool."""
        return {
            name: (engine.sync_engine.pool.checkedout(), engine.sync_engine.pool.size())  # type: ignore[attr-defined]
            for name, engine in (("write", self._writer), ("read", self._reader))
        }

    async def close(self) -> None:
        """Close every connection."""
        await self._writer.dispose()
        await self._reader.dispose()


def _is_unavailable(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    reason = str(error.orig).lower()
    return any(sign in reason for sign in _SIGNS)
