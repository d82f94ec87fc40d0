"""Runs a service: settings, logs, traces, sockets, and a drain that ends in time."""

import os
import socket
import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

import structlog
import uvicorn
from fastapi import FastAPI

from shared.chassis.settings import EX_CONFIG, ConfigurationError, ServiceSettings
from shared.resilience import ConfigError
from shared.telemetry import configure_logs, configure_tracing

EX_TEMPFAIL = 75
"""Exit code of sysexits(3): what stopped the start may be gone at the next try."""

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75

S = TypeVar("S", bound=ServiceSettings)
log = structlog.get_logger()


def main(create_app: Callable[[S], FastAPI], settings_type: type[S]) -> NoReturn:
    """Run the service until it is told to stop; the process ends here."""
    try:
        settings = settings_type.load()
        configure_logs(settings.service, settings.instance, settings.log_level)
        app = create_app(settings)
    except (ConfigurationError, ConfigError) as error:
        sys.stderr.write(f"bad configuration: {error}\n")
        raise SystemExit(EX_CONFIG) from None
    configure_tracing(settings.service, settings.instance, app.version)
    try:
        sockets = _listen(settings)
    except OSError as error:
        sys.stderr.write(f"cannot listen: {error}\n")
        raise SystemExit(EX_TEMPFAIL) from None
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, int(settings.drain_seconds)),
        )
    )
    server.run(sockets)
    raise SystemExit(0 if server.started else EX_TEMPFAIL)


def _listen(settings: ServiceSettings) -> list[socket.socket]:
    # the shared port is bound now but listens once the start is over: a replica that is not ready gets no connection
    sockets = [_bind(settings.host, settings.port, shared=False)]
    if settings.service_port:
        sockets.append(_bind(settings.host, settings.service_port, shared=True))
    return sockets


def _bind(host: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(f"{host}:{port}: {os.strerror(error.errno or 0)}") from error
    return sock
