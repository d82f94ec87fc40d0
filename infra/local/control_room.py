"""The control room of the stack: where the services' traces go."""

from infra.local import ports
from infra.local.databases import sqlite_url
from infra.local.settings import CONTROL_ROOM, LocalSettings
from infra.local.state import StateDirectory

PROGRAM = "control-room-1"


def url(settings: LocalSettings) -> str:
    """Base address: traces at `/v1/traces`, Jaeger's query API at `/api`."""
    return f"http://{ports.LOOPBACK}:{settings.port_control_room}"


def environment(settings: LocalSettings, state: StateDirectory) -> dict[str, str]:
    """What is its own in the environment of the control room."""
    return {
        "INSTANCE": PROGRAM,
        "HOST": ports.LOOPBACK,
        "PORT": str(settings.port_control_room),
        "SERVICE_PORT": "0",
        "SECRETS_DIR": str(state.secrets / CONTROL_ROOM),
        "DATABASE_URL": sqlite_url(state, CONTROL_ROOM),
    }


def senders_environment(settings: LocalSettings) -> dict[str, str]:
    """What tells a service to send its traces."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url(settings)} if settings.traces == "on" else {}
