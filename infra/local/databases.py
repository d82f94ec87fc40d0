"""Where each service's database is."""

from infra.local import secrets
from infra.local.settings import MODULES, LocalSettings
from infra.local.state import StateDirectory


def sqlite_url(state: StateDirectory, module: str) -> str:
    """SQLAlchemy URL of a service's SQLite file."""
    return f"sqlite+aiosqlite:///{state.data / module}.sqlite"


def url(settings: LocalSettings, state: StateDirectory, module: str) -> str:
    """SQLAlchemy URL of a service's database. It may hold a password: never print it, never pass it on a command line.

    Raises:
        FileNotFoundError: the stack was never started, so the password was never made.
    """
    if settings.database == "sqlite":
        return sqlite_url(state, module)
    return secrets.read(state, module, "database_url")


def write_secrets(settings: LocalSettings, state: StateDirectory) -> None:
    """Put each service's `database_url` where only the service reads it, or take it away when SQLite needs none."""
    if settings.database == "sqlite":
        for module in MODULES:
            secrets.forget(state, module, "database_url")
        return
    # here, as most commands are quicker done than SQLAlchemy is imported
    from sqlalchemy.engine import URL

    for module in MODULES:
        address = settings.external_database(module) or URL.create(
            "postgresql+asyncpg",
            username=module,
            password=secrets.ensure_own(state, module, "postgres_password"),
            host="127.0.0.1",
            port=settings.postgres_port,
            database=module,
        )
        secrets.write(state, module, "database_url", address.render_as_string(hide_password=False))
