"""Alembic migrations, applied by one process at a time: a service that starts, or a job of its own."""

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


class SchemaBehind(Exception):
    """The database lacks migrations of this version, and it is not for this process to apply them."""


async def migrate(database: Database, directory: Path) -> str:
    """Bring the database to the newest revision in `directory` and return that revision.

    Replicas that start together wait for each other: on SQLite the whole upgrade is one write transaction, on Postgres
    it holds an advisory lock, released with the transaction. What fails leaves everything as it was.

    Raises `SchemaUnknown`, `DatabaseUnavailable`, or what a migration raises.
    """
    history = _History(directory)
    async with database.upgrade() as connection:
        if not database.is_sqlite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
        await connection.run_sync(history.upgrade)
    return history.newest


async def require_migrated(database: Database, directory: Path) -> str:
    """The newest revision in `directory`, which the database must be at already; it is only read.

    Raises `SchemaBehind`, `SchemaUnknown` or `DatabaseUnavailable`.
    """
    history = _History(directory)
    async with database.read() as connection:
        current = await connection.run_sync(history.current)
    if current != history.newest:
        raise SchemaBehind(f"the database is at revision {current or 'none'}, this version needs {history.newest}")
    return history.newest


class _History:
    """The revisions in a folder."""

    def __init__(self, directory: Path) -> None:
        self._config = Config()
        self._config.set_main_option("script_location", str(directory).replace("%", "%%"))  # Alembic interpolates
        script = ScriptDirectory.from_config(self._config)
        newest = script.get_current_head()
        if newest is None:
            raise RuntimeError(f"no migrations in {directory}")
        self.newest, self._known = newest, {revision.revision for revision in script.walk_revisions()}

    def current(self, connection: Connection) -> str | None:
        """The database's revision, None before the first migration. Raises `SchemaUnknown`."""
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current not in self._known:
            raise SchemaUnknown(
                f"the database is at revision {current}, newer than this version, which ends at {self.newest}"
            )
        return current

    def upgrade(self, connection: Connection) -> None:
        """Apply what is missing, in the transaction that is open."""
        if self.current(connection) != self.newest:
            self._config.attributes["connection"] = connection
            command.upgrade(self._config, "head")
