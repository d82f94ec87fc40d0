"""What an experiment needs of the place where the platform runs, whichever place that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


class TargetError(Exception):
    """The target cannot do what it was asked to; the message says what and why."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Base URLs. `edge` is where customers come in; `prometheus` is empty where there is none."""

    edge: str
    inventory: str
    prometheus: str


@dataclass(frozen=True, slots=True)
class Replica:
    """One running replica. `service` is order, payment or inventory, whatever its version; `url` is its own address."""

    name: str
    service: str
    url: str


@dataclass(frozen=True, slots=True)
class Program:
    """One program and its state: running, starting, paused or down."""

    name: str
    state: str
    pid: int


@dataclass(frozen=True, slots=True)
class Broker:
    """How the operator reaches NATS."""

    url: str
    user: str
    password: str = field(repr=False)


class Target(Protocol):
    """A running platform that can be broken on purpose. Calls block, each for a bounded time.

    All that is put in ends by itself after its `seconds`, whoever asked for it. Raises `TargetError`.
    """

    name: str
    addresses: Addresses
    runs: Path
    """The directory under which each run writes its files."""

    def replicas(self, service: str = "") -> Sequence[Replica]:
        """The running replicas of a service, of all when left out."""

    def programs(self) -> Sequence[Program]:
        """Every program that should run, infrastructure too, and those that have stopped since this was first asked."""

    def role(self, name: str) -> Sequence[str]:
        """The programs that do a job here which others do elsewhere (`telemetry`); none when it is no name of a job."""

    def unwell(self) -> Sequence[str]:
        """What should run and is not ready, each with the reason."""

    def size(self, service: str) -> int:
        """How many replicas of a service should run now."""

    def scale(self, service: str, replicas: int) -> None:
        """Run so many replicas, from now on; a `Loan` is given back."""

    def fault(self, replica: Replica, fault: Mapping[str, Any]) -> None:
        """Put a fault into a service (`/admin/faults`)."""

    def faults(self) -> Sequence[str]:
        """What acts now, in services, on processes, in the mesh; one line each."""

    def pause(self, program: str, seconds: float) -> None:
        """Stop a process where it stands, for so long (SIGSTOP)."""

    def stop(self, program: str, seconds: float) -> None:
        """End a process and keep it from starting again, for so long."""

    def kill(self, program: str) -> None:
        """SIGKILL. What supervises the process starts it again."""

    def mesh(self, service: str, fault: Mapping[str, Any], seconds: float) -> None:
        """Switch the mesh's fault filter on one route (`path`, `delay_ms`, `delay_percent`, `abort_status`, ...)."""

    def mesh_repeats(self, on: bool) -> None:
        """Let the mesh repeat charges by itself, or no more; a mesh that starts anew does not."""

    def broker(self) -> Broker:
        """NATS, as the operator reaches it."""

    def ask(self, replica: Replica, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call an admin route of a replica with the operator's token; returns its JSON."""

    def clear(self) -> None:
        """End all faults everywhere, also those that others put in. Harmless when there is none."""

    def audit(self, answers: Path | None, report: Path, *, settled: bool) -> tuple[int, str]:
        """Run the auditor: its exit code and what it said."""
