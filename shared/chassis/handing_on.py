"""Connections that one short transaction hands to the next, instead of back to the pool and out of it again.

A visit to the pool costs more than a transaction on SQLite: a greenlet, a task's time limit, a reset of what is clean.
Whoever wants a connection of the pool itself says so with `claimed()`: then nothing is kept from it, and everybody
queues at the pool.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.util import greenlet_spawn


class HandingOn:
    """The connections of one engine that are out for short transactions, `size` at most.

    wait_seconds: how long one may be waited for; longer is a TimeoutError, or what the pool raises when it is sooner
    """

    def __init__(self, engine: Engine, size: int, wait_seconds: float) -> None:
        self._engine, self._size, self._wait = engine, size, wait_seconds
        self._out = 0
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._claims = 0

    @property
    def idle(self) -> int:
        """Connections that the pool counts as taken, and that nobody uses."""
        return len(self._idle)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection on which nothing has begun, for one transaction that is over at the end of the block."""
        connection = await self._take()
        try:
            yield connection
        finally:
            self._give(connection)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """For as long as somebody waits for a connection of the pool: none is kept from it."""
        self._claims += 1
        self.let_go()
        try:
            yield
        finally:
            self._claims -= 1

    def let_go(self) -> None:
        """Give the pool what is idle."""
        while self._idle:
            self._give_back(self._idle.pop())

    async def _take(self) -> Connection:
        if self._idle:
            return self._idle.pop()
        try:
            async with asyncio.timeout(self._wait):
                handed = await self._handed() if self._out >= self._size and not self._claims else None
                return handed or await self._of_the_pool()
        except TimeoutError:
            raise TimeoutError(f"no connection within {self._wait:g} s") from None

    async def _handed(self) -> Connection | None:
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._pass_on(turn.result())  # it came too late
            raise

    async def _of_the_pool(self) -> Connection:
        self._out += 1
        try:
            # the connection below the asynchronous one, which costs a task of its own
            return await greenlet_spawn(self._engine.connect)
        except BaseException:
            self._gone()
            raise

    def _give(self, connection: Connection) -> None:
        if self._claims or connection.closed or connection.invalidated or connection.in_transaction():
            self._give_back(connection)
        else:
            self._pass_on(connection)

    def _pass_on(self, connection: Connection | None) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        if connection is not None:
            self._idle.append(connection)

    def _give_back(self, connection: Connection) -> None:
        try:
            connection.close()
        finally:
            self._gone()

    def _gone(self) -> None:
        self._out -= 1
        self._pass_on(None)  # whoever is next asks the pool
