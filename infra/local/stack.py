"""One local stack: the whole platform as processes under one supervisor."""

import asyncio
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.local import control_room, databases, health, nats, page, prediction, processes, prometheus, secrets
from infra.local.control import Control, ControlError
from infra.local.errors import StackError
from infra.local.launch import Launcher
from infra.local.leases import DRAIN, Lease, Leases
from infra.local.mesh import Mesh
from infra.local.monitoring import Monitoring
from infra.local.programs import Program, needed_first, others_at_start, programs
from infra.local.settings import SERVICES, LocalSettings, Service, service_named
from infra.local.state import StateDirectory


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    """One program as `status` shows it. `ready` is None for what does not run; sizes in bytes, times in seconds."""

    name: str
    state: str
    pid: int
    uptime: float
    port: int
    ready: bool | None
    reason: str
    resident: int
    restarts: int

    @property
    def wanted(self) -> bool:
        """It should run: everything but a slot that nobody started."""
        return self.state != "STOPPED"

    @property
    def well(self) -> bool:
        """It runs and is ready, or it is not wanted."""
        return not self.wanted or bool(self.ready)


class LocalStack:
    """Starts, watches, scales and ends one stack. Calls block; each is bounded in time.

    Args:
        settings: where everything is and how much of it.
        report: told of progress, one short line at a time.
        owner: a process with whose end the stack ends, by itself; 0 for none. It counts when `up` starts the
            supervisor: a stack that runs already keeps the owner that it has.
    """

    def __init__(
        self, settings: LocalSettings, report: Callable[[str], None] = lambda _line: None, *, owner: int = 0
    ) -> None:
        self.settings = settings
        self.state = StateDirectory(settings.state)
        self._programs = programs(settings, self.state)
        self._by_name = {program.name: program for program in self._programs}
        self._launcher = Launcher(settings, self.state, self._programs, report, owner)
        self._mesh = Mesh(settings, self.state, self._programs)
        self._monitoring = Monitoring(settings, self.state, self._programs, self._launcher, report)

    @property
    def control(self) -> Control:
        """The supervisor of this stack."""
        return Control(self.state.socket())

    # -- up and down

    def up(self) -> None:
        """Start what is missing and wait until all of it is ready. Harmless when the stack is up.

        Prometheus and Alertmanager come last: without them the stack is up all the same, and says so.

        Raises:
            StackError: with the program that failed, its state, its last log lines and what to do.
        """
        with self.state.lock("up"):
            if self.running():
                self._launcher.refuse_other_settings()
                self._launcher.keeper.end_all()
            else:
                self._launcher.start_supervisor()
            self._monitoring.begin_fetching()
            self._launcher.bring_up(needed_first(self._programs))
            if self.settings.database == "postgres":
                self._launcher.create_databases()
            self._launcher.bring_up(others_at_start(self.settings, self._programs))
            self._mesh.route()
            self._monitoring.write_targets()
            self._monitoring.bring_up()

    def down(self) -> None:
        """Stop everything, also what a killed supervisor left behind.

        Raises:
            StackError: a process does not end even by SIGKILL.
        """
        if not self.state.path.exists():
            return
        with self.state.lock("down"):
            self._launcher.stop_all()

    def reset(self) -> list[Path]:
        """Stop everything and delete the stack's data, secrets and logs.

        Returns:
            What was deleted.
        """
        if not self.state.path.exists():
            return []
        gone = self.belongings()
        with self.state.lock("reset"):
            self._launcher.stop_all()
            for path in gone:
                shutil.rmtree(path)
        return gone

    def belongings(self) -> list[Path]:
        """The directories that `reset` deletes.

        Raises:
            StackError: the state directory is not one that a stack made.
        """
        if not self.state.path.exists():
            return []
        if not self.state.tag.exists():
            raise StackError(f"{self.state.path} was not made by a stack: nothing in it is deleted.")
        # The lock of this very command is under `run`; that directory holds nothing worth deleting.
        return [path for path in (self.state.data, self.state.secrets, self.state.logs) if path.exists()]

    def running(self) -> bool:
        """The supervisor answers."""
        return self.state.run.exists() and self.control.running()

    # -- parts of a running stack

    def status(self) -> list[ProgramStatus]:
        """Every program, spare slots too; empty when the stack is down."""
        if not self.running():
            return []
        states = self.control.programs()
        alive = [program for program in self._programs if program.name in states and states[program.name].alive]
        reasons = asyncio.run(health.ask_all(self.settings, alive))
        restarts = self._restarts()
        listed = []
        for program in self._programs:
            state = states.get(program.name)
            if state is None:
                continue
            reason = reasons.get(program.name, "")
            listed.append(
                ProgramStatus(
                    name=program.name,
                    state=state.state,
                    pid=state.pid,
                    uptime=time.time() - state.started if state.alive else 0.0,
                    port=program.port,
                    ready=not reason if state.alive else None,
                    reason=reason if state.alive else self._launcher.why_ended(state),
                    resident=processes.resident_bytes(state.pid) if state.alive else 0,
                    restarts=restarts.get(program.name, 0),
                )
            )
        return listed

    def overhead(self) -> int:
        """Resident bytes of the supervisor and the reviver."""
        states = self.control.programs().values()
        supervised = {state.pid for state in states if state.alive}
        family = processes.of_stack(self.state)
        own = [process for process in family if not supervised & {process.pid, *processes.ancestors(process)}]
        return sum(processes.resident_bytes(process.pid, alone=True) for process in own)

    def scale(self, service: str, replicas: int) -> None:
        """Start or stop replicas of one service until so many run, and wait until they are ready.

        Raises:
            StackError: no such service, or more replicas than slots.
        """
        found = self._service(service)
        slots = self.settings.slots(found)
        if not 0 <= replicas <= slots:
            raise StackError(
                f"{service} has {slots} slots: it cannot run {replicas} replicas.",
                f"Raise slots_{found.key}, then: make restart",
            )
        with self.state.lock("scale"):
            self._require_running()
            own = self._replicas(found)
            self._mesh.withdraw(own[replicas:])
            self._launcher.stop([program.name for program in own[replicas:]])
            try:
                self._launcher.bring_up(own[:replicas])
                self._mesh.route()
            finally:
                self._monitoring.write_targets()

    def prepare_drain(self, lease: Lease) -> Lease:
        """A drain's lease, with what its end needs.

        Raises:
            StackError: there is no mesh, no such replica, or nobody else would serve.
        """
        program = self._by_name.get(lease.target)
        if program is None or program.service is None:
            raise StackError(f"{lease.target} is no replica of a service.")
        if not self._mesh.runs:
            raise StackError("The stack has no mesh to take it out of.", "Start it with: make up MESH=envoy")
        drained = {each.target for each in Leases(self.state.faults).all() if each.kind == DRAIN}
        own = {each.name for each in self._replicas(program.service)} - drained - {program.name}
        if not any(each.ready for each in self.status() if each.name in own):
            raise StackError(f"No other replica of {program.service.name} is ready and in the mesh.")
        return self._mesh.drain(program, lease)

    def withdraw(self, name: str) -> None:
        """Take a replica out of the mesh whose drain is leased; what is in flight ends."""
        with self.state.lock("drain"):
            self._mesh.withdraw([self._by_name[name]])

    def restart(self, name: str) -> None:
        """Restart a program, or a service's running replicas one after the other, each ready before the next.

        Those first that are not ready: whoever still serves goes on until another one does.

        Raises:
            StackError: no such program, or one did not come back.
        """
        with self.state.lock("restart"):
            self._require_running()
            programs = self._named(name)
            if len(programs) > 1:
                ready = {each.name for each in self.status() if each.ready}
                programs.sort(key=lambda program: program.name in ready)
            for program in programs:
                self._mesh.leave(program)
                self._launcher.stop([program.name])
                self._launcher.bring_up([program])
                self._mesh.route()

    def kill(self, name: str, signal: str = "KILL") -> list[str]:
        """Send a signal to a program, or to all running replicas of a service.

        Returns:
            The programs that got it.

        Raises:
            StackError: no such program or signal, or it does not run.
        """
        self._require_running()
        names = [program.name for program in self._named(name)]
        for each in names:
            try:
                self.control.signal(each, signal.upper().removeprefix("SIG"))
            except ControlError as error:
                raise StackError(f"{each} did not get {signal}: {error}") from error
        return names

    def pids(self, name: str) -> dict[str, int]:
        """Process ids of a program or of a service's running replicas, by program."""
        self._require_running()
        states = self.control.programs()
        return {program.name: states[program.name].pid for program in self._named(name) if states[program.name].alive}

    def running_replicas(self) -> list[Program]:
        """The replicas of the services that have a process now."""
        states = self.control.programs()
        return [program for program in self._programs if program.service and states[program.name].alive]

    def url(self, name: str) -> str:
        """Base address of a service (`payment`), of one replica (`payment-2`), or of a part of the infrastructure.

        The parts are `nats`, `nats-monitor`, `control-room` (traces), `page`, `prometheus`, `alertmanager`,
        `predictor` and `remediation`; empty for a page or a Prometheus that the stack has not.
        """
        if name == "nats":
            return nats.url(self.settings)
        if name == "nats-monitor":
            return nats.monitor_url(self.settings)
        if name in ("control-room", control_room.PROGRAM):
            return control_room.url(self.settings)
        if name in ("page", page.PROGRAM):
            return page.url(self.settings)
        if name == "prometheus":
            return prometheus.url(self.settings)
        if name == "alertmanager":
            return prometheus.alertmanager_url(self.settings)
        if name == prediction.PREDICTOR:
            return prediction.predictor_url(self.settings)
        if name == prediction.REMEDIATION:
            return prediction.remediation_url(self.settings)
        found = service_named(name)
        port = self.settings.service_port(found) if found else self._by_name[name].port
        return f"http://{self.settings.host}:{port}"

    def database_url(self, module: str) -> str:
        """SQLAlchemy URL of a service's database; it may hold a password."""
        return databases.url(self.settings, self.state, module)

    def secret(self, holder: str, name: str) -> str:
        """One secret of a service or of `operator`."""
        return secrets.read(self.state, holder, name)

    def wait_ready(self, *names: str, seconds: float | None = None) -> None:
        """Wait until the named programs, or all that should run, are ready.

        Raises:
            StackError: one is not, in time.
        """
        self._require_running()
        states = self.control.programs()
        chosen = set(names) or {name for name, state in states.items() if state.state != "STOPPED"}
        wanted = [program for program in self._programs if program.name in chosen]
        self._launcher.wait(wanted, seconds or self.settings.ready_timeout)

    def running_program(self, name: str) -> bool:
        """There is a process of that program now."""
        state = self.control.programs().get(name)
        return state is not None and state.alive

    def _require_running(self) -> None:
        if not self.running():
            raise StackError("The stack is down.", "Start it with: make up")

    def _service(self, name: str) -> Service:
        found = service_named(name)
        if found is None:
            raise StackError(f"No service is called {name!r}.", f"There are: {', '.join(s.name for s in SERVICES)}.")
        return found

    def _replicas(self, service: Service) -> list[Program]:
        return [program for program in self._programs if program.service == service]

    def _named(self, name: str) -> list[Program]:
        if name in self._by_name:
            return [self._by_name[name]]
        states = self.control.programs()
        return [program for program in self._replicas(self._service(name)) if states[program.name].alive]

    def _restarts(self) -> dict[str, int]:
        record = self.state.run / "restarts.json"
        return json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
