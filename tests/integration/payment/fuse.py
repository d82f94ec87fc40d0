"""Kills and cancellations at an exact step of an operation."""

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from sqlalchemy import Connection

from shared.chassis.database import Database

T = TypeVar("T")
WORKING: ContextVar[asyncio.Task[Any]] = ContextVar("working")
"""The task whose step it is, known in the database's thread too."""


class Killed(BaseException):
    """The process ends here: nothing below may catch it."""


def kill() -> None:
    """As SIGKILL does: no step follows this one."""
    raise Killed


def cancel() -> None:
    """As a client that hangs up or a time limit does: the next wait ends in `CancelledError`."""
    task = WORKING.get()
    if task.get_loop() is _running_loop():
        task.cancel()
        return
    cancelled = threading.Event()  # in the database's thread, while the task waits for the transaction
    task.get_loop().call_soon_threadsafe(lambda: (task.cancel(), cancelled.set()))
    assert cancelled.wait(60)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Fuse:
    """Blows at the n-th step after `set`; every step before and after goes through."""

    def __init__(self, blow: Callable[[], None]) -> None:
        self._blow = blow
        self._left = 0
        self.blown = False

    def set(self, steps: int) -> None:
        """Blow at the `steps`-th step from now; 0 for never."""
        self._left, self.blown = steps, False

    def step(self) -> None:
        """One step."""
        if self._left:
            self._left -= 1
            if not self._left:
                self.blown = True
                self._blow()

    async def sleep(self, _seconds: float) -> None:
        """A step of the card network: what it calls to let time pass."""
        self.step()
        await asyncio.sleep(0)


class FusedDatabase(Database):
    """A database with a step before each write transaction, before its commit, and after it."""

    fuse: Fuse

    async def transact(self, body: Callable[[Connection], T]) -> T:
        self.fuse.step()

        def stepping(connection: Connection) -> T:
            result = body(connection)
            self.fuse.step()
            return result

        result = await super().transact(stepping)
        self.fuse.step()
        return result

    async def once(self, body: Callable[[Connection], T]) -> T:
        if self.is_sqlite:
            return await super().once(body)  # which is `transact`
        self.fuse.step()
        self.fuse.step()  # a statement is its own commit: before the commit nothing has happened, as before it
        result = await super().once(body)
        self.fuse.step()
        return result
