"""Starting and stopping programs, and what to say when one does not come up."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import asyncpg
import psutil

from infra.local import (
    databases,
    envoy,
    health,
    nats,
    owner,
    policy,
    ports,
    postgres,
    processes,
    prometheus,
    secrets,
    supervisor,
)
from infra.local.control import BAD_CONFIGURATION, Control, ControlError, ProgramState
from infra.local.errors import StackError
from infra.local.leases import Keeper, Leases
from infra.local.logs import last_lines
from infra.local.programs import Program
from infra.local.remembered import differences, remember
from infra.local.settings import LocalSettings
from infra.local.state import StateDirectory

_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05


class Launcher:
    """Brings programs of one stack up and down; holds no state of its own."""

    def __init__(
        self,
        settings: LocalSettings,
        state: StateDirectory,
        programs: list[Program],
        report: Callable[[str], None],
        owner: int = 0,
    ) -> None:
        self._settings = settings
        self._state = state
        self._programs = programs
        self._report = report
        self._owner = owner

    @property
    def control(self) -> Control:
        """The supervisor."""
        return Control(self._state.socket())

    @property
    def keeper(self) -> Keeper:
        """Ends faults on purpose."""
        return Keeper(Leases(self._state.faults), self.control)

    def start_supervisor(self) -> None:
        """Generate what the programs need and start the supervisor, which starts the infrastructure.

        Raises:
            StackError: a port is taken, or the supervisor or Postgres could not be set up.
        """
        self.keeper.release()
        self._end_leftovers()
        ports.refuse_taken(self._settings)
        if self._owner:
            owner.watch(self._owner, self._state)
        if self._settings.mesh == "envoy" and not envoy.available():
            self._report(envoy.MISSING)
        secrets.ensure(self._state)
        databases.write_secrets(self._settings, self._state)
        nats.write_configuration(self._settings, self._state)
        envoy.write_configuration(self._settings, self._state)
        prometheus.write_configuration(self._settings, self._state)
        policy.follow(self._state)
        if self._settings.database == "postgres":
            self._report("Postgres: making the data directory, if there is none")
            postgres.prepare(self._state)
        (self._state.run / "restarts.json").unlink(missing_ok=True)
        configuration = supervisor.write_configuration(self._settings, self._state, self._programs)
        supervisor.start(self._state, configuration)
        remember(self._settings, self._state)

    def refuse_other_settings(self) -> None:
        """A running stack keeps the settings that it was started with.

        Raises:
            StackError: they differ from those of now; each difference is named.
        """
        changed = differences(self._settings, self._state)
        if changed:
            raise StackError(
                f"A stack already runs in {self._state.path} (supervisor: pid {self.control.pid()}),"
                f" with another {', '.join(changed)}.",
                "For the new settings: make restart. For a second stack: another state_dir, with other ports.",
            )

    def create_databases(self) -> None:
        """Make roles and databases on the stack's own Postgres.

        Raises:
            StackError: the server refuses.
        """
        try:
            postgres.create_databases(self._settings, self._state)
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise StackError(f"Postgres does not make the databases: {error}") from error

    def bring_up(self, wanted: list[Program], seconds: float | None = None) -> None:
        """Start what does not run and wait until all of it is ready, by default as long as the settings allow.

        Raises:
            StackError: with the program that failed, its state, its last log lines and what to do.
        """
        states = self.control.programs()
        for program in wanted:
            if program.name not in states:
                raise StackError(f"The running stack has no program {program.name}.", "Run: make restart")
            if not states[program.name].alive:
                try:
                    self.control.start(program.name)
                except ControlError as error:
                    raise StackError(f"{program.name} could not be started: {error}") from error
        self.wait(wanted, seconds or self._settings.ready_timeout)

    def wait(self, wanted: list[Program], seconds: float) -> None:
        """Wait until programs are ready.

        Raises:
            StackError: one is not, in time, or has refused its configuration.
        """
        names = {program.name for program in wanted}
        told: set[str] = set()

        async def failed() -> str:
            states = await asyncio.to_thread(self.control.programs)
            for name in sorted(names - told):
                if states[name].ended and not _hopeless(states[name]):
                    told.add(name)
                    self._report(f"{name}: ended ({self.why_ended(states[name])}); it is started again")
            return next((name for name in names if _hopeless(states[name])), "")

        def ready(program: Program) -> None:
            self._report(f"{program.name}: ready")

        reasons = asyncio.run(health.wait_until_ready(self._settings, wanted, failed, ready, seconds))
        if reasons:
            raise StackError(self._explain(reasons), "All of its log: make logs SERVICE=<program>; then make up again.")

    def stop(self, names: list[str]) -> None:
        """Stop programs at the same time and wait for their end. Faults on purpose end with them."""
        self.keeper.release(names)
        for name in names:
            with contextlib.suppress(ControlError):  # it does not run
                # A drill may have stopped it with SIGSTOP, and what is stopped cannot answer SIGTERM.
                self.control.signal(name, "CONT")
            self.control.stop(name)
        deadline = time.monotonic() + _STOP_SECONDS
        while any(self.control.programs()[name].alive for name in names):
            if time.monotonic() > deadline:
                raise StackError(f"Not stopped within {_STOP_SECONDS:.0f} s: {', '.join(names)}.")
            time.sleep(_POLL_SECONDS)

    def stop_all(self) -> None:
        """Stop the services, then the infrastructure, then the supervisor, then whatever is left.

        Raises:
            StackError: a process does not end even by SIGKILL.
        """
        self.keeper.release()
        if self.control.running():
            for part in ("services", "infrastructure"):
                names = [program.name for program in self._programs if bool(program.service) == (part == "services")]
                known = self.control.programs()
                self._report(f"{part}: stopping")
                self.stop([name for name in names if name in known])
            self._shut_supervisor_down()
        self._end_leftovers()
        self._state.remove_socket()

    def why_ended(self, state: ProgramState) -> str:
        """In a few words, why a program that should run does not."""
        if not state.ended:
            return ""
        if state.exit_status == BAD_CONFIGURATION:
            return _said_last(last_lines(self._state.logs / f"{state.name}.log", 20))
        return state.error or f"exit code {state.exit_status}"

    def _shut_supervisor_down(self) -> None:
        try:
            process = psutil.Process(self.control.pid())
            self.control.shutdown()
        except (ControlError, psutil.NoSuchProcess):
            return  # it has just gone: what it left is found and ended next
        deadline = time.monotonic() + _STOP_SECONDS
        while processes.wait_ended([process], _POLL_SECONDS / 2) and time.monotonic() < deadline:
            # It gives each program a turn of its loop, and a turn without events takes a second: questions are events.
            with contextlib.suppress(ControlError):
                self.control.pid()

    def _end_leftovers(self) -> None:
        left = processes.of_stack(self._state)
        if not left:
            return
        unwatched = len(left) - len(owner.watchers(left))
        if unwatched:
            self._report(f"ending {unwatched} processes that nobody watches any more")
        stubborn = processes.end(left)
        if stubborn:
            pids = ", ".join(str(process.pid) for process in stubborn)
            raise StackError(f"These processes do not end even by SIGKILL: {pids}.")

    def _explain(self, reasons: dict[str, str]) -> str:
        states = self.control.programs()
        parts = []
        for name, reason in reasons.items():
            state = states[name]
            code = f", exit code {state.exit_status}" if state.ended else ""
            log = self._state.logs / f"{name}.log"
            if state.ended and state.exit_status == BAD_CONFIGURATION:
                parts.append(f"{name} refuses its configuration{code}: {self.why_ended(state)}")
                continue
            lines = "\n".join(f"    {line}" for line in last_lines(log, 12))
            parts.append(f"{name} is not ready ({state.state}{code}): {reason}\n{lines or '    (its log is empty)'}")
        return "\n".join(parts)


def _hopeless(state: ProgramState) -> bool:
    return state.ended and state.exit_status == BAD_CONFIGURATION


def _said_last(lines: list[str]) -> str:
    """The last line that a program wrote for people: one that is no JSON log line, when there is one."""
    spoken = [line for line in lines if line.strip()]
    plain = [line for line in spoken if not line.startswith("{")]
    return (plain or spoken or ["(it said nothing)"])[-1]
