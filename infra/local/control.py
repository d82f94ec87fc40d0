"""Talks to the supervisor over its Unix socket.

Standard library only: the reviver imports it too, and stays small for as long as the stack runs.
"""

import http.client
import socket
import xmlrpc.client
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# States of a program (supervisor.states.ProcessStates), by the names that its interface uses.
ALIVE = frozenset({"STARTING", "RUNNING", "STOPPING"})
ENDED = frozenset({"EXITED", "FATAL", "BACKOFF", "UNKNOWN"})

BAD_CONFIGURATION = 78
"""Exit code of a program whose configuration is wrong (EX_CONFIG of sysexits.h): starting it again would not help."""

_ALREADY_STARTED, _NOT_RUNNING = 60, 70
_REVIVER = "reviver"


@dataclass(frozen=True, slots=True)
class ProgramState:
    """What the supervisor says of one program. Times are seconds since the epoch; `pid` is 0 when there is none."""

    name: str
    state: str
    pid: int
    started: int
    exit_status: int
    error: str

    @property
    def alive(self) -> bool:
        """There is a process."""
        return self.state in ALIVE

    @property
    def ended(self) -> bool:
        """It should run and does not: nobody asked it to stop."""
        return self.state in ENDED


class ControlError(Exception):
    """The supervisor does not answer, or refuses."""


class Control:
    """The supervisor of one stack. Every call waits at most `timeout` seconds."""

    def __init__(self, path: Path, timeout: float = 20.0) -> None:
        self._path = path
        self._timeout = timeout

    def running(self) -> bool:
        """Somebody answers at the socket."""
        try:
            return bool(self._call("supervisor.getState")["statename"] == "RUNNING")
        except ControlError:
            return False

    def pid(self) -> int:
        """The supervisor's process id."""
        return int(self._call("supervisor.getPID"))

    def programs(self) -> dict[str, ProgramState]:
        """Every program by name, spare slots too, the reviver not."""
        listed = [_state(info) for info in self._call("supervisor.getAllProcessInfo")]
        return {state.name: state for state in listed if state.name != _REVIVER}

    def start(self, name: str) -> None:
        """Start a program and return at once; one that is already started stays as it is."""
        self._call("supervisor.startProcess", name, False, tolerate=_ALREADY_STARTED)

    def stop(self, name: str, *, wait: bool = False) -> None:
        """Stop a program; one that does not run is left in peace."""
        self._call("supervisor.stopProcess", name, wait, tolerate=_NOT_RUNNING)

    def signal(self, name: str, signal: str) -> None:
        """Send a signal to a program's process."""
        self._call("supervisor.signalProcess", name, signal)

    def notify(self, text: str) -> None:
        """Tell the reviver something: it looks at the leases then."""
        self._call("supervisor.sendRemoteCommEvent", "holdfast", text)

    def shutdown(self) -> None:
        """Stop everything and end the supervisor; returns at once."""
        self._call("supervisor.shutdown")

    def _call(self, method: str, *arguments: Any, tolerate: int = 0) -> Any:
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(self._path, self._timeout))
        target: Callable[..., Any] = proxy
        for part in method.split("."):
            target = getattr(target, part)
        try:
            with proxy:
                return target(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == tolerate:
                return None
            raise ControlError(f"{method}{arguments}: {fault.faultString}") from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise ControlError(f"the supervisor does not answer at {self._path}: {error}") from error


def _state(info: dict[str, Any]) -> ProgramState:
    return ProgramState(
        name=info["name"],
        state=info["statename"],
        pid=info["pid"],
        started=info["start"],
        exit_status=info["exitstatus"],
        error=info["spawnerr"],
    )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__()
        self._path = path
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:  # noqa: ARG002 - the path says it all
        return _UnixConnection(self._path, self._timeout)
