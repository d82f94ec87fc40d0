"""Starts Prometheus, Alertmanager and what predicts beside the stack, which neither waits for them nor fails by it."""

import threading
import time
from collections.abc import Callable

from infra.local import control_room, page, ports, prediction, prometheus
from infra.local.distribution import ToolMissing, fetch
from infra.local.errors import StackError
from infra.local.launch import Launcher
from infra.local.programs import Program
from infra.local.settings import CONTROL_ROOM, LocalSettings
from infra.local.state import StateDirectory

FETCH_SECONDS = 30.0
"""How long the packages may take, counted from the start of `up`: they come while the services start."""

_READY_SECONDS = 15.0
_MEND = "the stack goes on without it. Mend that and repeat make up, or choose {setting}=off"


class Monitoring:
    """The optional programs of one stack. Whatever goes wrong with them is told in one line and is no error."""

    def __init__(
        self,
        settings: LocalSettings,
        state: StateDirectory,
        programs: list[Program],
        launcher: Launcher,
        report: Callable[[str], None],
    ) -> None:
        self._settings, self._state, self._programs = settings, state, programs
        self._launcher, self._report = launcher, report
        self._optional = [program for program in programs if program.optional]
        self._missing: dict[str, str] = {}
        self._fetching: threading.Thread | None = None

    def begin_fetching(self) -> None:
        """Fetch what is missing, in a thread of its own."""
        if self._optional:
            self._missing = {}
            self._fetching = threading.Thread(target=self._fetch, name="fetching tools", daemon=True)
            self._fetching.start()

    def bring_up(self) -> None:
        """Start what could be had and wait for it, for a while."""
        if self._fetching is None:
            return
        self._fetching.join()  # bounded: every step of fetching is
        for problem in self._missing.values():
            self._tell(problem, "PROMETHEUS")
        # one after the other: who predicts without Prometheus knows nothing, for a minute
        for setting, names in (("PROMETHEUS", set(prometheus.TOOLS)), ("PREDICTION", set(prediction.NAMES))):
            try:
                wanted = [each for each in self._optional if each.name in names - set(self._missing)]
                self._launcher.bring_up(wanted, _READY_SECONDS)
            except StackError as error:
                self._tell(error.problem.splitlines()[0], setting)

    def _tell(self, problem: str, setting: str) -> None:
        self._report(f"{problem.rstrip('.')}; {_MEND.format(setting=setting)}")

    def write_targets(self) -> None:
        """Have everything of ours scraped that should run, also what has just been killed."""
        states = self._launcher.control.programs()
        wanted = [each for each in self._programs if each.name in states and states[each.name].state != "STOPPED"]
        found = [target for program in wanted if (target := self._target(program)) is not None]
        prometheus.write_targets(self._state, found)

    def _target(self, program: Program) -> prometheus.Target | None:
        if program.service is not None:
            address = f"{self._settings.host}:{program.port}"
            service = program.service
            return prometheus.Target(program.name, address, service.module, service.api_version)
        if program.name in (control_room.PROGRAM, page.PROGRAM):
            return prometheus.Target(program.name, f"{ports.LOOPBACK}:{program.port}", CONTROL_ROOM)
        return None

    def _fetch(self) -> None:
        # Prometheus first: without it there are no numbers, without the other one only nobody is called.
        deadline = time.monotonic() + FETCH_SECONDS
        for name in sorted({program.name for program in self._optional} & set(prometheus.TOOLS), reverse=True):
            try:
                fetch(prometheus.TOOLS[name], self._report, seconds=max(1.0, deadline - time.monotonic()))
            except ToolMissing as error:
                self._missing[name] = str(error)
