"""The table of the transactional outbox, for a service's metadata and for its migrations."""

from typing import Any

from alembic import op
from sqlalchemy import JSON, BigInteger, Column, Integer, MetaData, String, Table

NAME = "outbox"

# sqlite_autoincrement: without it SQLite gives the id of a deleted row to the next one, and a relay that was paused
# past its lease would then delete a message that it has never sent


def outbox_table(metadata: MetaData) -> Table:
    """The outbox in `metadata`. Times are epoch milliseconds; `claimed_until` is 0 for a row that nobody claims."""
    return Table(NAME, metadata, *_columns(), sqlite_autoincrement=True)


def create_outbox_table() -> None:
    """Create the outbox, inside an alembic revision's `upgrade`."""
    op.create_table(NAME, *_columns(), sqlite_autoincrement=True)


def drop_outbox_table() -> None:
    """Drop the outbox, inside an alembic revision's `downgrade`."""
    op.drop_table(NAME)


def _columns() -> list[Column[Any]]:
    return [
        # on SQLite only INTEGER PRIMARY KEY numbers its rows by itself
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("message_id", String(120), nullable=False, unique=True),
        Column("subject", String(200), nullable=False),
        Column("body", JSON, nullable=False),
        Column("headers", JSON, nullable=False),
        Column("created_at", BigInteger, nullable=False),
        Column("claimed_until", BigInteger, nullable=False, server_default="0"),
        Column("attempts", Integer, nullable=False, server_default="0"),
    ]
