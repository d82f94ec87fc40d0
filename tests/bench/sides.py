"""The stacks that the benches compare, each up beside the others on free ports, loaded in turn."""

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from infra.local import secrets
from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from tests.bench.peers.stack import TutorialStack, postgres_databases, running_tutorial

AS_MANY_PROCESSES: dict[str, Any] = {"mesh": "off", "replicas_payment_v2": 0}
"""One process a service, as the tutorial's stack has; NATS, control room and Prometheus are there besides."""
EVERYTHING: dict[str, Any] = {"prometheus": "on", "traces": "on"}
BARE: dict[str, Any] = {
    "service_command": "{python} -m tests.bench.bare {module}",
    "traces": "off",
    "prometheus": "off",
    "log_level": "error",
    "fault_injection": "off",
    **AS_MANY_PROCESSES,
}


class Side:
    """One stack: where its orders are placed, the stack itself, and its processes."""

    def __init__(self, name: str, url: str, stack: LocalStack | TutorialStack) -> None:
        self.name, self.url, self.stack = name, url, stack
        self._processes = {name: psutil.Process(pid) for name, pid in self.pids().items()}

    def pids(self) -> dict[str, int]:
        """Its processes as they are now, by name."""
        if isinstance(self.stack, TutorialStack):
            return self.stack.pids()
        programs = self.stack.status()
        return {name: pid for program in programs if program.pid for name, pid in self.stack.pids(program.name).items()}

    def cpu(self) -> dict[str, float]:
        """CPU seconds since it started of each process that was there when the side was made."""
        seconds = {}
        for name, process in self._processes.items():
            times = process.cpu_times()
            seconds[name] = times.user + times.system + times.children_user + times.children_system
        return seconds

    def megabytes(self) -> dict[str, float]:
        """Resident memory of each of them."""
        return {name: process.memory_info().rss / 1e6 for name, process in self._processes.items()}


@contextmanager
def workplace() -> Iterator[Path]:
    """A directory for stacks, gone afterwards; Postgres, which may run as another user, can pass it.

    From here on a SIGTERM ends the bench by way of its `finally`s: no stack is left running.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        directory.chmod(0o711)
        yield directory


@contextmanager
def our_side(name: str, directory: Path, **settings: Any) -> Iterator[Side]:
    """A stack of ours with these settings, up inside the block."""
    with running_stack(directory / name.replace(" ", "-").replace(",", ""), **settings) as stack:
        yield Side(name, stack.url("order"), stack)


@contextmanager
def tutorial_side(directory: Path, server: LocalStack | None = None) -> Iterator[Side]:
    """The tutorial's stack, up inside the block: on SQLite, or on the Postgres of a stack of ours."""
    databases = None
    if server is not None:
        password = secrets.read(server.state, "postgres", "password")
        databases = postgres_databases(server.settings.postgres_port, password)
    with running_tutorial(directory / "tutorial", databases) as stack:
        yield Side("tutorial", stack.url, stack)
