"""The local stack: processes under a supervisor on this machine."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from chaos.targets import mesh, roles
from chaos.targets.admin import Admin
from chaos.targets.auditing import run_auditor
from chaos.targets.target import Addresses, Broker, Program, Replica, TargetError
from infra.envoy.admin import AdminError
from infra.local import envoy
from infra.local.control import ControlError
from infra.local.errors import StackError
from infra.local.everywhere import end_everything
from infra.local.faults import StackFaults
from infra.local.operator import operator_environment
from infra.local.remembered import in_force
from infra.local.settings import SERVICES, service_named
from infra.local.stack import LocalStack
from infra.mesh import lesson

logger = logging.getLogger("chaostoolkit")

_ALIVE = frozenset({"RUNNING", "STOPPING"})


class Local:
    """The stack of the state directory that the settings in force name."""

    name = "local"

    def __init__(self) -> None:
        try:
            settings = in_force()
            self._stack = LocalStack(settings)
            if not self._stack.running():
                raise TargetError("The local stack is down. Start it with: make up")
        except StackError as error:
            raise TargetError(str(error)) from error
        self._environment = operator_environment(settings)
        self.addresses = Addresses(
            edge=self._environment["ORDER_URL"],
            inventory=self._environment["INVENTORY_URL"],
            prometheus=self._environment["PROMETHEUS_URL"],
        )
        self.runs = settings.state / "chaos"
        self._admin = Admin(lambda: self._stack.secret("operator", "admin_token"))
        self._wanted: set[str] = set()
        self._services = {
            f"{service.name}-{number}": service
            for service in SERVICES
            for number in range(1, settings.slots(service) + 1)
        }

    def replicas(self, service: str = "") -> Sequence[Replica]:
        """Running replicas; payment's second version is payment, too."""
        states = self._states()
        return [
            Replica(name, known.module, self._stack.url(name))
            for name, known in self._services.items()
            if states.get(name, ("STOPPED", 0))[0] in _ALIVE and service in ("", known.module, known.name, name)
        ]

    def programs(self) -> Sequence[Program]:
        """Every program that runs or has run since this was first asked."""
        states = self._states()
        self._wanted |= {name for name, (state, _) in states.items() if state != "STOPPED"}
        return [Program(name, _seen(*states[name]), states[name][1]) for name in sorted(self._wanted & states.keys())]

    def role(self, name: str) -> Sequence[str]:
        """Those of `roles.LOCAL`."""
        return roles.LOCAL.get(name, ())

    def unwell(self) -> Sequence[str]:
        """Programs that should run and are not ready."""
        with _told():
            return [f"{each.name}: {each.reason or each.state}" for each in self._stack.status() if not each.well]

    def size(self, service: str) -> int:
        """Replicas that nobody stopped."""
        known = service_named(service)
        if known is None:
            raise TargetError(f"No service is called {service!r}.")
        return len([name for name, each in self._services.items() if each == known and self._runs(name)])

    def scale(self, service: str, replicas: int) -> None:
        """Run so many replicas and wait until they are ready."""
        if self.size(service) != replicas:
            with _told():
                self._stack.scale(service, replicas)

    def fault(self, replica: Replica, fault: Mapping[str, Any]) -> None:
        """Put a fault into a service."""
        self._admin.ask(replica, "POST", "/admin/faults", fault)

    def faults(self) -> Sequence[str]:
        """In services, and the leases of the stack and of the mesh."""
        with _told():
            leases = StackFaults(self._stack).active()
        shown = [f"{lease.kind} {lease.target}, {lease.seconds_left:.0f} s left" for lease in leases]
        return [*self._admin.faults(self.replicas()), *shown]

    def pause(self, program: str, seconds: float) -> None:
        """SIGSTOP under a lease."""
        with _told():
            StackFaults(self._stack).pause(program, seconds)

    def stop(self, program: str, seconds: float) -> None:
        """Stopped under a lease."""
        with _told():
            StackFaults(self._stack).stop(program, seconds)

    def kill(self, program: str) -> None:
        """SIGKILL; the supervisor starts it again."""
        with _told():
            self._stack.kill(program, "KILL")

    def mesh(self, service: str, fault: Mapping[str, Any], seconds: float) -> None:
        """Envoy's fault filter under a lease."""
        spoilt = mesh.spoilt(service, fault)
        with _told():
            StackFaults(self._stack).mesh(spoilt, seconds)

    def mesh_repeats(self, on: bool) -> None:
        """Over Envoy's administration."""
        if not self._stack.running_program(envoy.PROGRAM):
            if on:
                raise TargetError("There is no mesh here (MESH=off).")
            return
        try:
            lesson.repeat_charges(envoy.admin_socket(self._stack.state), on=on)
        except AdminError as error:
            raise TargetError(str(error)) from error

    def broker(self) -> Broker:
        """The stack's NATS."""
        return Broker(
            self._environment["NATS_URL"],
            self._environment["NATS_USER"],
            self._stack.secret("operator", "nats_password"),
        )

    def ask(self, replica: Replica, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """An admin route of a replica."""
        return self._admin.ask(replica, method, path, body)

    def clear(self) -> None:
        """End everything. A replica that cannot be asked is down or just starting: what it may have ends by itself."""
        try:
            end_everything(self._stack)
        except StackError as error:
            logger.warning("Not everything could be ended at once: %s", error.problem)

    def audit(self, answers: Path | None, report: Path, *, settled: bool) -> tuple[int, str]:
        """The auditor over the stack's three databases."""
        return run_auditor(self._environment, answers, report, settled=settled)

    def _runs(self, name: str) -> bool:
        return self._states().get(name, ("STOPPED", 0))[0] != "STOPPED"

    def _states(self) -> dict[str, tuple[str, int]]:
        with _told():
            return {name: (state.state, state.pid) for name, state in self._stack.control.programs().items()}


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """What the stack cannot do is a `TargetError`."""
    try:
        yield
    except (StackError, ControlError) as error:
        raise TargetError(str(error)) from error


def _seen(state: str, pid: int) -> str:
    if state == "STARTING":
        return "starting"
    if state not in _ALIVE:
        return "down"
    try:
        return "paused" if psutil.Process(pid).status() == psutil.STATUS_STOPPED else "running"
    except psutil.NoSuchProcess:
        return "down"
