"""Runs a service: settings, logs, traces, sockets, and a drain that ends in time."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn, TypeVar

import structlog
import uvicorn
from fastapi import FastAPI
from opentelemetry.sdk.trace import TracerProvider
from starlette.types import ASGIApp

from shared.chassis.connections import Door
from shared.chassis.database import Database, DatabaseDamaged, DatabaseUnavailable
from shared.chassis.migrations import SchemaBehind, SchemaUnknown, migrate
from shared.chassis.settings import EX_CONFIG, ConfigurationError, DatabaseSettings, ServiceSettings
from shared.chassis.waiting_room import WaitingRoom, is_migrated
from shared.resilience import ConfigError
from shared.telemetry import configure_logs, configure_tracing

EX_USAGE = 64
"""Exit code of sysexits(3): the command line is wrong."""
EX_SOFTWARE = 70
"""Exit code of sysexits(3): the drain did not end by itself."""
EX_TEMPFAIL = 75
"""Exit code of sysexits(3): what stopped the start may be gone at the next try."""

_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 75
_AFTER_DRAIN_SECONDS = 1.5
"""What closing may take, beyond the time for the requests in flight."""
_COLLECT_AFTER = (10_000, 10, 10)
"""New objects until a collection of the young ones: a request makes hundreds, and hardly any in a cycle."""

S = TypeVar("S", bound=ServiceSettings)
log = structlog.get_logger()


def main(create_app: Callable[[S], FastAPI], settings_type: type[S], migrations: Path) -> NoReturn:
    """Run the service until it is told to stop; the process ends here.

    With the word `migrate` on the command line the database is brought to the newest revision in `migrations`, and
    that is all. Exit codes: 0 after a drain or the migration, 78 for what only a change of configuration helps, 75 for
    what may be gone at the next try (a port in use, a database that is away), 70 when the drain had to be cut short,
    64 for other words.
    """
    _occupy_standard_streams()
    if sys.argv[1:] == ["migrate"]:
        _migrate(settings_type, migrations)
    if sys.argv[1:]:
        _give_up(EX_USAGE, f"unknown words: {' '.join(sys.argv[1:])}; there is: migrate")
    try:
        settings = settings_type.load()
        configure_logs(settings.service, settings.instance, settings.log_level)
        app = create_app(settings)
    except (ConfigurationError, ConfigError) as error:
        _give_up(EX_CONFIG, f"bad configuration: {error}")
    if settings.migrate == "off":
        _wait_for_migrations(settings, migrations)
    traces = _configure_traces(settings, app)
    try:
        server = _Server(app, settings.drain_seconds, Door(app.state.chassis.metrics))
        app.state.chassis.faults.http.connections = server.server_state.connections
        sockets = _listen(settings)
        server.outlive_signals()
        server.run(sockets)
    except OSError as error:
        _give_up(EX_TEMPFAIL, f"cannot listen: {error}")
    except SystemExit:  # uvicorn's way to say that the start has failed
        _explain(app.state.chassis.start_failure)
    traces.shutdown()
    sys.exit(0 if server.started else EX_TEMPFAIL)


def _migrate(settings_type: type[S], migrations: Path) -> NoReturn:
    async def apply(settings: DatabaseSettings) -> str:
        database = Database(settings.database_url.get_secret_value(), synchronous=settings.sqlite_synchronous)
        try:
            await database.verify()
            return await migrate(database, migrations)
        finally:
            await database.close()

    try:
        settings = DatabaseSettings.load(service=settings_type.model_fields["service"].default)
        configure_logs(settings.service, settings.instance, settings.log_level)
        revision = asyncio.run(apply(settings))
    except ConfigurationError as error:
        _give_up(EX_CONFIG, f"bad configuration: {error}")
    except (SchemaUnknown, DatabaseUnavailable) as failure:
        _explain(failure)
    log.info("database migrated", revision=revision)
    sys.exit(0)


def _wait_for_migrations(settings: ServiceSettings, migrations: Path) -> None:
    """Return when somebody has migrated the database; until then answer probes, and end when told to."""
    url = settings.database_url.get_secret_value()
    try:
        if asyncio.run(is_migrated(url, migrations)):
            return
        sockets = _listen(settings)
    except (SchemaUnknown, DatabaseDamaged) as failure:
        _explain(failure)
    except OSError as error:
        _give_up(EX_TEMPFAIL, f"cannot listen: {error}")
    room = WaitingRoom(url, migrations, lambda: setattr(server, "should_exit", True))
    server = _Server(room, settings.drain_seconds, Door())
    server.outlive_signals()
    server.run(sockets)
    if room.failure:
        _explain(room.failure)
    if not room.migrated:
        sys.exit(0)


def _configure_traces(settings: ServiceSettings, app: FastAPI) -> TracerProvider:
    try:
        return configure_tracing(
            settings.service,
            settings.instance,
            app.version,
            metrics=app.state.chassis.metrics,
            token=settings.otlp_token.get_secret_value(),
        )
    except ValueError as error:
        _give_up(EX_CONFIG, f"bad configuration: {error}")


class _Server(uvicorn.Server):
    """uvicorn's server, with an end to its drain whatever hangs."""

    def __init__(self, app: ASGIApp, drain_seconds: float, door: Door) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=door.protocol(),
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, int(drain_seconds)),
            )
        )
        # a thread that waits already, woken through a pipe: a signal handler may run while any lock is held
        self._woken_by, self._wake = os.pipe()
        seconds = drain_seconds + _AFTER_DRAIN_SECONDS
        threading.Thread(target=self._cut_short, args=(seconds,), name="watchdog", daemon=True).start()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen; what was made for that stays, and the garbage collector need not look at it again."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECT_AFTER)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the drain."""
        super().handle_exit(sig, frame)
        os.write(self._wake, b"!")

    def _cut_short(self, seconds: float) -> None:
        os.read(self._woken_by, 1)
        time.sleep(seconds)
        log.error("the drain did not end in time")
        os._exit(EX_SOFTWARE)

    def outlive_signals(self) -> None:
        """Make the process end with 0 after the drain.

        uvicorn raises the signal once more when it is done, for the handler that it found at its start: without one of
        ours the process would die of it.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: setattr(self, "should_exit", True))


def _explain(failure: Exception | None) -> NoReturn:
    if isinstance(failure, ConfigurationError | ConfigError | SchemaUnknown | DatabaseDamaged):
        _give_up(EX_CONFIG, f"cannot start: {failure}")
    if isinstance(failure, DatabaseUnavailable):
        _give_up(EX_TEMPFAIL, f"database unavailable: {failure}")
    if isinstance(failure, SchemaBehind):
        _give_up(EX_TEMPFAIL, f"cannot start: {failure}")
    _give_up(EX_SOFTWARE, f"cannot start: {type(failure).__name__}, see the log")


def _give_up(code: int, reason: str) -> NoReturn:
    with contextlib.suppress(OSError):  # nobody may be there to read it
        os.write(2, f"{' '.join(reason.split())}\n".encode("utf-8", "backslashreplace"))
    raise SystemExit(code) from None


def _occupy_standard_streams() -> None:
    # where a stream is closed, the next file to be opened would take its number, and be written to as a log
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


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
        raise OSError(f"{host}:{port}: {error.strerror or error}") from error
    return sock
