"""The engine and the sessions of one of the tutorial's services."""

from collections.abc import AsyncIterator
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase


def make_engine(url: str) -> AsyncEngine:
    """As `create_async_engine` makes it; SQLite with the pragmas that ours has."""
    engine = create_async_engine(url)
    if url.startswith("sqlite"):
        event.listen(engine.sync_engine, "connect", _prepare)
    return engine


def _prepare(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class Sessions:
    """A session a request: `Depends(sessions)`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._make = async_sessionmaker(engine, expire_on_commit=False)

    async def __call__(self) -> AsyncIterator[AsyncSession]:
        """The session, closed when the request has been answered."""
        async with self._make() as session:
            yield session


async def create_tables(engine: AsyncEngine, base: type[DeclarativeBase]) -> None:
    """As tutorials do at the start."""
    async with engine.begin() as connection:
        await connection.run_sync(base.metadata.create_all)
