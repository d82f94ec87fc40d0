"""Migrations as a job of their own, and services that wait for it: real processes, on both databases."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from sqlalchemy import text

from shared.chassis.database import Database
from tests.integration.chassis.test_migrations import folder
from tests.integration.chassis.test_serve import ROOT, Start, start, wait_for  # noqa: F401 - a fixture


def migrate(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the job, which is given no secret but the database's address."""
    return subprocess.run(
        [sys.executable, "-m", "tests.fixtures.tiny_service", *words],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_replica_that_does_not_migrate_starts_once_a_job_has(
    start: Start,  # noqa: F811
    database_url: str,
    tmp_path: Path,
) -> None:
    service = start(MIGRATE="off", DATABASE_URL=database_url)
    wait_for(lambda: service.listens(service.port))
    assert service.ask("GET", "/health/startup") == (503, {"status": "starting"})
    assert service.ask("GET", "/health/ready")[0] == 503
    assert service.ask("GET", "/health/live")[0] == 200
    status, problem = service.ask("POST", "/echo", b"12345")
    assert (status, problem["type"], problem["detail"]) == (503, "/problems/starting", "the database is being migrated")

    done = migrate("migrate", DATABASE_URL=database_url, MIGRATIONS=str(tmp_path / "migrations 100%"))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout.splitlines()[-1])["revision"] == "0001"

    service.wait_ready()
    assert service.ask("GET", "/health/startup")[0] == 200
    assert service.ask("POST", "/echo", b"12345")[0] == 200
    service.process.send_signal(signal.SIGTERM)
    code, out, err = service.end()
    assert (code, err) == (0, "")
    reasons = [line.get("reason") for line in map(json.loads, out.splitlines()) if "waiting for" in line["event"]]
    assert reasons == ["the database is at revision none, this version needs 0001"]


async def test_a_replica_that_does_not_migrate_leaves_the_schema_alone(
    start: Start,  # noqa: F811
    database_url: str,
    tmp_path: Path,
) -> None:
    directory = tmp_path / "migrations 100%"
    assert migrate("migrate", DATABASE_URL=database_url, MIGRATIONS=str(directory)).returncode == 0
    folder(tmp_path, "pass", "pass")  # the next version of the code
    service = start(MIGRATE="off", DATABASE_URL=database_url)
    wait_for(lambda: service.listens(service.port))
    assert service.ask("GET", "/health/ready")[0] == 503
    service.process.send_signal(signal.SIGTERM)
    assert service.end()[0] == 0
    database = Database(database_url)
    async with database.read() as connection:
        assert (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalars().all() == ["0001"]
    await database.close()


def test_a_database_that_a_newer_version_has_migrated_ends_the_job_and_the_wait(
    start: Start,  # noqa: F811
    sqlite_url: str,
    tmp_path: Path,
) -> None:
    directory = folder(tmp_path, "pass", "pass")
    assert migrate("migrate", DATABASE_URL=sqlite_url, MIGRATIONS=str(directory)).returncode == 0
    folder(tmp_path, "pass")
    done = migrate("migrate", DATABASE_URL=sqlite_url, MIGRATIONS=str(directory))
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert "at revision 0002, newer than this version, which ends at 0001" in done.stderr
    assert start(MIGRATE="off", DATABASE_URL=sqlite_url).end()[0] == 78


def test_a_job_that_cannot_be_done_says_why_by_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    directory = str(folder(tmp_path, "pass"))
    away = migrate("migrate", DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path}/file/db", MIGRATIONS=directory)
    wrong = migrate("migrate", DATABASE_URL="mysql://root:hunter2@db/x", MIGRATIONS=directory)
    unknown = migrate("downgrade", DATABASE_URL="", MIGRATIONS=directory)
    assert [done.returncode for done in (away, wrong, unknown)] == [75, 78, 64]
    assert "unable to open database file" in away.stderr
    assert "DATABASE_URL: " in wrong.stderr
    assert "hunter2" not in wrong.stderr
