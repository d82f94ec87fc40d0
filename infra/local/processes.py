"""Finds and ends the processes of a stack that nobody watches any more.

Every process of a stack carries `HOLDFAST_STACK=<state directory>` in its environment, so even after the supervisor was
killed its orphans are known for certain: by what they were started for, never by a name that others may share.
"""

import os
import time
from pathlib import Path

import psutil

from infra.local.state import MARKER, StateDirectory

_TERM_SECONDS = 12.0
_KILL_SECONDS = 5.0
_LOOK_SECONDS = 0.02


def of_stack(state: StateDirectory) -> list[psutil.Process]:
    """Every live process of the stack, the supervisor's too; this process and its ancestors not."""
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    wanted = str(state.path)
    found = []
    for process in psutil.process_iter():
        if process.pid in own:
            continue
        try:
            if process.environ().get(MARKER) == wanted and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            continue  # gone meanwhile, or another user's: not one that this stack started
    return found


def end(processes: list[psutil.Process], term_seconds: float = _TERM_SECONDS) -> list[psutil.Process]:
    """Ask them to end, then insist, so many seconds later.

    Returns:
        Those that are alive all the same.
    """
    for process in processes:
        _signal(process, terminate=True)
    alive = wait_ended(processes, term_seconds)
    for process in alive:
        _signal(process, terminate=False)
    return wait_ended(alive, _KILL_SECONDS)


def wait_ended(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until processes have ended; returns those that have not.

    A zombie has ended: in a container whose first process does not collect orphans, it may stay for long.
    """
    deadline = time.monotonic() + seconds
    alive = [process for process in processes if not _ended(process)]
    while alive and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        alive = [process for process in alive if not _ended(process)]
    return alive


def _ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _signal(process: psutil.Process, *, terminate: bool) -> None:
    try:
        if terminate:
            # A stopped process cannot answer SIGTERM: drills stop processes, and may leave them so.
            process.resume()
            process.terminate()
        else:
            process.kill()
    except psutil.NoSuchProcess:
        pass  # it ended by itself meanwhile: what was wanted


def family(pid: int) -> tuple[int, ...]:
    """Process ids of a process and of all its children; of itself alone when it is gone."""
    try:
        return pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return (pid,)


def ancestors(process: psutil.Process) -> set[int]:
    """Process ids of a process's parents; empty when it is gone."""
    try:
        return {parent.pid for parent in process.parents()}
    except psutil.NoSuchProcess:
        return set()


def resident_bytes(pid: int, *, alone: bool = False) -> int:
    """Resident memory of a process and, unless it is to be taken alone, of its children; 0 when it is gone.

    What the children share with it is counted once.
    """
    try:
        process = psutil.Process(pid)
        total = int(process.memory_info().rss)
        children = [] if alone else process.children(recursive=True)
    except psutil.NoSuchProcess:
        return 0
    for child in children:
        try:
            memory = child.memory_info()
        except psutil.NoSuchProcess:
            continue
        # Postgres has a process a connection, each of which shows the shared buffers as its own.
        total += memory.rss - getattr(memory, "shared", 0)
    return total


def holds(path: Path) -> str:
    """The size of a file or tree, for people: `1.4 MB`."""
    size = float(sum(entry.stat().st_size for entry in (path, *path.rglob("*")) if entry.is_file()))
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
