"""`python -m chaos.gate`: serves the gate, set up by variables that begin with `GATE_`."""

import sys
from pathlib import Path
from typing import Annotated

import httpx
import uvicorn
from pydantic import Field, HttpUrl, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from chaos.gate import objectives
from chaos.gate.app import create_app

_EX_CONFIG = 78
_MOST_CONNECTIONS = 64
_DRAIN_SECONDS = 5


class Settings(BaseSettings):
    """Where the gate listens, and whom it asks."""

    model_config = SettingsConfigDict(env_prefix="GATE_", frozen=True)

    prometheus_url: HttpUrl = HttpUrl("http://127.0.0.1:9090")
    objectives: Path = objectives.FILE
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8097
    timeout_seconds: Annotated[float, Field(gt=0, le=10)] = 1.5
    token: SecretStr = SecretStr("")


def main() -> int:
    """Serve until a signal comes; 78 when the settings or the objectives make no sense."""
    try:
        settings = Settings()
        asked = objectives.read(settings.objectives)
    except (ValidationError, objectives.BadObjectives) as error:
        sys.stderr.write(f"{error}\n")
        return _EX_CONFIG
    client = httpx.AsyncClient(
        base_url=str(settings.prometheus_url),
        timeout=settings.timeout_seconds,
        limits=httpx.Limits(max_connections=8),
        trust_env=False,
    )
    app = create_app(asked, client, timeout_seconds=settings.timeout_seconds, token=settings.token.get_secret_value())
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_level="warning",
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
