"""The operators' log: what was done from the page and which alerts came, kept over a restart, the newest 500."""

from typing import Any

import sqlalchemy as sa
import structlog

from shared.chassis.clock import Clock, milliseconds
from shared.chassis.database import Database, DatabaseUnavailable

KEPT = 500
_SHOWN = 40
_LONGEST = 500

log = structlog.get_logger()

_metadata = sa.MetaData()
_log = sa.Table(
    "log",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("text", sa.String(_LONGEST), nullable=False),
)


class OperatorsLog:
    """Writes and reads. `write` and `newest` raise `DatabaseUnavailable`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    async def write(self, kind: str, *texts: str) -> None:
        """Add lines of one kind (`deed`, `alert`), and forget the oldest ones."""
        now = milliseconds(self._clock)
        rows = [{"at_ms": now, "kind": kind, "text": text[:_LONGEST]} for text in texts]

        def add(connection: sa.Connection) -> None:
            connection.execute(sa.insert(_log), rows)
            newest = connection.execute(sa.select(sa.func.max(_log.c.id))).scalar_one()
            connection.execute(sa.delete(_log).where(_log.c.id <= newest - KEPT))

        if rows:
            await self._database.transact(add)

    async def note(self, text: str) -> None:
        """Add a deed. It has been done already: a log that cannot be written must not make it look undone."""
        try:
            await self.write("deed", text)
        except DatabaseUnavailable as error:
            log.warning("deed not written down", deed=text, reason=str(error))

    async def newest(self) -> list[dict[str, Any]]:
        """The last lines, newest first, `{"at": Unix seconds, "kind", "text"}`."""
        query = sa.select(_log.c.at_ms, _log.c.kind, _log.c.text).order_by(_log.c.id.desc()).limit(_SHOWN)
        async with self._database.read() as connection:
            return [{"at": at / 1000, "kind": kind, "text": text} for at, kind, text in await connection.execute(query)]
