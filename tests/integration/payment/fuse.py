"""Kills and cancellations at an exact step of an operation."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.chassis.database import Database


class Killed(BaseException):
    """The process ends here: nothing below may catch it."""


def kill() -> None:
    """As SIGKILL does: no step follows this one."""
    raise Killed


def cancel() -> None:
    """As a client that hangs up or a time limit does: the next wait ends in `CancelledError`."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


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

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        self.fuse.step()
        async with super().write() as connection:
            yield connection
            self.fuse.step()
        self.fuse.step()
