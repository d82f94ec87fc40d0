"""Migrations are applied once, wholly, and never backwards."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from shared.chassis.database import Database, DatabaseUnavailable
from shared.chassis.migrations import SchemaUnknown, migrate
from tests.integration.chassis.notes import assert_no_lock_is_held, stranger
from tests.integration.chassis.processes import apply_migrations, together

ENVIRONMENT = "from shared.chassis import migration_env\n\nmigration_env.run()\n"
REVISION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = {revision!r}, {previous!r}


def upgrade():
    op.create_table("table_{revision}", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("INSERT INTO table_{revision} VALUES (1)")
    {body}
"""


def folder(parent: Path, *bodies: str) -> Path:
    """A migrations folder with one revision for each body, the first of them 0001."""
    directory = parent / "migrations 100%"  # Alembic gives the percent sign a meaning of its own
    versions = directory / "versions"
    versions.mkdir(parents=True, exist_ok=True)
    (directory / "env.py").write_text(ENVIRONMENT)
    for old in versions.glob("*.py"):
        old.unlink()
    for number, body in enumerate(bodies, 1):
        source = REVISION.format(
            revision=f"{number:04}", previous=f"{number - 1:04}" if number > 1 else None, body=body
        )
        (versions / f"{number:04}_step.py").write_text(source)
    return directory


async def tables(database: Database) -> set[str]:
    async with database.read() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


async def test_ten_starts_at_once_on_an_empty_database_migrate_it_once(database_url: str, tmp_path: Path) -> None:
    directory = folder(tmp_path, "pass", "pass")
    answers = await asyncio.to_thread(together, apply_migrations, [(database_url, directory)] * 10)
    assert answers == ["0002"] * 10
    database = Database(database_url)
    async with database.read() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM table_0001"))).scalar_one() == 1
        assert (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalars().all() == ["0002"]
    await database.close()


async def test_a_failed_migration_leaves_nothing_half_done(database_url: str, tmp_path: Path) -> None:
    database = Database(database_url)
    assert await migrate(database, folder(tmp_path, "pass")) == "0001"
    before = await tables(database)
    with pytest.raises(ZeroDivisionError):
        await migrate(database, folder(tmp_path, "pass", "pass", "1 / 0"))
    assert await tables(database) == before
    assert_no_lock_is_held(database)
    assert await migrate(database, folder(tmp_path, "pass", "pass", "pass")) == "0003"
    assert await tables(database) == before | {"table_0002", "table_0003"}
    await database.close()


async def test_a_database_newer_than_the_code_is_refused_and_left_alone(database_url: str, tmp_path: Path) -> None:
    database = Database(database_url)
    await migrate(database, folder(tmp_path, "pass", "pass"))
    before = await tables(database)
    with pytest.raises(SchemaUnknown, match="at revision 0002, newer than this version, which ends at 0001"):
        await migrate(database, folder(tmp_path, "pass"))
    assert await tables(database) == before
    await database.close()


async def test_a_migrated_database_is_left_as_it_is(database_url: str, tmp_path: Path) -> None:
    database = Database(database_url)
    directory = folder(tmp_path, "pass")
    assert [await migrate(database, directory) for _ in range(3)] == ["0001"] * 3
    await database.close()


async def test_a_folder_without_migrations_is_a_defect(sqlite_url: str, tmp_path: Path) -> None:
    database = Database(sqlite_url)
    with pytest.raises(RuntimeError, match="no migrations"):
        await migrate(database, folder(tmp_path))
    await database.close()


async def test_a_locked_database_is_unavailable_for_migration(sqlite_url: str, tmp_path: Path) -> None:
    database = Database(sqlite_url, busy_seconds=0.05)
    await database.ping()
    other = stranger(database)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable):
        await migrate(database, folder(tmp_path, "pass"))
    other.close()
    await database.close()


async def test_a_migration_may_take_longer_than_a_request(postgres_url: str, tmp_path: Path) -> None:
    database = Database(postgres_url, wait_seconds=0.2)
    await migrate(database, folder(tmp_path, 'op.execute("SELECT pg_sleep(0.5)")'))
    await database.close()
