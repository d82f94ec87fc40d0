"""One database a service: SQLite in WAL mode or Postgres, through SQLAlchemy's async engine.

Writers and readers have a pool each. On SQLite the writers' pool holds one connection: a process then queues for the
write lock fairly, in memory, instead of polling the file for it, and only other processes are waited for.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, TypeVar

import asyncpg
import orjson
import structlog
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, NullPool

from shared.chassis import sqlite_driver
from shared.chassis.damage import CHECK_SECONDS, find_damage
from shared.chassis.handing_on import HandingOn
from shared.chassis.outage import DatabaseDamaged, DatabaseUnavailable, is_damage, is_outage
from shared.telemetry.statements import trace_statements

SQLITE_BUSY_SECONDS = 5.0
"""How long a write block may wait for another process's write transaction."""

_CLOSE_SECONDS = 2.0

_LARGEST_IDLE_LOG_BYTES = 5 * 2**20
"""SQLite's write-ahead log is cut to this once all of it is in the database: it stays as long as it ever was, else.
SQLite looks after that at 4 MB, so in quiet times nothing is cut."""

spared: ContextVar[bool] = ContextVar("spared", default=False)
"""Whether the statements under way are those of a health check, which faults on purpose leave alone."""

T = TypeVar("T")

_JSON: dict[str, Any] = {
    "json_serializer": lambda value: orjson.dumps(value).decode(),
    "json_deserializer": orjson.loads,
}

_MEND = "restore it from a backup, or move it away to begin anew (docs/operations.md, A damaged database)"

log = structlog.get_logger()

__all__ = ["SQLITE_BUSY_SECONDS", "Database", "DatabaseDamaged", "DatabaseUnavailable", "spared"]


class Database:
    """The connections of one service to its own database.

    `read()` and `write()` yield a connection: a write block is one transaction, committed at its end and rolled back on
    any exception (cancellation included); a read block sees committed data, takes no lock and cannot write.
    `transact()`, `once()` and `query()` are such blocks whose body is a plain function: on SQLite they cost a third, so
    they are for busy paths.

    All raise `DatabaseUnavailable` when there is no connection to be had in time, when the database is away, full or
    locked for too long, and when it has given up the transaction (deadlock): the same block may succeed later. What
    the block itself raises passes through untouched.

    Once SQLite has found its file damaged, every block raises `DatabaseDamaged`, one of them, until the process ends:
    what is written to such a file may spoil more of it.
    """

    def __init__(
        self,
        url: str,
        *,
        readers: int = 4,
        writers: int = 8,
        wait_seconds: float = 5.0,
        busy_seconds: float = SQLITE_BUSY_SECONDS,
        synchronous: str = "normal",
    ) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._wait = wait_seconds
        self._short: dict[AsyncEngine, HandingOn] = {}
        self._in_use = 0
        self._unused = asyncio.Event()
        self._closed = False
        self._damage = ""
        self.statements = self.commits = 0  # since the start
        if self.is_sqlite:
            lasting = (
                "journal_mode=WAL",
                f"journal_size_limit={_LARGEST_IDLE_LOG_BYTES}",
                f"synchronous={synchronous}",
                "foreign_keys=ON",
            )
            # IMMEDIATE: a transaction that reads first cannot become a writer in WAL mode once another has written
            self._writer = self._sqlite(1, busy_seconds, lasting, begin="IMMEDIATE")
            self._reader = self._sqlite(readers, busy_seconds, (*lasting, "query_only=ON"), begin=None)
            sizes = ((self._writer, 1), (self._reader, readers))
            self._short = {engine: HandingOn(engine.sync_engine, size, wait_seconds) for engine, size in sizes}
        else:
            self._writer = self._postgres(writers)
            read_only = {"default_transaction_read_only": "on"}
            self._reader = self._postgres(readers, isolation_level="AUTOCOMMIT", server_settings=read_only)
        # the same connections, no transaction around the statements
        self._at_once = self._writer.execution_options(isolation_level="AUTOCOMMIT")
        event.listen(self._writer.sync_engine, "commit", self._count_commit)
        for engine in (self._writer, self._reader):
            trace_statements(engine.sync_engine, self.url.get_backend_name())

    def _sqlite(self, size: int, busy_seconds: float, pragmas: tuple[str, ...], *, begin: str | None) -> AsyncEngine:
        if self.url.database:
            with suppress(OSError):  # the first connection tells what is wrong with the place, at a better time
                Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_async_engine(
            self.url.set(drivername=sqlite_driver.DRIVER),
            poolclass=AsyncAdaptedQueuePool,
            pool_size=size,
            max_overflow=0,
            pool_timeout=self._wait,
            begin=begin,
            connect_args={"pragmas": pragmas, "patience": busy_seconds},
            **_JSON,
        )
        self._watch(engine)
        return engine

    def _postgres(self, size: int, *, server_settings: dict[str, str] | None = None, **options: Any) -> AsyncEngine:
        limits = {"timeout": self._wait, "command_timeout": self._wait, "server_settings": server_settings or {}}
        engine = create_async_engine(
            self.url,
            pool_size=size,
            max_overflow=0,
            pool_timeout=self._wait,
            connect_args=limits,
            **options,
            **_JSON,
        )
        self._watch(engine)
        event.listen(engine.sync_engine, "checkout", _replace_closed)
        return engine

    def _watch(self, engine: AsyncEngine) -> None:
        event.listen(engine.sync_engine, "handle_error", self._name_outage, retval=True)
        event.listen(engine.sync_engine, "before_cursor_execute", self._count_statement)

    def _count_statement(self, *_: Any) -> None:
        self.statements += 1

    def _count_commit(self, _connection: Connection) -> None:
        self.commits += 1

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One write transaction. Raises `DatabaseUnavailable`, see the class."""
        async with self._connected(self._writer) as connection, connection.begin():
            yield connection

    async def transact(self, body: Callable[[Connection], T]) -> T:
        """One write transaction: what `body(connection)` returns. Raises `DatabaseUnavailable`, see the class.

        `body` works on the connection alone, and waits for nothing else: on SQLite it runs in the connection's thread,
        where a whole transaction is a single crossing of threads instead of one a statement. On Postgres each of its
        statements is awaited.
        """
        if self.is_sqlite:
            return await self._in_one_hop(self._writer, body)
        async with self._connected(self._writer) as connection, connection.begin():
            return await connection.run_sync(body)

    async def once(self, body: Callable[[Connection], T]) -> T:
        """As `transact`, for a body with one statement that changes anything. Raises `DatabaseUnavailable`.

        On Postgres each statement is a transaction of its own: one round trip, where beginning and committing are two
        more. Whoever is cancelled meanwhile does not know whether it was committed, as while waiting for a commit.
        """
        if self.is_sqlite:
            return await self.transact(body)
        async with self._connected(self._at_once) as connection:
            result = await connection.run_sync(body)
        self.commits += 1
        return result

    async def query(self, body: Callable[[Connection], T]) -> T:
        """As `transact`, with a connection for reading. Raises `DatabaseUnavailable`, see the class."""
        if self.is_sqlite:
            return await self._in_one_hop(self._reader, body)
        async with self._connected(self._reader) as connection:
            return await connection.run_sync(body)

    async def _in_one_hop(self, engine: AsyncEngine, body: Callable[[Connection], T]) -> T:
        with self._noted():
            async with AsyncExitStack() as stack:
                with self._connecting():
                    connection = await stack.enter_async_context(self._short[engine].connection())
                return await sqlite_driver.in_one_hop(connection, body)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading committed data. Raises `DatabaseUnavailable`, see the class."""
        async with self._connected(self._reader) as connection:
            yield connection

    @asynccontextmanager
    async def upgrade(self) -> AsyncIterator[AsyncConnection]:
        """One write transaction whose statements may take as long as they need, for migrations."""
        if self.is_sqlite:
            async with self.write() as connection:
                yield connection
            return
        engine = create_async_engine(self.url, poolclass=NullPool, connect_args={"timeout": self._wait}, **_JSON)
        event.listen(engine.sync_engine, "handle_error", self._name_outage, retval=True)
        async with self._connected(engine) as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def _connected(self, engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
        with self._noted():
            async with AsyncExitStack() as stack:
                with self._connecting(), short.claimed() if (short := self._short.get(engine)) else nullcontext():
                    connection = await stack.enter_async_context(engine.connect())
                yield connection

    @contextmanager
    def _noted(self) -> Iterator[None]:
        if self._closed:
            raise DatabaseUnavailable("closed")
        if self._damage:
            raise DatabaseDamaged(self._damage)
        self._in_use += 1
        try:
            yield
        finally:
            self._in_use -= 1
            if not self._in_use:
                self._unused.set()

    @contextmanager
    def _connecting(self) -> Iterator[None]:
        try:
            yield
        except (PoolTimeout, OSError) as error:
            raise DatabaseUnavailable(_reason(error)) from error
        except (DBAPIError, asyncpg.PostgresError) as error:
            if is_damage(error):
                raise self._damaged(_reason(error)) from error
            if not is_outage(getattr(error, "orig", error)):
                raise
            raise DatabaseUnavailable(_reason(error)) from error

    def _name_outage(self, context: ExceptionContext) -> BaseException | None:
        error = context.original_exception
        if not isinstance(error, Exception):  # a cancellation, which also costs the connection, stays what it is
            return None
        if is_damage(error):
            return self._damaged(_reason(error))
        return DatabaseUnavailable(_reason(error)) if context.is_disconnect or is_outage(error) else None

    def _damaged(self, reason: str) -> DatabaseDamaged:
        if not self._damage:
            self._damage = f"the file {self.url.database} is damaged: {reason}; {_MEND}"
            log.error("database damaged, nothing is read or written any more", reason=self._damage)
        return DatabaseDamaged(self._damage)

    async def verify(self, seconds: float = CHECK_SECONDS) -> None:
        """Look through an SQLite file for at most so long, before it is used. Raises `DatabaseDamaged`."""
        if not self.is_sqlite or not self.url.database:
            return
        found, longest = "", 1.5 * seconds  # SQLite before 3.42 does not stop in the middle of a large table
        with suppress(TimeoutError):
            async with asyncio.timeout(longest):
                found = await asyncio.to_thread(find_damage, Path(self.url.database), seconds)
        if found:
            raise self._damaged(found)

    async def ping(self) -> None:
        """Answer a trivial query, or raise `DatabaseUnavailable`."""
        before = spared.set(True)
        try:
            async with self.read() as connection:
                await connection.execute(text("SELECT 1"))
        finally:
            spared.reset(before)

    @property
    def sync_engines(self) -> tuple[Engine, Engine]:
        """The engines of writers and readers, for those who listen to their events."""
        return self._writer.sync_engine, self._reader.sync_engine

    def connected(self, pool: Literal["write", "read"]) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection of a pool, on which nothing has begun. Raises `DatabaseUnavailable`, see the class."""
        return self._connected(self._writer if pool == "write" else self._reader)

    def pools(self) -> dict[str, tuple[int, int]]:
        """Connections in use and at most, for each pool."""
        found = {}
        for name, engine in (("write", self._writer), ("read", self._reader)):
            pool: Any = engine.sync_engine.pool
            idle = self._short[engine].idle if self._short else 0
            found[name] = pool.checkedout() - idle, pool.size()
        return found

    async def close(self) -> None:
        """Take no more work, let what was cancelled roll back for a moment, and close every connection."""
        self._closed = True
        self._unused.clear()
        if self._in_use:
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._unused.wait()
            except TimeoutError:
                pass  # what still runs closes its connection itself, when it ends
        for short in self._short.values():
            short.let_go()
        await self._writer.dispose()
        await self._reader.dispose()


def _replace_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    # the driver knows when the server has hung up, and knowing it costs no round trip
    if connection.driver_connection.is_closed():
        raise DisconnectionError("closed by the server")


def _reason(error: BaseException) -> str:
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {cause}"
