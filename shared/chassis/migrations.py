"""Alembic migrations, applied when a service starts, by one replica at a time."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from shared.chassis.database import Database

_POSTGRES_LOCK = 0x401DFA57
"""Key of the advisory lock: any constant that nothing else in the database uses."""


class SchemaUnknown(Exception):
    """The database has been migrated by a newer version of the service: this one must not touch it."""


async def migrate(database: Database, directory: Path) -> str:
    """Bring the database to the newest revision in `directory` and return that revision.

    Replicas that start together wait for each other: on SQLite the whole upgrade is one write transaction, on Postgres
    it holds an advisory lock, released with the transaction. What fails leaves everything as it was.

    Raises `SchemaUnknown`, `DatabaseUnavailable`, or what a migration raises.
    """
    config = Config()
    config.set_main_option("script_location", str(directory).replace("%", "%%"))  # Alembic interpolates
    script = ScriptDirectory.from_config(config)
    newest = script.get_current_head()
    if newest is None:
        raise RuntimeError(f"no migrations in {directory}")
    async with database.upgrade() as connection:
        if not database.is_sqlite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
        await connection.run_sync(_upgrade, config, {revision.revision for revision in script.walk_revisions()}, newest)
    return newest


def _upgrade(connection: Connection, config: Config, known: set[str], newest: str) -> None:
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise SchemaUnknown(f"the database is at revision {current}, newer than this version, which ends at {newest}")
    if current != newest:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
