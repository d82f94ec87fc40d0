"""Opens a service's database for reading only, SQLite or Postgres, as one snapshot."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy import Row, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

CONNECT_SECONDS = 10.0
STATEMENT_SECONDS = 120.0

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


class Unreadable(Exception):
    """A database cannot be read: which one, why, and what to do about it."""

    def __init__(self, service: str, reason: str, mend: str) -> None:
        super().__init__(f"the {service} database cannot be read: {reason}\n  {mend}")


class Snapshot:
    """One consistent view of a database."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def rows(self, query: str, **parameters: Any) -> list[Row[Any]]:
        """Run a SELECT."""
        return list(await self._connection.execute(text(query), parameters))


@asynccontextmanager
async def snapshot(service: str, url: str) -> AsyncIterator[Snapshot]:
    """A read-only snapshot of the service's database, or `Unreadable`."""
    address = _address(service, url)
    engine = _engine(address)
    try:
        async with engine.connect() as connection:
            yield Snapshot(connection)
    except DBAPIError as error:
        raise _unreadable(service, address, str(error.orig).strip()) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _unreadable(service, address, str(error) or type(error).__name__) from error
    finally:
        await engine.dispose()


def _address(service: str, url: str) -> URL:
    try:
        address = make_url(url)
    except ArgumentError:
        raise Unreadable(
            service, "its URL is not one", f"give --{service} sqlite:///FILE or postgresql://..."
        ) from None
    backend = address.get_backend_name()
    if backend not in _DRIVERS:
        raise Unreadable(
            service, f"{backend} is not known here", f"give --{service} sqlite:///FILE or postgresql://..."
        )
    if backend == "sqlite":
        # a missing file must not be made by looking at it
        if not address.database or not Path(address.database).is_file():
            raise _unreadable(service, address, f"there is no file {address.database}")
        path = Path(address.database).absolute()
        address = address.set(database=f"file:{path}", query={"mode": "ro", "uri": "true"})
    return address.set(drivername=_DRIVERS[backend])


def _engine(address: URL) -> AsyncEngine:
    if address.get_backend_name() == "postgresql":
        return create_async_engine(
            address,
            poolclass=NullPool,
            isolation_level="REPEATABLE READ",
            execution_options={"postgresql_readonly": True},
            connect_args={"timeout": CONNECT_SECONDS, "command_timeout": STATEMENT_SECONDS},
        )
    engine = create_async_engine(address, poolclass=NullPool, connect_args={"timeout": CONNECT_SECONDS})
    event.listen(engine.sync_engine, "connect", _only_read)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _only_read(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins no transaction for a SELECT: see _begin
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only=ON")
    cursor.close()


def _begin(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")


_MENDS: Mapping[str, str] = {
    "no file": "start the service once (make up), or give its database: --{service} URL",
    "no such table": "is this the {service} database? It has not been migrated by the {service} service",
    "does not exist": "is this the {service} database, and was its service started on it? Else give --{service} URL",
    "no such column": "the table is of another version: run the auditor of the release that the service runs",
    "password": "the URL's user or password is wrong; make operator shows where the stack keeps them",
    "locked": "another process has it exclusively; try again",
}


def _unreadable(service: str, address: URL, reason: str) -> Unreadable:
    mend = next(
        (text for sign, text in _MENDS.items() if sign in reason.lower()), "is it running, and is this its URL?"
    )
    shown = address.render_as_string(hide_password=True)
    return Unreadable(service, reason.splitlines()[0], f"{shown}: {mend.format(service=service)}")
