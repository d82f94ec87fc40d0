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


async def migrate(database: Database, directory: Path) -> str:
    """Bring the database to the newest revision in `directory` and return that revision.

    Replicas that start together wait for each other: on SQLite the whole upgrade is one write transaction, on Postgres
    it holds an advisory lock, released with the transaction.
    """
    config = Config()
    config.set_main_option("script_location", str(directory))
    async with database.write() as connection:
        if not database.is_sqlite:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRES_LOCK})
        return await connection.run_sync(_upgrade, config)


def _upgrade(connection: Connection, config: Config) -> str:
    config.attributes["connection"] = connection
    newest = ScriptDirectory.from_config(config).get_current_head()
    if newest is None:
        raise RuntimeError(f"no migrations in {config.get_main_option('script_location')}")
    if MigrationContext.configure(connection).get_current_revision() != newest:
        command.upgrade(config, "head")
    return newest
