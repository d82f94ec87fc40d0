"""Ends a stack when the process that it was started for is gone, however that ended: a SIGKILL runs no `finally`.

Tests, benches and campaigns own their stacks; that of `make up` has no owner. One small process a stack waits for the
owner's end. It is no program of the supervisor's, so that a supervisor which was killed, or is not there yet, does not
matter, and it carries the stack's mark: whatever ends the stack ends it, too.
"""

import contextlib
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import psutil

from infra.local import processes
from infra.local.errors import StackError
from infra.local.settings import ROOT
from infra.local.state import MARKER, StateDirectory

_MODULE = "infra.local.owner"
_START_SECONDS = 60.0
_LOOK_SECONDS = 0.5
_TERM_SECONDS = 4.0
_LONGEST_SECONDS = 180.0
"""How long a command that is still at work on the stack, such as `up`, is waited for."""


def watch(pid: int, state: StateDirectory) -> None:
    """Have everything that carries the stack's mark ended within seconds of the end of process `pid`.

    Raises:
        StackError: the process is gone already, or nobody can watch it.
    """
    done = subprocess.run(  # noqa: S603 - our own interpreter, our own module
        [sys.executable, "-m", _MODULE, str(pid), str(state.path)],
        cwd=ROOT,
        env=os.environ | {MARKER: str(state.path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=_START_SECONDS,
        check=False,
    )
    if done.returncode:
        raise StackError(f"Nobody watches the stack's owner, process {pid}: {done.stderr.strip()}")


def watchers(found: list[psutil.Process]) -> list[psutil.Process]:
    """Those of a stack's processes that watch its owner."""
    return _running(_MODULE, found)


def forget(state: StateDirectory) -> None:
    """Watch no more."""
    processes.end(watchers(processes.of_stack(state)))


def end(state: StateDirectory) -> None:
    """End everything that carries the stack's mark: all at once, as nobody waits for the order of a `down`."""
    found = processes.of_stack(state)
    # First and without being asked: alive for a moment longer, it would start again what ends.
    for supervisor in _running("supervisor.supervisord", found):
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisor.kill()
    processes.end(found, term_seconds=_TERM_SECONDS)


def main(pid: int, state: StateDirectory) -> None:
    """Begin to watch, and return in the caller; in a process of its own, wait for the end and see to the stack."""
    owner = _opened(pid)
    if os.fork():
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    if owner is None:
        process = psutil.Process(pid)
        while processes.wait_ended([process], 60.0):
            pass
    else:
        select.select([owner], [], [])
    _see_to(state)


def _running(module: str, found: list[psutil.Process]) -> list[psutil.Process]:
    chosen = []
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            if module in process.cmdline():
                chosen.append(process)
    return chosen


def _opened(pid: int) -> int | None:
    """A descriptor that can be read when the process has ended; None where the kernel has none.

    Raises:
        ProcessLookupError: there is no such process.
    """
    os.kill(pid, 0)
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except (AttributeError, OSError):  # another system, an old kernel, or a container that forbids the call
        return None


def _see_to(state: StateDirectory) -> None:
    deadline = time.monotonic() + _LONGEST_SECONDS
    while True:
        end(state)
        if not state.tag.exists() or time.monotonic() > deadline:  # without the tag: no stack, but marked as one
            return
        try:
            # A command that outlives the owner may be about to start more.
            with state.lock("the owner's end"):
                end(state)
                state.remove_socket()
                return
        except StackError:
            time.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), StateDirectory(Path(sys.argv[2])))
    except OSError as error:
        sys.exit(f"{error.strerror}")
