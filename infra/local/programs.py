"""What the stack runs: the programs, their commands and environments, generated from the settings."""

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.local import control_room, envoy, nats, page, policy, postgres, prediction, prometheus
from infra.local.databases import sqlite_url
from infra.local.settings import CONTROL_ROOM, PAGE, SERVICES, LocalSettings, Service
from infra.local.state import MARKER, StateDirectory

_BESIDE = (control_room.PROGRAM, page.PROGRAM, envoy.PROGRAM)
"""Infrastructure that services do not need in order to start."""


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised program.

    `service` is None for infrastructure, which starts with the supervisor; a service's replicas are started once the
    infrastructure answers (but for the control room, which nothing needs in order to start). `port` is its own.
    The stack goes on without what is `optional`.
    """

    name: str
    command: tuple[str, ...]
    port: int
    environment: Mapping[str, str] = field(default_factory=dict)
    service: Service | None = None
    number: int = 0
    stop_signal: str = "TERM"
    stop_wait: int = 12
    user: str = ""
    optional: bool = False


def programs(settings: LocalSettings, state: StateDirectory) -> list[Program]:
    """Every program of the stack in the order in which they start, spare slots too."""
    listed = [Program("nats", nats.command(state), settings.nats_port, nats.environment(settings))]
    if settings.database == "postgres":
        listed.append(
            Program(
                "postgres",
                postgres.command(settings, state),
                settings.postgres_port,
                # INT is Postgres's fast shutdown; TERM would wait for every client to leave.
                stop_signal="INT",
                user=postgres.system_user(),
            )
        )
    if settings.traces == "on":
        listed.append(
            Program(
                control_room.PROGRAM,
                _service_command(settings, CONTROL_ROOM),
                settings.port_control_room,
                _common_environment(settings) | control_room.environment(settings, state),
            )
        )
    if settings.page == "on":
        listed.append(
            Program(
                page.PROGRAM,
                _service_command(settings, PAGE),
                settings.port_page,
                _common_environment(settings) | page.environment(settings, state),
            )
        )
    if envoy.runs(settings):
        listed.append(Program(envoy.PROGRAM, envoy.command(state), settings.envoy_stats_port))
    for service in SERVICES:
        listed += [_replica(settings, state, service, number) for number in range(1, settings.slots(service) + 1)]
    if prometheus.runs(settings):
        listed += _monitoring(settings, state)
    for name, (command, port) in prediction.commands(settings, state).items():
        environment = _common_environment(settings) | prediction.environment(name, settings, state)
        listed.append(Program(name, command, port, environment, optional=True))
    return listed


def needed_first(listed: list[Program]) -> list[Program]:
    """What must answer before the services are started."""
    infrastructure = [program for program in listed if program.service is None and not program.optional]
    return [program for program in infrastructure if program.name not in _BESIDE]


def others_at_start(settings: LocalSettings, listed: list[Program]) -> list[Program]:
    """The replicas that `up` starts, and what may come up beside them."""
    return [
        program
        for program in listed
        if (program.service and program.number <= settings.replicas(program.service)) or program.name in _BESIDE
    ]


def base_environment(state: StateDirectory) -> dict[str, str]:
    """What every program of the stack inherits: nothing of the caller's shell but the little that a program needs.

    A `DATABASE_URL` or `PORT` that happens to be exported in a shell must not reach a service.
    """
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "USER", "LOGNAME", "SSL_CERT_FILE")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    return inherited | {MARKER: str(state.path)}


def _replica(settings: LocalSettings, state: StateDirectory, service: Service, number: int) -> Program:
    environment = {
        "INSTANCE": f"{service.name}-{number}",
        "HOST": settings.bind,
        "PORT": str(settings.replica_port(service, number)),
        # Envoy has the service's port where there is one.
        "SERVICE_PORT": "0" if envoy.runs(settings) else str(settings.service_port(service)),
        "NATS_URL": nats.url(settings),
        "PROMETHEUS_URL": prometheus.url(settings),
        "SECRETS_DIR": str(state.secrets / service.module),
        "FAULT_INJECTION": settings.fault_injection,
        **_common_environment(settings),
        **control_room.senders_environment(settings),
    }
    if settings.database == "sqlite":
        # Any other database's URL may hold a password: it is the secret `database_url`.
        environment["DATABASE_URL"] = sqlite_url(state, service.module)
    if service.module == "payment":
        environment["API_VERSION"] = service.api_version
    if service.module == "order":
        environment["PAYMENT_URL"] = settings.payment_url or f"http://{settings.host_name}:{settings.port_payment}"
        environment["INVENTORY_URL"] = (
            settings.inventory_url or f"http://{settings.host_name}:{settings.port_inventory}"
        )
        environment["RESILIENCE_FILE"] = str(policy.link(state))
    return Program(
        name=f"{service.name}-{number}",
        command=_service_command(settings, service.module),
        port=settings.replica_port(service, number),
        environment=environment,
        service=service,
        number=number,
    )


def _common_environment(settings: LocalSettings) -> dict[str, str]:
    return {
        "LOG_LEVEL": settings.log_level,
        "PYTHONUNBUFFERED": "1",
        # glibc makes up to eight arenas a core; two keep a service's memory where its live objects are.
        "MALLOC_ARENA_MAX": "2",
        # What a burst has needed goes back to the system after it, instead of being kept for the next one.
        "MALLOC_TRIM_THRESHOLD_": "131072",
    }


def _monitoring(settings: LocalSettings, state: StateDirectory) -> list[Program]:
    ports = {"prometheus": settings.prometheus_port, "alertmanager": settings.alertmanager_port}
    return [
        Program(name, command, ports[name], prometheus.environment(name), optional=True)
        for name, command in prometheus.commands(settings, state).items()
    ]


def _service_command(settings: LocalSettings, module: str) -> tuple[str, ...]:
    words = shlex.split(settings.service_command)
    command = tuple(word.format(python=sys.executable, module=module) for word in words)
    if not settings.service_memory_mb:
        return command
    # The data segment counts private memory only; a limit on address space would also count what is merely mapped.
    limit = settings.service_memory_mb * 1024
    return ("/bin/sh", "-c", f"ulimit -d {limit} && exec {shlex.join(command)}")
