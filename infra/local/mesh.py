"""Which replicas Envoy may send requests to.

The members of each cluster stand in files that Envoy watches. A replica is a member while it should run, so one that
was killed stays a member, and Envoy finds out for itself. One that is to be stopped is withdrawn first, and loses
nothing.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import replace

from infra.envoy.admin import Admin, AdminError
from infra.envoy.topology import CLUSTERS
from infra.local import envoy
from infra.local.control import Control, ProgramState
from infra.local.errors import StackError
from infra.local.leases import DRAIN, STOP, Lease, Leases
from infra.local.programs import Program
from infra.local.settings import LocalSettings, Service
from infra.local.state import StateDirectory

_SETTLE_SECONDS = 10.0
_LEAVE_SECONDS = 3.0
_POLL_SECONDS = 0.05


class Mesh:
    """The routing of one stack. Without a mesh every call does nothing."""

    def __init__(self, settings: LocalSettings, state: StateDirectory, programs: list[Program]) -> None:
        self._settings, self._state = settings, state
        self._replicas = [program for program in programs if program.service]

    @property
    def runs(self) -> bool:
        """The stack has an Envoy."""
        return envoy.runs(self._settings)

    def route(self) -> None:
        """Have every replica that should run get requests, and wait for those that run.

        Raises:
            StackError: Envoy does not take one of them for healthy within 10 s.
        """
        if not self.runs:
            return
        states = Control(self._state.socket()).programs()
        known = [program for program in self._replicas if program.name in states]
        drained = self._publish_wanted(known, states)
        self._wait([program for program in known if states[program.name].alive and program.name not in drained])

    def withdraw(self, leaving: Collection[Program]) -> None:
        """Take replicas out before they are stopped: no new request goes to them, and those in flight end.

        A mesh that cannot be asked is no reason not to stop: after 3 s this returns all the same.
        """
        ports = {program.port for program in leaving if program.service}
        if not self.runs or not ports:
            return
        states = Control(self._state.socket()).programs()
        staying = [program for program in self._replicas if program.name in states and program.port not in ports]
        self._publish_wanted(staying, states)
        deadline = time.monotonic() + _LEAVE_SECONDS
        while time.monotonic() < deadline:
            try:
                if not ports & {member.port for member in self._admin.members()}:
                    return
            except AdminError:
                return
            time.sleep(_POLL_SECONDS)

    def leave(self, program: Program) -> None:
        """Prepare a program's stop: a replica is withdrawn, Envoy itself drains."""
        if program.name == envoy.PROGRAM:
            self._drain()
        else:
            self.withdraw([program])

    def _drain(self) -> None:
        """Let Envoy finish what it has begun: its listeners take nothing new. At most 3 s."""
        try:
            self._admin.post("/drain_listeners?graceful")
            deadline = time.monotonic() + _LEAVE_SECONDS
            while time.monotonic() < deadline and self._in_flight():
                time.sleep(_POLL_SECONDS)
        except AdminError:
            return  # it does not run: there is nothing to finish

    @property
    def _admin(self) -> Admin:
        return Admin(envoy.admin_socket(self._state))

    def _in_flight(self) -> int:
        names = ("edge", "payment", "payment-v2", "inventory")
        return sum(self._admin.counter(f"http.{name}.downstream_rq_active") for name in names)

    def drain(self, program: Program, lease: Lease) -> Lease:
        """The lease with what its end needs to let the replica back."""
        file = envoy.members_of(self._state, _cluster(program.service)) if program.service else ""
        return replace(lease, file=str(file), address=self._settings.host.strip("[]"), port=program.port)

    def _publish_wanted(self, among: list[Program], states: Mapping[str, ProgramState]) -> set[str]:
        """Publish all but those that are drained; returns these. One whose drain ends meanwhile is not forgotten."""
        while True:
            drained = {lease.target for lease in Leases(self._state.faults).all() if lease.kind == DRAIN}
            self._publish([each for each in self._wanted(among, states) if each.name not in drained])
            if drained <= {lease.target for lease in Leases(self._state.faults).all() if lease.kind == DRAIN}:
                return drained

    def _wanted(self, among: list[Program], states: Mapping[str, ProgramState]) -> list[Program]:
        """Those that should run: what a fault on purpose has stopped comes back by itself, and nobody tells Envoy."""
        coming = {lease.target for lease in Leases(self._state.faults).all() if lease.kind == STOP}
        return [each for each in among if states[each.name].state != "STOPPED" or each.name in coming]

    def _publish(self, wanted: list[Program]) -> None:
        for cluster in CLUSTERS:
            found = {
                program.name: (self._settings.host.strip("[]"), program.port)
                for program in wanted
                if program.service and _cluster(program.service) == cluster
            }
            envoy.write_members(self._state, cluster, found)

    def _wait(self, wanted: list[Program]) -> None:
        deadline = time.monotonic() + _SETTLE_SECONDS
        left = {program.port: program.name for program in wanted}
        while left and time.monotonic() < deadline:
            try:
                for member in self._admin.members():
                    if member.passes_its_checks:
                        left.pop(member.port, None)
            except AdminError as error:
                failure = str(error)
            else:
                failure = f"Envoy has not found these healthy: {', '.join(sorted(left.values()))}"
            if left:
                time.sleep(_POLL_SECONDS)
        if left:
            raise StackError(f"{failure}.", "What Envoy says: make logs SERVICE=envoy")


def _cluster(service: Service) -> str:
    return "payment-v1" if service.name == "payment" else service.name
