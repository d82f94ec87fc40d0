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
        "TRACE_SHARE": str(settings.trace_share),
    }


def senders_environment(settings: LocalSettings) -> dict[str, str]:
    """What tells a service where to send its traces, and which to record."""
    if settings.traces == "off":
        return {}
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url(settings),
        "OTEL_TRACES_SAMPLER": settings.otel_traces_sampler,
        "OTEL_TRACES_SAMPLER_ARG": str(settings.otel_traces_sampler_arg),
    }
