"""Breaks parts of a running stack for a while: processes that stand still or are down, routes that the mesh spoils,
replicas that it leaves alone."""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from infra.envoy.admin import AdminError
from infra.local import envoy, leases, processes
from infra.local.control import ControlError
from infra.local.errors import StackError
from infra.local.leases import DRAIN, MESH, PAUSE, STOP, Keeper, Lease, Leases
from infra.local.stack import LocalStack
from infra.mesh import faults as mesh_faults

SHORTEST_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault as it is shown."""

    id: str
    kind: str
    target: str
    seconds_left: float


class StackFaults:
    """The faults of one stack. Each is written down, with its end, before it is begun."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._leases = Leases(stack.state.faults)
        self._keeper = Keeper(self._leases, stack.control)

    def pause(self, name: str, seconds: float) -> list[Fault]:
        """Stop the processes of a program, or of a service's running replicas, in the middle of what they do.

        Raises:
            StackError: no such program, it does not run, or it has a fault already.
        """
        begun = []
        for program, pid in self._targets(name).items():
            lease = self._lease(PAUSE, program, seconds, pids=processes.family(pid))
            leases.suspend(lease.pids)
            begun.append(lease)
        return self._shown(begun)

    def stop(self, name: str, seconds: float) -> list[Fault]:
        """Stop a program, or a service's running replicas, as a restart would. At the end it is started again.

        Raises:
            StackError: as for `pause`.
        """
        begun = []
        for program in self._targets(name):
            lease = self._lease(STOP, program, seconds)
            try:
                self._stack.control.stop(program)
            except ControlError as error:
                self._leases.remove(lease)
                raise StackError(f"{program} was not stopped: {error}") from error
            begun.append(lease)
        return self._shown(begun)

    def mesh(self, spoilt: mesh_faults.Fault, seconds: float) -> list[Fault]:
        """Have Envoy delay or refuse requests on a route of the mesh.

        Raises:
            StackError: the stack has no mesh, Envoy does not answer, or the route has a fault already.
        """
        if not (self._stack.running() and self._stack.running_program(envoy.PROGRAM)):
            raise StackError("The stack has no Envoy that runs.", "make status; the setting is mesh.")
        route, socket = spoilt.route, envoy.admin_socket(self._stack.state)
        target = f"{route.service} {route.path}"
        self._refuse_second([target])
        lease = self._lease(MESH, target, seconds, socket=str(socket), keys=route.keys)
        try:
            mesh_faults.put(socket, spoilt)
        except AdminError as error:
            self._keeper.end([lease])
            raise StackError(str(error)) from error
        return self._shown([lease])

    def drain(self, name: str, seconds: float) -> list[Fault]:
        """Take one replica out of the mesh: it runs on without new requests, and is let back at the end.

        Raises:
            StackError: no such replica, no mesh, nobody else would serve, or it has a fault already.
        """
        self._targets(name)
        lease = self._lease(DRAIN, name, seconds, prepare=self._stack.prepare_drain)
        try:
            self._stack.withdraw(name)
        except StackError:
            self._keeper.end([lease])
            raise
        return self._shown([lease])

    def undrain(self, name: str) -> list[str]:
        """Let a drained replica back before its time; returns the ids of what ended: none when it was back already.

        Raises:
            StackError: as for `clear`.
        """
        found = [lease.id for lease in self._leases.all() if lease.kind == DRAIN and lease.target == name]
        return [ended for each in found for ended in self.clear(each)]

    def active(self) -> list[Fault]:
        """What is not over."""
        return self._shown(self._leases.all())

    def clear(self, fault_id: str = "") -> list[str]:
        """End one fault, or all; returns the ids of those that ended.

        Raises:
            StackError: there is no such fault, or it cannot be ended now: the stack goes on trying.
        """
        chosen = [lease for lease in self._leases.all() if fault_id in ("", lease.id)]
        if fault_id and not chosen:
            raise StackError(f"There is no fault {fault_id}.", "Those that there are: make faults")
        if not self._stack.running():
            self._keeper.release()
            return [lease.id for lease in chosen]
        failures = self._keeper.end(chosen)
        if failures:
            with contextlib.suppress(ControlError):
                self._stack.control.notify("leases")
            raise StackError("\n".join(failures), "The stack tries again until it is done: make faults")
        return [lease.id for lease in chosen]

    def _targets(self, name: str) -> dict[str, int]:
        pids = self._stack.pids(name)
        if not pids:
            raise StackError(f"{name} does not run.")
        self._refuse_second(pids)
        return pids

    def _refuse_second(self, targets: Iterable[str]) -> None:
        taken = {lease.target: lease for lease in self._leases.all()}
        for target in targets:
            if target in taken:
                lease = taken[target]
                raise StackError(
                    f"{target} has a fault already: {lease.id}, {lease.left(time.time()):.0f} s more.",
                    f"End it first: python -m infra.local fault clear {lease.id}",
                )

    def _lease(
        self,
        kind: str,
        target: str,
        seconds: float,
        prepare: Callable[[Lease], Lease] = lambda lease: lease,
        **more: Any,
    ) -> Lease:
        if not SHORTEST_SECONDS <= seconds <= leases.LONGEST_SECONDS:
            raise StackError(f"A fault lasts {SHORTEST_SECONDS} to {leases.LONGEST_SECONDS:.0f} s, not {seconds:g} s.")
        lease = Lease(f"{kind}-{secrets.token_hex(3)}", kind, target, time.time() + seconds, **more)
        lease = prepare(lease)
        self._write(lease)
        return lease

    def _write(self, lease: Lease) -> None:
        self._leases.write(lease)
        try:
            self._stack.control.notify(f"lease:{lease.id}")
        except ControlError as error:
            self._leases.remove(lease)
            raise StackError(f"Nobody would end the fault: {error}") from error

    def _shown(self, chosen: list[Lease]) -> list[Fault]:
        now = time.time()
        return [Fault(lease.id, lease.kind, lease.target, round(lease.left(now), 1)) for lease in chosen]
