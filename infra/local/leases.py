"""Faults in what runs, each with its end written down before it begins: whoever began it may be gone by then.

A lease is a file in `faults/` of the state directory. The reviver, which lives as long as the stack, ends what is over;
`up` and `down` end everything. Standard library only, for the reviver's sake.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from infra.envoy.admin import Admin, AdminError
from infra.envoy.topology import let_back
from infra.local.control import Control, ControlError

PAUSE, STOP, MESH, DRAIN = "pause", "stop", "mesh", "drain"
LONGEST_SECONDS = 600.0
AGAIN_SECONDS = 0.5
"""Until the next try to end what could not be ended."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A fault and its end, in seconds since the epoch.

    target: the program, or the mesh's service and path
    pids:   of a pause: the program's process and its children
    socket: of the mesh: where Envoy's administration listens; `keys` are the runtime keys that were set
    file:   of a drain: the members of its cluster, where `address` and `port` are written again at the end
    container: its id, where programs are containers (`chaos.targets.ends` ends these)
    """

    id: str
    kind: str
    target: str
    ends: float
    pids: tuple[int, ...] = ()
    socket: str = ""
    keys: tuple[str, ...] = ()
    file: str = ""
    address: str = ""
    port: int = 0
    container: str = ""

    def left(self, now: float) -> float:
        """Seconds that remain. A clock that was set back does not make it longer than any lease may be."""
        left = self.ends - now
        return max(0.0, left) if left <= LONGEST_SECONDS else 0.0


class Leases:
    """The leases of one stack: one file each, written whole."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, lease: Lease) -> None:
        """Write one down, readable by its owner only."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        temporary = self._directory / f"{lease.id}.part"
        temporary.write_text(json.dumps(asdict(lease)), encoding="utf-8")
        temporary.replace(self._file(lease))

    def all(self) -> list[Lease]:
        """All of them, the next to end first. What cannot be read is no lease, and is removed."""
        found = []
        for path in self._directory.glob("*.json"):
            try:
                told = json.loads(path.read_text(encoding="utf-8"))
                found.append(Lease(**told | {"pids": tuple(told["pids"]), "keys": tuple(told["keys"])}))
            except FileNotFoundError:
                continue  # just ended by another
            except (ValueError, TypeError, KeyError):
                path.unlink(missing_ok=True)
        return sorted(found, key=lambda lease: lease.ends)

    def remove(self, lease: Lease) -> None:
        """It is over."""
        self._file(lease).unlink(missing_ok=True)

    def _file(self, lease: Lease) -> Path:
        return self._directory / f"{lease.id}.json"


class Keeper:
    """Ends leases. Everything that it does may be done twice, by two of its kind."""

    def __init__(self, leases: Leases, control: Control, now: Callable[[], float] = time.time) -> None:
        self._leases, self._control, self._now = leases, control, now
        self._failed = False

    def timeout(self) -> float | None:
        """Seconds until the next end; None = there is no lease."""
        left = [lease.left(self._now()) for lease in self._leases.all()]
        if not left:
            return None
        return max(min(left), AGAIN_SECONDS if self._failed else 0.0)

    def end_due(self) -> list[str]:
        """End what is over; returns why some could not be ended: they are tried again."""
        now = self._now()
        return self.end([lease for lease in self._leases.all() if not lease.left(now)])

    def end(self, leases: Iterable[Lease]) -> list[str]:
        """End these, whatever time they have left; returns why some could not be ended. Their time is over now."""
        failures = []
        for lease in leases:
            try:
                failure = self._undo(lease)
            except (ControlError, AdminError) as error:
                failure = str(error)
            if not failure:
                self._leases.remove(lease)
                if lease.kind == DRAIN:
                    self._let_back(lease)  # who wrote the members in between still knew of the lease
                continue
            failures.append(f"{lease.id}: {failure}")
            if lease.left(self._now()):
                self._leases.write(replace(lease, ends=self._now()))
        self._failed = bool(failures)
        return failures

    def end_all(self) -> list[str]:
        """End every lease; returns as `end`."""
        return self.end(self._leases.all())

    def release(self, targets: Iterable[str] | None = None) -> None:
        """Let programs go on and forget their leases, without starting what was stopped: somebody else decides that.

        targets: the programs; None: all, and the mesh's leases too, whose Envoy is about to end
        """
        for lease in self._leases.all():
            if targets is None or lease.target in targets:
                resume(lease.pids)
                self._leases.remove(lease)

    def _undo(self, lease: Lease) -> str:
        resume(lease.pids)
        if lease.kind == STOP:
            return self._start_again(lease.target)
        if lease.kind == MESH and Path(lease.socket).exists():
            Admin(Path(lease.socket)).modify_runtime(dict.fromkeys(lease.keys, ""))
        if lease.kind == DRAIN:
            return self._let_back(lease)
        return ""

    def _let_back(self, lease: Lease) -> str:
        state = self._control.programs().get(lease.target)
        if state is None or state.state == "STOPPED":
            return ""  # it was scaled away meanwhile
        try:
            let_back(Path(lease.file), lease.target, lease.address, lease.port)
        except (OSError, ValueError, LookupError, TypeError) as error:
            return f"{lease.target} is not in the mesh again: {error}"
        return ""

    def _start_again(self, name: str) -> str:
        state = self._control.programs().get(name)
        if state is not None and state.state == "STOPPING":
            return f"{name} is still stopping"
        if state is not None and state.state == "STOPPED":
            self._control.start(name)
        return ""


def resume(pids: Iterable[int]) -> None:
    """Let stopped processes go on. To one that runs, or has another process's number by now, it does nothing."""
    _signal(pids, signal.SIGCONT)


def suspend(pids: Iterable[int]) -> None:
    """Stop processes, the first one first: what it would start is not started any more."""
    _signal(pids, signal.SIGSTOP)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
