"""Typed settings, read once at start from the environment and from secret files."""

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

EX_CONFIG = 78
"""Exit code of sysexits(3) for bad configuration: starting again would not help."""


class ConfigurationError(Exception):
    """A setting is missing or wrong; the message names it and says why."""


class DatabaseSettings(BaseSettings):
    """Which database, and who asks: all that migrating it takes, so that a job for it holds no other secret.

    A field is read from the environment variable of its name, or from a file of its name in `SECRETS_DIR`.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    service: str
    instance: str = Field(default="local-1", pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")
    database_url: SecretStr
    sqlite_synchronous: Literal["full", "normal"] = "normal"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: SecretStr) -> SecretStr:
        text = url.get_secret_value()
        if not text.startswith(("sqlite+aiosqlite:///", "postgresql+asyncpg://")):
            raise ValueError("must start with sqlite+aiosqlite:/// or postgresql+asyncpg://")
        try:
            database = make_url(text).database or ""
        except (ArgumentError, ValueError):
            raise ValueError("cannot be read as a URL") from None  # what is wrong would quote the password
        if database in ("", ":memory:") or "\0" in database:
            raise ValueError("must name a database (a file for SQLite)")
        return url

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Read the settings of this process, those in `given` left out, or raise `ConfigurationError`."""
        secrets = os.environ.get("SECRETS_DIR") or None
        if secrets is not None and not Path(secrets).is_dir():
            raise ConfigurationError(f"SECRETS_DIR: {secrets} is not a directory")
        try:
            return cls(_secrets_dir=secrets, **given)
        except ValidationError as error:
            raise ConfigurationError("; ".join(_reasons(error))) from None
        except SettingsError as error:
            raise ConfigurationError(" ".join(str(error).split())) from None
        except (OSError, UnicodeError) as error:
            raise ConfigurationError(
                f"SECRETS_DIR: a file in {secrets} cannot be read: {type(error).__name__}"
            ) from None


class ServiceSettings(DatabaseSettings):
    """What every service needs to start; a service adds its own fields in a subclass."""

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535)
    service_port: int = Field(default=0, ge=0, le=65535)
    migrate: Literal["on", "off"] = "on"
    """`off`: somebody else migrates the database (`python -m services.<name> migrate`), and the start waits for it."""

    nats_url: str = ""
    nats_password: SecretStr = SecretStr("")
    nats_replicas: int = Field(default=1, ge=1, le=5)
    prometheus_url: str = ""
    admin_token: SecretStr = Field(min_length=16)
    otlp_token: SecretStr = SecretStr("")
    api_version: Literal["v1", "v2"] = "v1"
    drain_seconds: float = Field(default=8.0, gt=0, le=120)
    max_body_bytes: int = Field(default=65_536, ge=1_024)
    request_seconds: float = Field(default=10.0, gt=0, le=120)
    max_requests: int = Field(default=1_024, ge=1)
    fault_injection: Literal["on", "off"] = "off"


def _reasons(error: ValidationError) -> list[str]:
    # `input` is left out: it may be a secret
    problems = error.errors(include_input=False, include_url=False)
    return [
        f"{'.'.join(str(part) for part in problem['loc']).upper() or 'SETTINGS'}: {' '.join(problem['msg'].split())}"
        for problem in problems
    ]
